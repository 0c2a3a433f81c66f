"""Times on the command line: what is a time, and which leave no time to send in."""

from datetime import UTC, datetime, timedelta

import pytest

from clarion.errors import SettingError
from cli.times import check_times, parse_time

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


def after(hours: float | None) -> datetime | None:
    """So many hours from now."""
    return None if hours is None else NOW + timedelta(hours=hours)


def test_time_with_an_offset_is_that_moment():
    """The offset counts; without one it is this machine's time."""
    assert parse_time("2026-03-01T10:00+01:00", "--start-at") == NOW
    local = parse_time("2026-03-01T10:00", "--start-at")
    assert local == datetime(2026, 3, 1, 10).astimezone()
    assert parse_time(None, "--start-at") is None


@pytest.mark.parametrize("text", ["", "soon", "10:00", "2026-13-01", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_refused(text: str):
    """The option and the form of a time are told."""
    with pytest.raises(SettingError, match=r"^--start-at: .*ISO 8601"):
        parse_time(text, "--start-at")


@pytest.mark.parametrize(
    ("start", "until", "end", "told"),
    [
        (None, -1, None, "--send-until: .* is past"),
        (None, 0, None, "--send-until: .* is past"),
        (None, None, -1, "--end-at: .* is past"),
        (None, 1, -1, "--end-at: .* is past"),
        (2, 1, None, "--send-until: .* is not after --start-at"),
        (2, 2, None, "--send-until: .* is not after --start-at"),
        (2, None, 1, "--end-at: .* is not after --start-at"),
        (-5, -1, None, "--send-until: .* is past"),
    ],
)
def test_times_that_leave_none_to_send_in_are_refused(
    start: float | None, until: float | None, end: float | None, told: str
):
    """The past, and an end before the start."""
    with pytest.raises(SettingError, match=told):
        check_times(start_at=after(start), send_until=after(until), end_at=after(end), now=NOW)


@pytest.mark.parametrize(
    ("start", "until", "end"), [(None, None, None), (1, 2, 3), (-1, 1, None), (1, None, 2), (None, 3, 1)]
)
def test_times_that_leave_some_are_taken(start: float | None, until: float | None, end: float | None):
    """A start in the past is a start now."""
    check_times(start_at=after(start), send_until=after(until), end_at=after(end), now=NOW)
