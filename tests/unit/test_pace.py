"""Rate, time left and what is waited for: the arithmetic behind the bar."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.pace import OpenAction, Rate, Standing, duration, left_seconds, rate_text, waits_for

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


def rate_of(*looks: tuple[float, int], seconds: float = 5.0) -> float | None:
    """The rate after looks at (time, settled)."""
    rate = Rate(seconds=seconds)
    for at, settled in looks:
        rate.note(settled, at=at)
    return rate.per_second()


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([], None),
        ([(0, 10)], None),
        ([(0, 10), (0, 20)], None),
        ([(0, 0), (2, 20)], 10.0),
        ([(0, 0), (2, 20), (4, 20)], 5.0),
        ([(0, 1_000), (100, 1_000), (105, 1_050)], 10.0),  # what was before the last seconds is forgotten
        ([(0, 100), (1, 200), (2, 50), (4, 60)], 5.0),  # a retry put items back
    ],
)
def test_rate_is_that_of_the_last_seconds(looks: list[tuple[float, int]], expected: float | None):
    """Settled items a second since the last look from before the span; nothing before there are two looks."""
    assert rate_of(*looks) == expected


@given(per_second=st.integers(1, 1_000), looks=st.integers(2, 60))
def test_rate_of_a_steady_run_is_steady(per_second: int, looks: int):
    """However many looks there were, a steady run has its own rate."""
    assert rate_of(*((at / 4, per_second * at) for at in range(looks))) == pytest.approx(per_second * 4)


def act(name: str = "a", **fields: Any) -> OpenAction:
    """An action with a hundred items pending."""
    return OpenAction(action=name, **{"pending": 100} | fields)


@pytest.mark.parametrize(
    ("actions", "open_items", "rate", "expected"),
    [
        ([], 0, 10.0, 0.0),
        ([], 50, None, None),
        ([act()], 100, 20.0, 5.0),
        ([act()], 100, 0.0, None),
        ([act(tps=2.0)], 100, 20.0, 50.0),  # a burst at the start does not beat the limit
        ([act(tps=2.0)], 100, 1.0, 100.0),  # nor does the limit beat what is seen
        ([act(tps=2.0)], 100, None, 50.0),
        ([act(tps=2.0), act("b", tps=0.5)], 200, None, 200.0),
        ([act(tps=2.0), act("b")], 200, None, None),
        ([act(tps=2.0, held_seconds=30.0)], 100, None, 80.0),
        ([act(tps=2.0, pending=0), act("b", pending=0)], 3, None, None),
    ],
)
def test_time_left_is_by_the_rate_and_never_less_than_the_limits_allow(
    actions: list[OpenAction], open_items: int, rate: float | None, expected: float | None
):
    """The slowest action decides; where neither a rate nor a limit tells, nothing is said."""
    assert left_seconds(actions, open_items=open_items, rate=rate) == expected


@given(
    pending=st.lists(st.integers(0, 10_000), max_size=4),
    tps=st.floats(0.1, 1_000),
    rate=st.none() | st.floats(0, 1_000),
)
def test_time_left_is_no_shorter_than_any_limit(pending: list[int], tps: float, rate: float | None):
    """Whatever was seen last, a limit is not outrun."""
    actions = [act(str(n), pending=count, tps=tps) for n, count in enumerate(pending)]
    left = left_seconds(actions, open_items=sum(pending), rate=rate)
    if any(pending):
        assert left is not None
        assert left >= max(pending) / tps


def standing(**fields: Any) -> Standing:
    """A run at work."""
    return Standing(**{"status": "running", "control": "run", "now": NOW, "actions": [act()]} | fields)


LATER = NOW + timedelta(seconds=75)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"status": "paused", "control": "pause"}, "paused, until `clarion resume`"),
        ({"control": "pause"}, "pausing: answers on their way are waited for"),
        ({"control": "stop"}, "stopping"),
        (
            {"planned": False, "status": "scheduled", "start_at": LATER},
            "waiting for its start, in 1 min 15 s",
        ),
        ({"planned": False, "status": "planning", "start_at": NOW}, None),
        ({"planned": False, "status": "planning"}, None),
        ({"actions": [act(held_seconds=12.2)]}, "the provider holds a back, for 12 s"),
        (
            {"actions": [act(held_seconds=3), act("b", held_seconds=60), act("c")]},
            "the provider holds a, b back, for 1 min",
        ),
        ({"actions": [act(pending=0, held_seconds=9)]}, None),
        ({"due_at": LATER}, "waiting out a back-off, next try in 1 min 15 s"),
        ({"due_at": LATER, "tried": False}, "held by windows or times of sending, next in 1 min 15 s"),
        ({"due_at": LATER, "sending": 3}, None),  # answers are on their way
        ({"due_at": NOW}, None),
        ({"due_at": LATER, "actions": [act(pending=0)]}, None),
    ],
)
def test_what_a_run_waits_for_is_told(fields: dict[str, Any], expected: str | None):
    """A person's word comes first, then the start, the provider's hold, the back-off or the window."""
    assert waits_for(standing(**fields)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"), (0.6, "1 s"), (-3, "0 s"), (59.4, "59 s"), (60, "1 min"), (185, "3 min 5 s"),
        (3_600, "1 h"), (7_805, "2 h 10 min"), (90_000, "1 d 1 h"), (86_400 * 4 + 59, "4 d"),
    ],
)  # fmt: skip
def test_duration_has_two_units(seconds: float, expected: str):
    """A length of time is told as precisely as a person cares."""
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.0, "0/s"), (0.42, "0.4/s"), (9.96, "10.0/s"), (240.6, "241/s"), (12_345.0, "12,345/s")],
)
def test_rate_is_told_with_the_digits_that_matter(rate: float, expected: str):
    """Slow rates have a fraction."""
    assert rate_text(rate) == expected
