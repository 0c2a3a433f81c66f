"""When the last message would go out: the arithmetic of limits and windows."""

from datetime import UTC, datetime, timedelta

import pytest

from clarion.estimate import Backlog, last_send_at
from clarion.models.timing import Window
from clarion.timing import Timing
from clarion.windows import Windows

NOW = datetime(2026, 6, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


def timing(*windows: tuple[str, str], skips: bool = False) -> Timing:
    """Windows from one time of day to another, every day."""
    compiled = Windows([Window(start=start, end=end) for start, end in windows])
    return Timing(windows=compiled, send_at=None, timezone=None, zone="UTC", skips=skips)


def backlog(count: int, *, zone: str | None = None, due_at: datetime | None = None) -> Backlog:
    """So many items of one action."""
    made = Backlog(now=NOW)
    for _ in range(count):
        made.add("send", zone, due_at)
    return made


def test_limit_alone_takes_items_by_their_rate():
    """7,200 items at 2 a second are an hour."""
    assert last_send_at(backlog(7_200), tps={"send": 2.0}, timing=None) == NOW + HOUR


def test_action_without_limit_sends_what_is_due():
    """Then the last due time is the last message's."""
    late = NOW + 5 * HOUR
    assert last_send_at(backlog(9, due_at=late), tps={"send": None}, timing=None) == late


def test_nothing_to_send_has_no_last_message():
    """An empty plan has no end."""
    assert last_send_at(Backlog(now=NOW), tps={}, timing=None) is None


def test_window_that_closes_carries_over_to_the_next_day():
    """Two hours of work begun an hour before the window closes end an hour into the next one."""
    assert last_send_at(backlog(7_200), tps={"send": 1.0}, timing=timing(("07:00", "09:00"))) == (
        NOW + 24 * HOUR
    )


def test_what_is_outside_is_given_up_where_windows_skip():
    """Under skip the sending ends with the window."""
    found = last_send_at(backlog(7_200), tps={"send": 1.0}, timing=timing(("07:00", "09:00"), skips=True))
    assert found == NOW + HOUR


def test_zones_share_the_limit():
    """London (open until 09:00 UTC) and Tokyo (from 09:30 UTC) one after the other, at one rate."""
    both = backlog(1_800, zone="Europe/London")
    for _ in range(1_800):
        both.add("send", "Asia/Tokyo", datetime(2026, 6, 1, 9, 30, tzinfo=UTC))
    windows = timing(("09:00", "10:00"), ("18:30", "20:00"))
    assert last_send_at(both, tps={"send": 1.0}, timing=windows) == NOW + 2 * HOUR


def test_slowest_action_tells_the_end():
    """Actions send side by side, each at its own rate."""
    made = backlog(60)
    for _ in range(60):
        made.add("call", None, None)
    assert last_send_at(made, tps={"send": 1.0, "call": 0.1}, timing=None) == NOW + timedelta(minutes=10)


def test_due_time_is_counted_to_the_next_minute():
    """A minute's precision keeps a million own times small, and no item is counted too early."""
    made = Backlog(now=NOW)
    made.add("send", None, NOW + timedelta(seconds=61))
    made.add("send", None, NOW + timedelta(seconds=119))
    (waiting,) = made.counts
    assert waiting.due_at == NOW + timedelta(minutes=2)


@pytest.mark.parametrize("tps", [0.000001])
def test_what_takes_too_long_to_tell_is_not_told(tps: float):
    """The search has an end, whatever the limit."""
    assert last_send_at(backlog(1_000), tps={"send": tps}, timing=timing(("08:00", "09:00"))) is None
