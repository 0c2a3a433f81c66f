"""Windows: when messages may leave, by the clock on the recipient's wall.

A moment is open where the recipient's clock then shows a time within a window. So an hour that a zone
goes through twice is open twice, and one that it leaps over opens nothing. A window over midnight belongs to
the day on which it starts. On a holiday nothing is open, and no window starts.

Answers are worked out a week and a zone at a time and kept: a zone's offsets within a week are few, and
between two changes of offset the wall clock runs as UTC does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from clarion.errors import JobError
from clarion.models.timing import DAY_NAMES, Window, clock_minutes

DAY_SECONDS = 86_400
WEEK_SECONDS = 7 * DAY_SECONDS
LONGEST_CLOSED_DAYS = 366
"""Windows that stay shut for longer are a mistake, such as a holiday on every day."""

PROBE_SECONDS = 6 * 3_600
"""No zone changes its offset twice within so long; what lies between two probes is found by halving."""

KEPT_WEEKS = 16_384
"""Weeks kept, of all zones: some 500 bytes each."""

_EPOCH = date(1970, 1, 1).toordinal()

Span = tuple[int, int]
"""From a second to another, the latter not included."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether a moment is open. Open: at least until `until`. Closed: the windows open next at `until`."""

    is_open: bool
    until: datetime


class Windows:
    """The windows and holidays of a job, compiled.

    Args:
        windows: None means that every hour is open, but for the holidays.
        holidays: Dates, as the recipient's calendar has them.

    Raises:
        JobError: The holidays keep every window shut for more than a year.
    """

    def __init__(self, windows: Sequence[Window], holidays: Iterable[date] = ()) -> None:
        given = windows or [Window(start="00:00", end="24:00")]
        self._holidays = frozenset(day.toordinal() - _EPOCH for day in holidays)
        self._by_weekday = [
            _merged(_day_spans(window) for window in given if not window.days or name in window.days)
            for name in DAY_NAMES
        ]
        self._check_holidays()
        self._week = lru_cache(KEPT_WEEKS)(self._work_out)
        self._last: dict[str, tuple[datetime, datetime, bool]] = {}

    def opening(self, zone: str, moment: datetime) -> Opening:
        """Whether a moment is open to recipients of a zone, and until when that holds.

        Args:
            zone: An IANA name that `known_zone` gave.
            moment: An aware time.
        """
        last = self._last.get(zone)
        if last is None or not last[0] <= moment < last[1]:
            last = self._last[zone] = self._find(zone, moment)
        return Opening(last[2], last[1])

    def closed_until(self, zone: str, moment: datetime) -> datetime | None:
        """None where a moment is open, else when the zone's windows open next; 0.2 us as a rule."""
        last = self._last.get(zone)
        if last is None or not last[0] <= moment < last[1]:
            last = self._last[zone] = self._find(zone, moment)
        return None if last[2] else last[1]

    def next_open(self, zone: str, moment: datetime) -> datetime:
        """The first open moment that is not before `moment`."""
        return self.closed_until(zone, moment) or moment

    def _find(self, zone: str, moment: datetime) -> tuple[datetime, datetime, bool]:
        """From when to when the windows stay as they are at a moment, as far as its week tells, and how."""
        second = int(moment.timestamp() // 1)
        number = second // WEEK_SECONDS
        closed_from = number * WEEK_SECONDS
        for week in range(number, number + LONGEST_CLOSED_DAYS // 7 + 4):
            for start, end in self._week(zone, week):
                if end <= second:
                    closed_from = end
                elif start <= second:
                    return _moment(start), _moment(end), True
                else:
                    return _moment(closed_from), _moment(start), False
        raise JobError(f"the windows do not open within a year of {moment:%Y-%m-%d}", where="windows")

    def _work_out(self, zone: str, week: int) -> tuple[Span, ...]:
        """What is open in a week of UTC, in its order."""
        start = week * WEEK_SECONDS
        spans: list[Span] = []
        for since, until, offset in _offsets(ZoneInfo(zone), start, start + WEEK_SECONDS):
            for opens, closes in self._local(since + offset, until + offset):
                spans.append((max(opens - offset, since), min(closes - offset, until)))
        return _merged([spans])

    def _local(self, first: int, last: int) -> Iterator[Span]:
        """What is open by a wall clock that runs from `first` to `last`, in seconds, as UTC does."""
        for day in range(first // DAY_SECONDS - 1, (last - 1) // DAY_SECONDS + 1):
            if day in self._holidays:
                continue
            for start, end in self._by_weekday[(day + 3) % 7]:  # 1970 began on a Thursday
                # What is beyond midnight is the next day's, which may be a holiday.
                shut = end > DAY_SECONDS and day + 1 in self._holidays
                opens, closes = day * DAY_SECONDS + start, day * DAY_SECONDS + (DAY_SECONDS if shut else end)
                if opens < last and closes > first:
                    yield opens, closes

    def _check_holidays(self) -> None:
        open_weekdays = [bool(spans) for spans in self._by_weekday]
        shut, before = 0, None
        for day in sorted(self._holidays):
            between = range(before + 1, min(day, before + 8)) if before is not None else ()
            if before is None or any(open_weekdays[(each + 3) % 7] for each in between):
                shut = 0
            else:
                shut += day - before
            before = day
            if shut > LONGEST_CLOSED_DAYS:
                raise JobError(
                    f"the holidays keep every window shut for more than {LONGEST_CLOSED_DAYS} days",
                    where="holidays",
                )


def _day_spans(window: Window) -> list[Span]:
    """A window in seconds from the midnight before it; its end may lie beyond the next."""
    start, end = clock_minutes(window.start) * 60, clock_minutes(window.end) * 60
    return [(start, end if end > start else end + DAY_SECONDS)]


def _merged(parts: Iterable[Iterable[Span]]) -> tuple[Span, ...]:
    """The spans in their order; those that touch or overlap are one."""
    merged: list[Span] = []
    for start, end in sorted(span for part in parts for span in part):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def _offsets(zone: ZoneInfo, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The offsets of a zone from UTC, in seconds, between two moments: since, until, offset."""
    offset_at = partial(_offset, zone)
    since, offset = start, offset_at(start)
    for probe in range(start, end, PROBE_SECONDS):
        upper = min(probe + PROBE_SECONDS, end)
        if offset_at(upper) == offset:
            continue
        low, high = probe, upper
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset_at(middle) == offset else (low, middle)
        yield since, high, offset
        since, offset = high, offset_at(high)
    if since < end:
        yield since, end, offset


def _offset(zone: ZoneInfo, second: int) -> int:
    offset = _moment(second).astimezone(zone).utcoffset()
    return round(offset.total_seconds()) if offset else 0


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=second)
