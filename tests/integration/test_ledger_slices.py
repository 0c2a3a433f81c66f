"""Cutting what is due into slices: every due item in exactly one of them."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from clarion import slices
from clarion.ledger.claims import Slice
from clarion.ledger.database import Database
from clarion.slices import LEAST_ITEMS, LEAST_WAIT_SECONDS, MOST_ITEMS, SliceFeed, slice_size
from tests.integration.ledger_runs import (
    claimed,
    ids,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
    statuses,
)

HOUR = timedelta(hours=1)


class Clock:
    """Stands in for the process's monotonic clock."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        """The time."""
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that goes when a test says so."""
    clock = Clock()
    monkeypatch.setattr(slices, "time", clock)
    return clock


def feed_of(database: Database, run_id: int, *actions: str, size: int) -> SliceFeed:
    """A feed over a run."""
    return SliceFeed(database=database, run_id=run_id, actions=actions or ("send",), size=size)


def two_actions(database: Database, items: int) -> int:
    """A run of two actions that alternate from row to row."""
    return planned_run(database, [planned(row, action="ab"[row % 2]) for row in range(1, items + 1)])


def test_feed_hands_every_due_item_out_once(database: Database):
    """The slices of a run follow each other, action by action in turn, until nothing is left."""
    run_id = two_actions(database, 10)
    feed = feed_of(database, run_id, "a", "b", size=2)
    parts = feed.take(99)
    assert [part.action for part in parts] == ["a", "b"] * 3
    found = [item for part in parts for item in ids(claimed(database, run_id, "t", part=part))]
    assert sorted(found) == rows_of(database, run_id, "id")
    assert feed.take(99) == []


def test_feed_hands_out_no_more_than_asked_for(database: Database):
    """What was not taken now is taken next, and nothing between is lost."""
    run_id = planned_run(database, 7)
    feed = feed_of(database, run_id, size=2)
    assert feed.take(0) == []
    parts = [part for _ in range(9) for part in feed.take(1)]
    assert parts == feed_of(database, run_id, size=2).take(99)
    assert len(parts) == 4


def test_feed_gives_the_turns_of_an_action_that_is_done_to_the_others(database: Database):
    """A short action does not hold a long one up."""
    run_id = planned_run(database, [planned(row, action="a" if row == 1 else "b") for row in range(1, 6)])
    feed = feed_of(database, run_id, "a", "b", "none", size=1)
    assert [part.action for part in feed.take(99)] == ["a", "b", "b", "b", "b"]


def test_feed_does_not_hand_an_item_out_twice_at_a_time(database: Database):
    """While any slice of an action is out, what it put back is not mapped again."""
    run_id = planned_run(database, 4)
    feed = feed_of(database, run_id, size=2)
    first, second = feed.take(99)
    items = claimed(database, run_id, "t", part=first)
    settled(database, run_id, "t", *(result(item, "pending") for item in items))
    feed.done(first, held_seconds=0)
    assert feed.take(99) == []
    claimed(database, run_id, "t", part=second)
    feed.done(second, held_seconds=0)
    assert feed.take(99) == [first]


def test_feed_leaves_what_is_due_later(database: Database, clock: Clock):
    """It is mapped once it is due, and until then there is time to wait."""
    run_id = planned_run(database, 1)
    feed = feed_of(database, run_id, size=1)
    (part,) = feed.take(99)
    (item,) = claimed(database, run_id, "t", part=part)
    settled(database, run_id, "t", result(item, "pending", due_at=datetime.now(UTC) + HOUR))
    feed.done(part, held_seconds=0)
    assert feed.take(99) == []
    assert feed.wait_seconds(5.0) == 5.0
    assert feed.wait_seconds(1e6) == pytest.approx(3_600, abs=60)
    assert feed.open_work().pending == 1


def test_feed_waits_a_little_where_something_is_due(database: Database):
    """Never not at all: whoever asks in a loop leaves the machine to others."""
    run_id = planned_run(database, 1)
    assert feed_of(database, run_id, size=1).wait_seconds(5.0) == LEAST_WAIT_SECONDS


def test_feed_lets_a_held_action_rest(database: Database, clock: Clock):
    """The others go on; when the hold is over the action is mapped again."""
    run_id = two_actions(database, 4)
    feed = feed_of(database, run_id, "a", "b", size=1)
    first = feed.take(1)[0]
    assert first.action == "a"
    feed.done(first, held_seconds=30)
    assert [part.action for part in feed.take(99)] == ["b", "b"]
    assert feed.wait_seconds(5.0) == 5.0
    clock.seconds += 31
    (second,) = feed.take(99)
    assert second.action == "a"
    feed.done(second, held_seconds=0)
    assert feed.take(99) == [first, second]


@pytest.mark.parametrize("seed", range(3))
def test_feed_never_has_an_item_in_two_slices(database: Database, seed: int):
    """Through retries and slices that come back in any order, to the end of the run."""
    chance = random.Random(seed)
    run_id = two_actions(database, 40)
    feed = feed_of(database, run_id, "a", "b", size=3)
    out: list[Slice] = []
    for _ in range(500):
        out += feed.take(chance.randint(0, 4))
        for one in out:
            for other in out:
                apart = one.last_id < other.first_id or other.last_id < one.first_id
                assert one is other or one.action != other.action or apart
        if not out:
            if not feed.open_work().pending:
                break
            continue
        part = out.pop(chance.randrange(len(out)))
        items = claimed(database, run_id, "t", part=part)
        endings = [
            result(item, "succeeded" if chance.random() < 0.7 or item.attempts > 3 else "pending")
            for item in items
        ]
        if endings:
            settled(database, run_id, "t", *endings)
        feed.done(part, held_seconds=0)
    assert statuses(database, run_id) == {"succeeded": 40}


@pytest.mark.parametrize(
    ("total", "size"),
    [(0, 1), (1, 1), (200, 1), (201, LEAST_ITEMS), (10_000, 625), (1_000_000, MOST_ITEMS)],
)
def test_slice_size_grows_with_the_run(total: int, size: int):
    """Each row is a slice of its own in a short run; a long one has slices of bounded size."""
    assert slice_size(total) == size


def test_feed_keeps_a_place_for_every_action(database: Database):
    """Slices of an action that do not come back for long do not take the places of the others."""
    window = 4
    run_id = two_actions(database, 40)
    feed = feed_of(database, run_id, "a", "b", size=1)
    slow: set[int] = set()
    fast: set[int] = set()
    for _ in range(40):
        for part in feed.take(window - len(slow)):
            if part.action == "a":
                slow.add(part.first_id)
            else:
                fast.add(part.first_id)
                feed.done(part, held_seconds=0)
    assert len(slow) == window - 1
    assert len(fast) == 20


def test_slices_of_a_run_are_shared_by_all_workers():
    """More processes get more and smaller slices."""
    assert slice_size(32_000, workers=1) == 2_000
    assert slice_size(32_000, workers=4) == 500
