"""What a person sees of a run on a terminal, and what the ledger tells for it."""

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from clarion.ledger.claims import Slice
from clarion.ledger.database import Database
from clarion.ledger.limits import hold
from clarion.ledger.progress import first_due, held_seconds, pending_by_action
from clarion.ledger.runs import RunRecord, get_run
from clarion.ledger.tables import RUN_ITEM
from clarion.pace import OpenAction, Standing
from cli.progress import Follower, following
from tests.integration.ledger_runs import claimed, planned, planned_run, result, settled

PATIENCE_SECONDS = 30


@pytest.fixture
def run(database: Database) -> RunRecord:
    """A run of ten items, three of them settled."""
    run_id = planned_run(database, [planned(row, action="ab"[row % 2]) for row in range(1, 11)])
    part = Slice(action="a", first_id=0, last_id=10**9)
    first, second = claimed(database, run_id, "t", part=part, most=2)
    settled(database, run_id, "t", result(first, "succeeded"), result(second, "failed", reason="refused"))
    return get_run(database, run_id)


def test_pending_items_are_counted_by_action(database: Database, run: RunRecord):
    """What is settled is not among them."""
    assert pending_by_action(database, run.id) == {"a": 3, "b": 5}


def test_first_due_is_told_once_nothing_is_due_now(database: Database, run: RunRecord):
    """While one item is due now, nothing is waited for; then the first of the others counts."""
    assert first_due(database, run.id).at is None
    now = first_due(database, run.id).now
    with database.write() as connection:
        connection.execute(RUN_ITEM.update().values(due_at=now + timedelta(hours=2)))
        first = RUN_ITEM.update().where(RUN_ITEM.c.row == 3)
        connection.execute(first.values(due_at=now + timedelta(hours=1), attempts=1))
    due = first_due(database, run.id)
    assert (due.at, due.tried) == (now + timedelta(hours=1), True)
    with database.write() as connection:
        connection.execute(RUN_ITEM.update().values(attempts=0))
    assert not first_due(database, run.id).tried
    with database.write() as connection:
        connection.execute(RUN_ITEM.update().values(status="succeeded"))
    assert first_due(database, run.id).at is None


def test_holds_are_told_while_they_last(database: Database):
    """Only the limits that are asked for, and only those that are held back now."""
    with database.write() as connection:
        hold(connection, key="held", seconds=600)
        hold(connection, key="over", seconds=0)
        hold(connection, key="other", seconds=600)
    held = held_seconds(database, ["held", "over", "never"])
    assert list(held) == ["held"]
    assert 0 < held["held"] <= 600
    assert held_seconds(database, []) == {}


def standing(run: RunRecord, **changes: object) -> Standing:
    """A run at work, with an action that lets two items through a second."""
    actions = [OpenAction(action="send", pending=run.pending, tps=2.0)]
    made = Standing(status=run.status, control=run.control, now=run.created_at, actions=actions)
    return replace(made, **changes)


def test_follower_shows_counts_rate_time_left_and_what_is_waited_for(run: RunRecord):
    """The rate is that of the looks, the time left keeps to the limit, the standing is asked each second."""
    clock = iter([0.0, 0.0, 0.5, 2.0, 2.0])
    asked: list[str] = []

    def stand(seen: RunRecord) -> Standing:
        asked.append(seen.uid)
        return standing(seen, actions=[OpenAction(action="send", pending=8, tps=2.0, held_seconds=12)])

    follower = Follower(stand, clock=lambda: next(clock))
    first = follower.view(run)
    assert (first.status, first.settled, first.total, first.pace) == ("running", 2, 10, "16 s left")
    assert first.note == "1 succeeded, 1 failed; the provider holds send back, for 12 s"
    assert follower.view(replace(run, pending=7, succeeded=2)).pace == "2.0/s, 16 s left"
    assert len(asked) == 1
    assert follower.view(replace(run, pending=6, succeeded=3)).pace == "1.0/s, 16 s left"
    assert len(asked) == 2


def test_follower_shows_a_plan_in_the_making(run: RunRecord):
    """What was planned so far is counted, without a total and without a rate."""
    view = Follower(lambda seen: standing(seen, planned=False)).view(
        replace(run, status="planning", planned_at=None)
    )
    assert (view.status, view.settled, view.total, view.pace) == ("planning", 10, None, "")


def looks_until(done: threading.Event, *runs: RunRecord | None) -> Iterator[RunRecord | None]:
    """Looks at a run one after the other; the last of them again and again, once it was shown."""
    yield from runs
    done.set()
    while True:
        yield runs[-1]


def test_bar_shows_the_run_on_a_terminal(run: RunRecord):
    """Status, settled of all, rate, time left, outcomes and why it waits stand in 80 columns."""
    shown, done = io.StringIO(), threading.Event()
    looks = looks_until(done, None, run, replace(run, pending=4, succeeded=5))
    out = Console(file=shown, force_terminal=True, width=80, legacy_windows=False)

    def stand(seen: RunRecord) -> Standing:
        return standing(seen, due_at=seen.created_at + timedelta(seconds=75))

    with following(lambda: next(looks), stand=stand, out=out):
        assert done.wait(PATIENCE_SECONDS)
    text = shown.getvalue()
    assert "starting" in text
    assert "running" in text
    assert "2/10" in text
    assert "6/10" in text
    assert "/s, " in text
    assert " left" in text
    assert "5 succeeded, 1 failed; waiting out a back-off, next try in 1 min 15 s" in text


def test_nothing_is_shown_where_there_is_no_terminal(run: RunRecord):
    """A log file holds no bars, and nobody looks at the run for one."""
    shown = io.StringIO()

    def look() -> RunRecord:
        raise AssertionError(run.uid)

    with following(look, out=Console(file=shown)):
        pass
    assert shown.getvalue() == ""
