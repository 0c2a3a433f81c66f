"""Claiming and settling run items."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from clarion.ledger.claims import Slice, open_work
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.tables import RUN_ITEM
from clarion.ledger.workers import (
    register_worker,
)
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
    claimed,
    counts,
    new_run,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
    statuses,
)

HOUR = timedelta(hours=1)


def test_claim_moves_items_to_sending_under_its_token(database: Database):
    """A claim takes the first that are due, at most as many as asked for, with what the sender needs."""
    run_id = planned_run(database, 5)
    token = register_worker(database, run_id)
    first, second = claimed(database, run_id, token, most=2)
    assert (first.row, second.row) == (1, 2)
    assert (first.recipient, first.segment, first.action, first.item) == ("r1", "all", "send", '{"n":1}')
    assert (first.step, first.epoch, first.attempts) == (0, 0, 0)
    assert rows_of(database, run_id, "status", "claim_token")[:3] == [
        ("sending", token),
        ("sending", token),
        ("pending", None),
    ]
    assert counts(database, run_id) == {"total": 5, "pending": 3, "sending": 2}


def test_claim_stays_within_its_slice(database: Database):
    """Items of another action, before or after the slice are left to others."""
    run_id = planned_run(database, [planned(row, action="ab"[row % 2]) for row in range(1, 11)])
    every = rows_of(database, run_id, "id")
    part = Slice(action="b", first_id=every[2], last_id=every[6])
    taken = claimed(database, run_id, "t", part=part)
    assert [item.row for item in taken] == [3, 5, 7]


def test_claim_leaves_other_runs_alone(database: Database):
    """The same slice of another run is another's."""
    planned_run(database, 3)
    run_id = planned_run(database, 2)
    assert len(claimed(database, run_id, "t")) == 2


def test_item_is_claimed_when_it_is_due(database: Database):
    """What is due later waits; what was due earlier, or has no time, goes at once."""
    run_id = planned_run(database, 3)
    items = claimed(database, run_id, "t")
    now = datetime.now(UTC)
    dues = (now + HOUR, now - HOUR, None)
    settled(
        database,
        run_id,
        "t",
        *(result(item, "pending", due_at=due_at) for item, due_at in zip(items, dues, strict=True)),
    )
    assert [item.row for item in claimed(database, run_id, "t")] == [2, 3]


@pytest.mark.parametrize("milliseconds", [-2, 2_000])
def test_due_time_is_exact_to_the_millisecond(database: Database, milliseconds: int):
    """An item due 2 ms ago by the database's clock is due, one due in 2 s is not."""
    run_id = planned_run(database, 1)
    with database.write() as connection:
        work = open_work(connection, run_id=run_id)
        due_at = work.now + timedelta(milliseconds=milliseconds)
        connection.execute(RUN_ITEM.update().values(due_at=due_at))
    assert len(claimed(database, run_id, "t")) == (milliseconds < 0)


def test_settle_records_the_result(database: Database):
    """Everything that is known of the call is in the item."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    changes = settled(
        database,
        run_id,
        "t",
        result(
            item,
            "failed",
            reason="refused",
            status_code=422,
            invocation_id="m-1",
            error_code="E7",
            error="no such number",
            latency_ms=12.5,
        ),
    )
    assert {name: change for name, change in changes.items() if change} == {"failed": 1, "sending": -1}
    columns = (
        "status",
        "reason",
        "attempts",
        "status_code",
        "invocation_id",
        "error_code",
        "error",
        "latency_ms",
    )
    assert rows_of(database, run_id, *columns) == [
        ("failed", "refused", 1, 422, "m-1", "E7", "no such number", 12.5)
    ]
    assert attempts_of(database, run_id) == []


def test_settle_logs_the_call_that_another_try_follows(database: Database):
    """The item goes back to pending without a token, and its call into the attempt log."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    again = result(
        item,
        "pending",
        epoch=1,
        outcome="retry",
        idempotency_key="k.0.0",
        status_code=503,
        invocation_id="m-1",
        error_code="busy",
        error="later",
        latency_ms=3.0,
    )
    settled(database, run_id, "t", again)
    assert rows_of(database, run_id, "status", "claim_token", "attempts", "epoch") == [
        ("pending", None, 1, 1)
    ]
    (attempt,) = attempts_of(database, run_id)
    assert attempt.pop("attempted_at") is not None
    assert attempt == {
        "id": attempt["id"],
        "run_id": run_id,
        "run_item_id": item.id,
        "step": 0,
        "action": "send",
        "recipient": "r1",
        "idempotency_key": "k.0.0",
        "invocation_id": "m-1",
        "outcome": "retry",
        "status_code": 503,
        "error_code": "busy",
        "error": "later",
        "latency_ms": 3.0,
    }


@pytest.mark.parametrize("status", ["succeeded", "failed", "unknown", "pending", "skipped"])
def test_settle_with_a_foreign_token_changes_nothing(database: Database, status: str):
    """Only who holds a claim may say what became of it."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "mine")
    assert not settled(database, run_id, "another's", result(item, status, outcome="retry"))
    assert statuses(database, run_id) == {"sending": 1}
    assert attempts_of(database, run_id) == []


@pytest.mark.parametrize("first", ["succeeded", "failed", "skipped"])
def test_settled_item_is_settled_once(database: Database, first: str):
    """The second settle of a claim changes nothing, as where a commit was repeated."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, first))
    assert not settled(database, run_id, "t", result(item, "unknown"))
    assert not settled(database, run_id, "t", result(item, "succeeded"))
    assert statuses(database, run_id) == {first: 1}
    assert_counts_add_up(database, run_id)


def test_settle_stores_text_that_postgresql_cannot_hold(database: Database):
    """A NUL in a provider's answer fails no transaction: it is replaced."""
    run_id = planned_run(database, 2)
    first, second = claimed(database, run_id, "t")
    nul = {"invocation_id": "a\0b", "error_code": "\0", "error": "x\0"}
    settled(
        database,
        run_id,
        "t",
        result(first, "failed", **nul),
        result(second, "pending", outcome="retry", **nul),
    )
    stored = rows_of(database, run_id, "invocation_id", "error_code", "error")
    assert stored == [("a\ufffdb", "\ufffd", "x\ufffd")] * 2
    assert attempts_of(database, run_id)[0]["error"] == "x\ufffd"


def test_nobody_claims_before_the_plan_is_finished(database: Database):
    """The plan's last commit opens all of its items at once."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(1), planned(2)])
    assert claimed(database, run.id, "t") == []
    writer.finish(limit=None, bad_rows=0)
    assert len(claimed(database, run.id, "t")) == 2


def test_claim_finds_its_items_through_the_index_of_what_is_pending(database: Database):
    """However long a run is, a claim reads what is due and no more."""
    run_id = planned_run(database, 2_000)
    with database.write() as connection:  # databases plan by what they have counted, whenever that was
        connection.execute(sa.update(RUN_ITEM).where(RUN_ITEM.c.row <= 1_900).values(status="succeeded"))
        connection.exec_driver_sql("ANALYZE run_item")
    seen: list[tuple[str, Any]] = []
    event.listen(
        database.engine, "before_cursor_execute", lambda _c, _k, sql, given, *_: seen.append((sql, given))
    )
    claimed(database, run_id, "t", most=5)
    statement, given = next((sql, given) for sql, given in seen if "LIMIT" in sql)
    how = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    with database.write() as connection:
        plan = " ".join(str(row) for row in connection.exec_driver_sql(how + statement, given))
    assert "run_item_due" in plan
