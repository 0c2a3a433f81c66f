"""When the last message of a run would go out, under the limits of its actions and its windows.

An estimate, under these assumptions: the run begins now, every call succeeds at its first try, each action
makes its `tps` all the time (one without sends at once what is due), named limits are no narrower, nothing
else uses the limits, and what is due is taken evenly from all zones whose windows are open.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from clarion.timing import Timing

MOST_STEPS = 20_000
"""Openings and closings that are followed: some 80 a day where the zones are spread over the world."""

NEVER_STEP = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What items of an action have in common: their zone, and from when on they are due."""

    action: str
    zone: str | None
    due_at: datetime


@dataclass(kw_only=True)
class Backlog:
    """Counts what a plan would send, to the minute.

    Args:
        now: When the run begins.
    """

    now: datetime
    counts: Counter[Waiting] = field(default_factory=Counter)

    def add(self, action: str, zone: str | None, due_at: datetime | None) -> None:
        """Counts an item; `due_at` None means at once."""
        at = self.now
        if due_at is not None and due_at > self.now:
            at = due_at.replace(second=0, microsecond=0)
            at += timedelta(minutes=1) if at < due_at else timedelta()
        self.counts[Waiting(action, zone, at)] += 1


def last_send_at(
    backlog: Backlog, *, tps: Mapping[str, float | None], timing: Timing | None
) -> datetime | None:
    """When the last message would go out; None where nothing is sent, or it takes too long to tell.

    Args:
        backlog: What is to be sent.
        tps: Calls a second of each action; None for no limit.
        timing: What the job says about time.
    """
    ends: list[datetime] = []
    for action in {waiting.action for waiting in backlog.counts}:
        groups = {key: count for key, count in backlog.counts.items() if key.action == action}
        end = _last_of(groups, begin=backlog.now, tps=tps.get(action), timing=timing)
        if end is None:
            return None
        ends.append(end)
    return max(ends, default=None)


def _last_of(
    groups: Mapping[Waiting, int], *, begin: datetime, tps: float | None, timing: Timing | None
) -> datetime | None:
    """When the last of an action's items would go out, from one opening, closing or arrival to the next."""
    if tps is None:
        return max(key.due_at for key in groups)  # a plan's due times lie within the windows
    arriving = sorted(groups.items(), key=lambda group: group[0].due_at, reverse=True)
    left: dict[str | None, float] = {}
    now = last = begin
    for _ in range(MOST_STEPS):
        while arriving and arriving[-1][0].due_at <= now:
            key, count = arriving.pop()
            left[key.zone] = left.get(key.zone, 0.0) + count
        if not left and not arriving:
            return last
        shut = {zone: None if timing is None else timing.closed_until(zone, now) for zone in left}
        until = min(_changes(shut, now, timing, arriving[-1][0].due_at if arriving else None))
        ready = {zone: left[zone] for zone, closed_until in shut.items() if closed_until is None}
        end, rest = _flow(ready, seconds=(until - now).total_seconds(), tps=tps)
        now, last = (now + timedelta(seconds=end), now + timedelta(seconds=end)) if end else (until, last)
        left = rest if timing is not None and timing.skips else {**_without(left, ready), **rest}
    return None


def _flow(
    ready: Mapping[str | None, float], *, seconds: float, tps: float
) -> tuple[float, dict[str | None, float]]:
    """After how many seconds the sending ends, 0 where there is nothing to send, and what is left by then."""
    total = sum(ready.values())
    if total <= seconds * tps:
        return total / tps, {}
    kept = 1 - seconds * tps / total
    return seconds, {zone: count * kept for zone, count in ready.items()}


def _without(left: Mapping[str | None, float], ready: Mapping[str | None, float]) -> dict[str | None, float]:
    return {zone: count for zone, count in left.items() if zone not in ready}


def _changes(
    shut: Mapping[str | None, datetime | None],
    now: datetime,
    timing: Timing | None,
    arrival: datetime | None,
) -> Iterable[datetime]:
    """When something may be otherwise than it is now."""
    yield now + NEVER_STEP
    if arrival is not None:
        yield arrival
    if timing is not None and timing.windows is not None:
        for zone, until in shut.items():
            yield until or timing.windows.opening(zone or timing.zone, now).until
