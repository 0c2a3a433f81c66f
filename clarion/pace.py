"""How fast a run goes, when it will be done, and what it waits for: arithmetic on what the ledger shows."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

RATE_SECONDS = 5.0
"""What "the last seconds" are that a rate is taken over."""


class Rate:
    """Settled items a second over the last seconds.

    Args:
        seconds: How far back the rate looks.
    """

    def __init__(self, *, seconds: float = RATE_SECONDS) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, settled: int, *, at: float) -> None:
        """Takes in how many items are settled at a time, in seconds of any clock that only advances.

        The last look from before the span stays, so that the whole span is covered.
        """
        if self._seen and settled < self._seen[-1][1]:  # a retry put items back
            self._seen.clear()
        self._seen.append((at, settled))
        while len(self._seen) > 2 and self._seen[1][0] <= at - self._seconds:  # noqa: PLR2004  # the pair of a rate
            self._seen.popleft()

    def per_second(self) -> float | None:
        """Items a second; None before two looks."""
        if len(self._seen) < 2 or self._seen[-1][0] <= self._seen[0][0]:  # noqa: PLR2004  # the pair of a rate
            return None
        (begun, before), (now, settled) = self._seen[0], self._seen[-1]
        return (settled - before) / (now - begun)


@dataclass(frozen=True, kw_only=True)
class OpenAction:
    """What of an action is still to be sent.

    Args:
        action: Its name.
        pending: Items that are pending.
        tps: Calls a second that its limit lets through; None for no limit.
        held_seconds: How long the provider holds the limit back, 0 for not at all.
    """

    action: str
    pending: int
    tps: float | None = None
    held_seconds: float = 0.0


def left_seconds(actions: Sequence[OpenAction], *, open_items: int, rate: float | None) -> float | None:
    """Seconds until all is settled, or None where nothing tells.

    At the rate of the last seconds, but never sooner than the limits allow: what an action has pending takes
    at least `pending / tps`, after whatever it is held back for. Back-offs to come are not known.

    Args:
        actions: What is pending, by action.
        open_items: All that is not settled.
        rate: Items settled a second; None or 0 where none were.
    """
    if not open_items:
        return 0.0
    least = [each.held_seconds + each.pending / each.tps for each in actions if each.pending and each.tps]
    if rate:
        return max(open_items / rate, *least, 0.0)
    unlimited = any(each.pending and not each.tps for each in actions)
    return max(least) if least and not unlimited else None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands, as far as it tells what the run waits for.

    Args:
        status: The run's status.
        control: What a person asked for.
        now: The time to count from.
        start_at: When it may begin.
        planned: Whether it has its items.
        sending: Items on their way.
        actions: What is pending, by action.
        due_at: When the first pending item is due; None where one is due now.
        tried: Whether that item was tried before: then it waits out a back-off, else for its window or time.
    """

    status: str
    control: str
    now: datetime
    start_at: datetime | None = None
    planned: bool = True
    sending: int = 0
    actions: Sequence[OpenAction] = ()
    due_at: datetime | None = None
    tried: bool = True


_ASKED: Mapping[str, str] = {"pause": "pausing: answers on their way are waited for", "stop": "stopping"}


def waits_for(standing: Standing) -> str | None:
    """What a run waits for, in words; None where it is at work."""
    if standing.status == "paused":
        return "paused, until `clarion resume`"
    if standing.control in _ASKED:
        return _ASKED[standing.control]
    if not standing.planned:
        return _start(standing)
    open_actions = [each for each in standing.actions if each.pending]
    held = [each for each in open_actions if each.held_seconds > 0]
    if held:
        names = ", ".join(each.action for each in held)
        seconds = max(each.held_seconds for each in held)
        return f"the provider holds {names} back, for {duration(seconds)}"
    if (
        open_actions
        and standing.due_at is not None
        and standing.due_at > standing.now
        and not standing.sending
    ):
        return _due(standing, standing.due_at)
    return None


def _start(standing: Standing) -> str | None:
    left = (standing.start_at - standing.now).total_seconds() if standing.start_at else 0.0
    return f"waiting for its start, in {duration(left)}" if left > 0 else None


def _due(standing: Standing, due_at: datetime) -> str:
    left = duration((due_at - standing.now).total_seconds())
    if standing.tried:
        return f"waiting out a back-off, next try in {left}"
    return f"held by windows or times of sending, next in {left}"


def duration(seconds: float) -> str:
    """A length of time for a person, its two largest units: `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    whole = max(0, round(seconds))
    parts = ((whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def rate_text(rate: float) -> str:
    """A rate for a person: `241/s`, `0.4/s`."""
    return f"{rate:,.0f}/s" if rate >= 10 or rate == 0 else f"{rate:.1f}/s"  # noqa: PLR2004  # three digits tell
