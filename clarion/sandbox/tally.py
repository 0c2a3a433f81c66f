"""What the sandbox got: counts of everything, details of the last requests."""

from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.masking import masked_fields, masked_headers, masked_path, quoted_query
from clarion.sandbox.message import Request

KEPT_REQUESTS = 100_000
KEPT_BYTES = 128 * 2**20
"""Bodies and headers kept in detail; older requests give way first."""
KEPT_SECONDS = 3_600

ACCEPTING = frozenset({Verdict.ACCEPTED, Verdict.ACCEPTED_DROPPED})
"""The verdicts after which a message is on its way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One request as it is kept: raw, because almost none of them is ever looked at; masked when it is."""

    number: int
    at: float
    method: str
    target: str
    headers: tuple[str, ...]
    """Names and values in turn, already masked."""
    body: bytes
    recipients: tuple[str, ...]
    verdict: Verdict
    status: int | None

    @property
    def size(self) -> int:
        """Bytes of its parts that a client decides on, plus what the objects take, roughly."""
        return 600 + len(self.body) + len(self.target) + sum(map(len, self.headers))

    def describe(self) -> dict[str, Any]:
        """The record as JSON: body decoded, secrets masked."""
        headers = dict(zip(self.headers[::2], self.headers[1::2], strict=True))
        request = Request(method=self.method, target=self.target, headers=headers, body=self.body)
        return {
            "n": self.number,
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds"),
            "method": self.method,
            "path": masked_path(request.path),
            "query": quoted_query(request.query),
            "headers": headers,
            "body": masked_fields(request.content),
            "recipient": ", ".join(self.recipients),
            "verdict": self.verdict.value,
            "status": self.status,
        }


class Tally:
    """Counts for every request, per recipient and per idempotency key; the last records in detail."""

    def __init__(self) -> None:
        self._verdicts: Counter[Verdict] = Counter()
        self._accepted: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self._records: deque[Record] = deque()
        self._kept_bytes = 0
        self._began_at = 0.0
        self._seconds: deque[int] = deque(maxlen=KEPT_SECONDS)
        self._seconds_passed = 0

    def add(self, request: Request, verdict: Verdict, *, status: int | None, at: float, now: float) -> None:
        """Count one request.

        Args:
            request: What came.
            verdict: What became of it.
            status: The HTTP status of its answer, None where it gets none.
            at: Seconds since the epoch.
            now: Monotonic seconds.
        """
        self._count_second(now)
        self._verdicts[verdict] += 1
        if verdict in ACCEPTING:
            for recipient in request.recipients:
                self._accepted[recipient] = self._accepted.get(recipient, 0) + 1
        if key := request.headers.get("idempotency-key"):
            self._keys[key] = self._keys.get(key, 0) + 1
        self._keep(request, verdict, status, at)

    def _count_second(self, now: float) -> None:
        """Seconds are counted from the first request; those without one are zeros."""
        if not self._seconds_passed:
            self._began_at = now
        second = int(now - self._began_at) + 1
        missing = second - self._seconds_passed
        self._seconds.extend(0 for _ in range(min(missing, KEPT_SECONDS)))
        self._seconds_passed = max(second, self._seconds_passed)
        self._seconds[-1] += 1

    def _keep(self, request: Request, verdict: Verdict, status: int | None, at: float) -> None:
        record = Record(
            number=self._verdicts.total(),
            at=at,
            method=request.method,
            target=request.target,
            headers=tuple(text for pair in masked_headers(request.headers).items() for text in pair),
            body=request.body,
            recipients=request.recipients,
            verdict=verdict,
            status=status,
        )
        self._records.append(record)
        self._kept_bytes += record.size
        while len(self._records) > KEPT_REQUESTS or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= self._records.popleft().size

    def counts(self) -> dict[str, int]:
        """The totals.

        `requests` = accepted + rejected + throttled + errors + dropped - dropped_after_accepting.
        """
        verdicts = self._verdicts
        lost = verdicts[Verdict.ACCEPTED_DROPPED]
        return {
            "requests": verdicts.total(),
            "accepted": verdicts[Verdict.ACCEPTED] + lost,
            "rejected": verdicts[Verdict.REJECTED],
            "throttled": verdicts[Verdict.THROTTLED],
            "errors": verdicts[Verdict.ERROR] + verdicts[Verdict.UNAVAILABLE],
            "dropped": verdicts[Verdict.DROPPED] + lost,
            "dropped_after_accepting": lost,
        }

    def stats(self) -> dict[str, Any]:
        """The totals, and how often whom.

        `recipients` maps each accepted recipient to how often; `duplicates` is the part of it that is above
        one; `repeated_keys` counts idempotency keys that came more than once; `per_second` are the requests
        of the last seconds, from the first request on.
        """
        return {
            **self.counts(),
            "repeated_keys": sum(count > 1 for count in self._keys.values()),
            "duplicates": {name: count for name, count in self._accepted.items() if count > 1},
            "recipients": dict(self._accepted),
            "per_second": list(self._seconds),
        }

    def requests(
        self, *, limit: int | None = None, offset: int = 0, recipient: str | None = None
    ) -> list[dict[str, Any]]:
        """The kept requests, oldest first; of one recipient, where one is given."""
        chosen = (r for r in self._records if recipient is None or recipient in r.recipients)
        stop = None if limit is None else offset + limit
        return [record.describe() for record in islice(chosen, offset, stop)]
