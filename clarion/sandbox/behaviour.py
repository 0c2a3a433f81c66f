"""How the rehearsal provider behaves, and its verdict on each request."""

import hashlib
import random
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from clarion.models.base import Model

Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A share of one: 0.02 is 2 %."""

_HASHES = 2**64


class Behaviour(Model):
    """What a provider does to its clients on a bad day; the default is a good day.

    Each request gets one verdict: the first that applies of throttled, error, rejected, dropped, accepted.
    """

    latency_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)] = 0
    """How long every answer, and every hang-up, takes."""

    reject: Rate = 0.0
    """Share of the recipients that are refused for good: a property of the recipient, as a bad number is."""

    throttle: Annotated[int, Field(ge=1)] | None = None
    """Requests let through in a second; the rest is told to wait. None for no limit."""

    error: Rate = 0.0
    """Share of the requests answered with a server error, half of them 500 and half of them 503."""

    drop: Rate = 0.0
    """Share of the requests whose connection is closed without an answer: half before the message was
    accepted, half after it."""

    seed: int = 0
    """The same seed refuses the same recipients, and drops the same requests of the same sequence."""

    def refuses(self, recipient: str) -> bool:
        """Whether this recipient is one of the bad ones: always the same for the same seed."""
        if not self.reject:
            return False
        digest = hashlib.blake2b(f"{self.seed}:{recipient}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.reject * _HASHES

    def describe(self) -> str:
        """The behaviour in words, for a person."""
        parts = [
            f"{self.latency_ms:g} ms latency" if self.latency_ms else "",
            f"at most {self.throttle} requests a second" if self.throttle else "",
            f"{self.error:.2%} server errors" if self.error else "",
            f"{self.reject:.2%} of the recipients refused" if self.reject else "",
            f"{self.drop:.2%} hang-ups" if self.drop else "",
        ]
        return ", ".join(filter(None, parts)) or "accepts everything at once"


class Verdict(StrEnum):
    """What became of one request."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    ERROR = "error"
    """A 500."""
    UNAVAILABLE = "unavailable"
    """A 503."""
    DROPPED = "dropped"
    """Connection closed, message forgotten."""
    ACCEPTED_DROPPED = "accepted-dropped"
    """Message accepted, connection closed: the sender cannot tell this from `DROPPED`."""


class Judge:
    """Decides one request after the other; holds the second that is being counted and the random numbers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._random = random.Random(behaviour.seed)  # noqa: S311  # a rehearsal must be repeatable
        self._second_began_at = float("-inf")
        self._seen_in_second = 0

    def verdict(self, recipients: Iterable[str], *, now: float) -> Verdict:
        """What becomes of a request that arrives at `now` (monotonic seconds) for these recipients."""
        if self._is_over_limit(now):
            return Verdict.THROTTLED
        if self._happens(self._behaviour.error):
            return Verdict.ERROR if self._happens(0.5) else Verdict.UNAVAILABLE
        if any(map(self._behaviour.refuses, recipients)):
            return Verdict.REJECTED
        if self._happens(self._behaviour.drop):
            return Verdict.DROPPED if self._happens(0.5) else Verdict.ACCEPTED_DROPPED
        return Verdict.ACCEPTED

    def _is_over_limit(self, now: float) -> bool:
        """Count seconds from the first request after the last second: a burst never straddles two of them."""
        if self._behaviour.throttle is None:
            return False
        if now - self._second_began_at >= 1:
            self._second_began_at, self._seen_in_second = now, 0
        self._seen_in_second += 1
        return self._seen_in_second > self._behaviour.throttle

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self._random.random() < rate
