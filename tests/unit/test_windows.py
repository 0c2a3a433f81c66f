"""Windows: open exactly when the clock on the recipient's wall says so, whatever that clock goes through."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.errors import JobError
from clarion.models.timing import DAY_NAMES, DayName, Window, clock_minutes, known_zone
from clarion.windows import Windows

MINUTE = timedelta(minutes=1)
WORKDAYS: list[DayName] = ["mon", "tue", "wed", "thu", "fri"]
OFFICE = Window(start="09:00", end="20:00", days=WORKDAYS)


def at(text: str, zone: str = "UTC") -> datetime:
    """A moment by the clock of a zone, the first one where the clock shows it twice."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def is_open(windows: list[Window], holidays: set[date], zone: str, moment: datetime) -> bool:
    """The definition, taken literally: what the wall clock shows lies within a window."""
    wall = moment.astimezone(ZoneInfo(zone))
    minutes, today = wall.hour * 60 + wall.minute, wall.date()
    if today in holidays:
        return False
    for window in windows:
        start, end = clock_minutes(window.start), clock_minutes(window.end)
        length = (end - start) % 1440 or 1440
        for day, since in ((today, minutes - start), (today - timedelta(days=1), minutes + 1440 - start)):
            named = not window.days or DAY_NAMES[day.weekday()] in window.days
            if named and day not in holidays and 0 <= since < length:
                return True
    return False


CHANGES = [
    ("Europe/London", "2026-03-29"),
    ("Europe/London", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Africa/Casablanca", "2026-02-15"),
    ("America/Havana", "2026-03-08"),
    ("Pacific/Apia", "2011-12-29"),
    ("Antarctica/Troll", "2026-03-29"),
    ("Asia/Kathmandu", "2026-06-01"),
]
"""Zones and days on which their clocks are put forward, back, by half an hour, by two, or leave a day out."""

CLOCKS = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")
WINDOWS = st.builds(
    lambda start, end, days: Window(start=start, end="24:00" if start == end else end, days=days),
    CLOCKS,
    CLOCKS,
    st.lists(st.sampled_from(DAY_NAMES), max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(
    windows=st.lists(WINDOWS, min_size=1, max_size=3),
    change=st.sampled_from(CHANGES),
    holiday=st.none() | st.integers(-1, 2),
    minute=st.integers(0, 2_000),
)
def test_windows_agree_with_the_clock_minute_by_minute(
    windows: list[Window], change: tuple[str, str], holiday: int | None, minute: int
):
    """From any minute around a change of the clocks: open or not, and each minute until the answer's end."""
    zone, text = change
    day = date.fromisoformat(text)
    holidays = set() if holiday is None else {day + timedelta(days=holiday)}
    compiled = Windows(windows, holidays)
    moment = at(f"{text}T00:00") - timedelta(hours=14) + minute * MINUTE
    for _ in range(3):
        found = compiled.opening(zone, moment)
        assert found.until > moment
        for each in range(min(int((found.until - moment) / MINUTE), 3_000)):
            expected = is_open(windows, holidays, zone, moment + each * MINUTE)
            assert expected == found.is_open, moment + each * MINUTE
        if not found.is_open:
            assert is_open(windows, holidays, zone, found.until)
            assert compiled.next_open(zone, moment) == found.until
        else:
            assert compiled.closed_until(zone, moment) is None
        moment = found.until


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_windows_agree_with_the_clock_in_every_zone(day: str):
    """All of the world's zones over two days of changes, asked at each hour."""
    windows = [OFFICE, Window(start="22:00", end="02:00")]
    compiled = Windows(windows)
    zones = sorted(available_timezones())
    assert len(zones) > 400
    for zone in zones:
        for hour in range(0, 48, 3):
            moment = at(f"{day}T00:30") + timedelta(hours=hour)
            found = compiled.opening(zone, moment)
            assert found.is_open == is_open(windows, set(), zone, moment), (zone, moment)
            assert is_open(windows, set(), zone, found.until - MINUTE) == found.is_open, (zone, moment)
            assert found.is_open or is_open(windows, set(), zone, found.until), (zone, moment)


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-03-27T21:00", "2026-03-30T09:00"),  # Friday evening, over the change of the clocks
        ("2026-12-24T20:00", "2026-12-28T09:00"),  # Christmas, and the weekend after it
        ("2026-06-01T08:59:59.5", "2026-06-01T09:00"),
    ],
)
def test_windows_open_next_when_the_day_comes(moment: str, opens: str):
    """Evening, weekend and holiday are waited out, by the recipient's clock."""
    compiled = Windows([OFFICE], [date(2026, 12, 25)])
    zone = "Europe/London"
    assert compiled.next_open(zone, at(moment, zone)) == at(opens, zone)


def test_window_over_midnight_belongs_to_its_first_day():
    """From Friday 22:00 it is open until Saturday 02:00, and not on the night after."""
    compiled = Windows([Window(start="22:00", end="02:00", days=["fri"])])
    assert compiled.next_open("UTC", at("2026-06-05T12:00")) == at("2026-06-05T22:00")
    assert compiled.opening("UTC", at("2026-06-05T23:00")).until == at("2026-06-06T02:00")
    assert compiled.next_open("UTC", at("2026-06-06T02:00")) == at("2026-06-12T22:00")


def test_holiday_shuts_from_midnight_to_midnight():
    """What runs into a holiday ends at midnight, and a window of the holiday itself does not open."""
    compiled = Windows([Window(start="22:00", end="02:00")], [date(2026, 12, 25)])
    assert compiled.opening("UTC", at("2026-12-24T23:00")).until == at("2026-12-25T00:00")
    assert compiled.next_open("UTC", at("2026-12-25T00:00")) == at("2026-12-26T22:00")


def test_holidays_alone_leave_every_other_hour_open():
    """Without windows only the holidays are shut."""
    compiled = Windows([], [date(2026, 12, 25)])
    assert compiled.opening("UTC", at("2026-06-01T03:00")).is_open
    assert compiled.next_open("Asia/Tokyo", at("2026-12-25T03:00", "Asia/Tokyo")) == at(
        "2026-12-26T00:00", "Asia/Tokyo"
    )


def test_hour_that_comes_twice_is_open_twice():
    """When the clocks go back, 01:00 to 01:30 is a window both times, and shut in between."""
    compiled = Windows([Window(start="01:00", end="01:30")])
    first = compiled.opening("Europe/London", at("2026-10-25T00:00"))
    assert (first.is_open, first.until) == (True, at("2026-10-25T00:30"))
    assert compiled.next_open("Europe/London", first.until) == at("2026-10-25T01:00")


def test_window_in_the_hour_left_out_waits_for_the_next_day():
    """When the clocks go forward, a window within the hour left out does not open that day."""
    compiled = Windows([Window(start="01:15", end="01:45")])
    assert compiled.next_open("Europe/London", at("2026-03-28T12:00")) == at("2026-03-30T00:15")


def test_holidays_on_every_day_are_refused():
    """Windows that stay shut for more than a year are found when the job is loaded, not by waiting."""
    every_day = [date(2026, 1, 1) + timedelta(days=day) for day in range(400)]
    with pytest.raises(JobError, match="keep every window shut for more than 366 days"):
        Windows([OFFICE], every_day)
    mondays = [date(2026, 1, 5) + timedelta(weeks=week) for week in range(60)]
    with pytest.raises(JobError, match="holidays"):
        Windows([Window(start="09:00", end="10:00", days=["mon"])], mondays)
    Windows([OFFICE], mondays)


def test_windows_after_a_long_holiday_are_found():
    """A year less a day of holidays is searched through to its end."""
    days = [date(2026, 1, 1) + timedelta(days=day) for day in range(365)]
    compiled = Windows([OFFICE], days)
    assert compiled.next_open("UTC", at("2026-01-01T10:00")) == at("2027-01-01T09:00")


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Europe/London", "Europe/London"),
        (" europe/london ", "Europe/London"),
        ("Mars/Olympus", None),
        ("", None),
        ("../../etc/passwd", None),
        ("+02:00", None),
    ],
)
def test_zone_is_known_by_its_name(name: str, zone: str | None):
    """Case and blanks around it do not matter; what is no zone is none, whatever it looks like."""
    assert known_zone(name) == zone
