"""When an item is due: its own time, its zone, and the windows of the job."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from clarion.errors import JobError, RenderError, nearest
from clarion.models.job import Job
from clarion.models.timing import clock_minutes, known_zone, zone_names
from clarion.templating import Compiled
from clarion.windows import Windows

OUTSIDE = "outside-window"
EXPIRED = "expired"

FARTHEST = timedelta(days=3_660)
"""A `send_at` that lies farther ahead is a mistake, such as a date in another calendar."""

_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}")
_EXPECTED = "2026-12-01T09:00, with or without a zone, or 09:00"


@dataclass(frozen=True, slots=True)
class ItemTime:
    """When an item is due, before it is planned.

    `due_at` None means at once. `reason` tells why it is skipped instead.
    """

    due_at: datetime | None
    zone: str
    fell_back: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a job says about time, compiled.

    Args:
        windows: None where every moment will do.
        send_at: The item's own time.
        timezone: The recipient's zone; None where `zone` is everyone's.
        zone: The zone of those who have none that is known.
        skips: Whether what falls outside the windows is skipped rather than held.
        zoned_only: Whether only items that were planned with a zone are held to the windows.
    """

    windows: Windows | None
    send_at: Compiled | None
    timezone: Compiled | None
    zone: str
    skips: bool
    zoned_only: bool = False

    def of_item(
        self, scope: Mapping[str, Any], *, now: datetime, start_at: datetime, send_until: datetime | None
    ) -> ItemTime:
        """When an item is due.

        Args:
            scope: What the templates see: `item`, `job`, `run`.
            now: The time of the plan.
            start_at: Nothing is sent before; at least `now`.
            send_until: Nothing is sent from then on.

        Raises:
            RenderError: Its `send_at` is no time.
        """
        found = self._zone_of(scope)
        zone = found or self.zone
        wished = None if self.send_at is None else wished_time(self.send_at, scope, zone=zone, now=start_at)
        at = start_at if wished is None else max(start_at, wished)
        due = at if self.windows is None else self.windows.next_open(zone, at)
        reason = None
        if self.skips and due > at:
            reason = OUTSIDE
        elif send_until is not None and due >= send_until:
            reason = EXPIRED
        fell_back = found is None and self.timezone is not None
        return ItemTime(due if due > now else None, zone, fell_back, reason)

    def templates(self) -> Iterator[Compiled]:
        """Everything that is rendered for an item."""
        yield from (each for each in (self.send_at, self.timezone) if each is not None)

    def _zone_of(self, scope: Mapping[str, Any]) -> str | None:
        if self.timezone is None:
            return None
        try:
            name = self.timezone.render(scope)
        except RenderError:
            return None
        return known_zone(name) if isinstance(name, str) else None

    def closed_until(self, zone: str | None, now: datetime) -> datetime | None:
        """None where an item of a zone may leave now, else when its windows open next."""
        if zone is None and self.zoned_only:
            return None
        return None if self.windows is None else self.windows.closed_until(zone or self.zone, now)


def compile_timing(job: Job, *, send_at: Compiled | None, timezone: Compiled | None) -> Timing | None:
    """What a job says about time; None where it says nothing, so that its plan has nothing to ask.

    Args:
        job: The job.
        send_at: Its template, compiled.
        timezone: Its template, compiled.

    Raises:
        JobError: Keys that say nothing without others, a zone that does not exist, or none to fall back to.
    """
    windowed = bool(job.windows or job.holidays)
    if job.outside_window == "skip" and not windowed:
        raise JobError("goes with windows or holidays", where="outside_window")
    if not windowed and send_at is None:
        for key in ("timezone", "fallback_timezone"):
            if getattr(job, key) is not None:
                raise JobError("goes with windows, holidays or send_at", where=key)
        return None
    fixed = _fixed_zone(timezone)
    timing = Timing(
        windows=Windows(job.windows, map(date.fromisoformat, job.holidays)) if windowed else None,
        send_at=send_at,
        timezone=None if fixed else timezone,
        zone=fixed or _fallback(job),
        skips=job.outside_window == "skip",
    )
    _check_constant(timing)
    return timing


def _fixed_zone(timezone: Compiled | None) -> str | None:
    """The zone of a `timezone` without a template in it."""
    if timezone is None or not timezone.constant:
        return None
    name = timezone.render_text({})
    zone = known_zone(name)
    if zone is None:
        raise JobError(f"unknown time zone {name!r}", where="timezone", nearest=nearest(name, zone_names()))
    return zone


def _fallback(job: Job) -> str:
    if job.fallback_timezone is None:
        raise JobError(
            "is missing: by it those are served whose own zone is missing or not known",
            where="fallback_timezone",
            expected="an IANA time zone, such as Europe/London",
        )
    return job.fallback_timezone


def _check_constant(timing: Timing) -> None:
    if timing.send_at is not None and timing.send_at.constant:
        try:
            wished_time(timing.send_at, {"item": {}}, zone=timing.zone, now=datetime.now(UTC))
        except RenderError as exc:
            raise JobError(exc.message.removeprefix("send_at: "), where="send_at") from None


def wished_time(template: Compiled, scope: Mapping[str, Any], *, zone: str, now: datetime) -> datetime | None:
    """An item's own time, in UTC; None where it has none, because the attribute is missing.

    A time without a zone is by the clock of `zone`; a time of day alone is its next one.

    Raises:
        RenderError: The template gives something that is no time.
    """
    try:
        value = template.render(scope)
    except RenderError:
        item = scope["item"]
        if any(of == "item" and name not in item for of, name in template.references):
            return None
        raise
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise RenderError(f"send_at: is no time, such as {_EXPECTED}")
    try:
        wished = _read_time(value.strip(), zone=zone, now=now)
    except (ValueError, OverflowError):
        raise RenderError(f"send_at: is no time, such as {_EXPECTED}") from None
    if wished > now + FARTHEST:
        raise RenderError("send_at: is more than ten years ahead")
    return wished


def _read_time(text: str, *, zone: str, now: datetime) -> datetime:
    tz = ZoneInfo(zone)
    if not _CLOCK.fullmatch(text):
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=tz)).astimezone(UTC)
    today = now.astimezone(tz).date()
    minutes = timedelta(minutes=clock_minutes(text))
    days = (datetime.combine(today + timedelta(days=ahead), time()) + minutes for ahead in (0, 1))
    first, second = (day.replace(tzinfo=tz).astimezone(UTC) for day in days)
    return first if first >= now else second
