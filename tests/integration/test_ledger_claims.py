"""Claiming, settling, retrying and ending run items; leases that run out."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from clarion.ledger.claims import Slice, expire, next_slice, open_work, retry_items
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import get_run, set_status
from clarion.ledger.tables import ATTEMPT, RUN_ITEM
from clarion.ledger.workers import (
    live_workers,
    read_control,
    reap_workers,
    register_worker,
    renew_lease,
    retire_worker,
)
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    claimed,
    counts,
    end_lease,
    ids,
    leases,
    new_run,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
    statuses,
)

HOUR = timedelta(hours=1)


def attempts_of(database: Database, run_id: int) -> list[dict[str, object]]:
    """The attempt log of a run, in its order."""
    with database.read() as connection:
        rows = connection.execute(ATTEMPT.select().where(ATTEMPT.c.run_id == run_id).order_by(ATTEMPT.c.id))
        return [dict(row._mapping) for row in rows]


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


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_late_answer_turns_unknown_into_the_truth(database: Database, status: str):
    """An answer that comes after the lease ran out still counts, for the worker that made the call."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    end_lease(database, token)
    assert reap_workers(database, run_id) == 1
    assert rows_of(database, run_id, "status", "reason") == [("unknown", "worker-lost")]
    assert not settled(database, run_id, "another's", result(item, status))
    settled(database, run_id, token, result(item, status, reason="so it was"))
    assert rows_of(database, run_id, "status", "reason") == [(status, "so it was")]
    assert_counts_add_up(database, run_id)


@pytest.mark.parametrize("status", ["pending", "unknown", "skipped"])
def test_late_answer_that_decides_nothing_leaves_unknown(database: Database, status: str):
    """An item that is unknown is not put back by its lost worker: somebody may have decided on it."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    retire_worker(database, run_id, token)
    assert not settled(database, run_id, token, result(item, status, outcome="retry"))
    assert rows_of(database, run_id, "status", "reason") == [("unknown", "worker-lost")]
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


def test_lease_is_renewed_while_it_holds(database: Database):
    """A renewal moves the lease's end; an ended or unknown lease is not renewed."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    with database.write() as connection:
        assert renew_lease(connection, token)
        assert not renew_lease(connection, "nobody's")
    assert live_workers(database, run_id) == 1


def test_lease_that_ran_out_is_not_renewed(database: Database):
    """Who was away too long may have lost its claims: it must stop, and is told so."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    end_lease(database, token)
    with database.write() as connection:
        assert not renew_lease(connection, token)
    assert live_workers(database, run_id) == 0


def test_reap_leaves_what_living_workers_send(database: Database):
    """Only the claims of leases that ran out become unknown, of this run alone."""
    run_id, other_id = planned_run(database, 4), planned_run(database, 1)
    living, lost = register_worker(database, run_id), register_worker(database, run_id)
    elsewhere = register_worker(database, other_id)
    claimed(database, run_id, living, most=1)
    claimed(database, run_id, lost, most=2)
    claimed(database, other_id, elsewhere)
    end_lease(database, lost)
    end_lease(database, elsewhere)
    assert reap_workers(database, run_id) == 2
    assert rows_of(database, run_id, "status") == ["sending", "unknown", "unknown", "pending"]
    assert statuses(database, other_id) == {"sending": 1}
    assert leases(database, run_id) == {living}
    assert reap_workers(database, run_id) == 0
    assert counts(database, run_id) == {"total": 4, "sending": 1, "unknown": 2, "pending": 1}


def test_reap_finds_claims_that_were_committed_after_their_lease_was_ended(database: Database):
    """A process that was halted between its claim and its commit leaves nothing in sending for ever."""
    run_id = planned_run(database, 2)
    token = register_worker(database, run_id)
    end_lease(database, token)
    assert reap_workers(database, run_id) == 0
    claimed(database, run_id, token, most=1)
    assert reap_workers(database, run_id) == 1
    assert statuses(database, run_id) == {"unknown": 1, "pending": 1}


def test_retire_ends_one_lease(database: Database):
    """A worker that leaves takes its own claims with it, and nobody else's."""
    run_id = planned_run(database, 3)
    leaving, staying = register_worker(database, run_id), register_worker(database, run_id)
    claimed(database, run_id, leaving, most=1)
    claimed(database, run_id, staying, most=1)
    assert retire_worker(database, run_id, leaving) == 1
    assert rows_of(database, run_id, "status") == ["unknown", "sending", "pending"]
    assert leases(database, run_id) == {staying}


def test_control_of_a_run_that_is_gone_is_stop(database: Database):
    """A worker without a run has nothing to send."""
    run_id = planned_run(database, 1)
    with database.read() as connection:
        assert read_control(connection, run_id) == "run"
        assert read_control(connection, run_id + 1) == "stop"


def test_expire_tells_untouched_items_from_tried_ones(database: Database):
    """Skipped where nothing was ever sent, else failed; what is in sending is not touched."""
    run_id = planned_run(database, 5)
    tried, asked_again, released, succeeded, sending = claimed(database, run_id, "t")
    settled(
        database,
        run_id,
        "t",
        result(tried, "pending", due_at=datetime.now(UTC) + HOUR),
        result(asked_again, "pending", attempts=0, epoch=1),  # held back by the provider: no attempt used
        result(released, "pending", attempts=0),
        result(succeeded, "succeeded"),
    )
    assert expire(database, run_id, reason="expired") == 3
    assert rows_of(database, run_id, "status", "reason", "due_at") == [
        ("failed", "expired", None),
        ("failed", "expired", None),
        ("skipped", "expired", None),
        ("succeeded", None, None),
        ("sending", None, None),
    ]
    assert expire(database, run_id, reason="expired") == 0
    assert_counts_add_up(database, run_id)


def test_retry_puts_failed_items_back_with_all_their_tries(database: Database):
    """The next call carries a new key; the failed one stays in the log; the run can be taken up again."""
    run_id = planned_run(database, 3)
    refused, succeeded, unknown = claimed(database, run_id, "t")
    call = {"status_code": 422, "invocation_id": "m", "error_code": "E", "error": "no", "latency_ms": 7.0}
    settled(
        database,
        run_id,
        "t",
        result(refused, "failed", attempts=4, epoch=3, reason="refused", **call),
        result(succeeded, "succeeded"),
        result(unknown, "unknown"),
    )
    set_status(database, run_id, "unresolved")
    assert retry_items(database, run_id) == 1
    columns = ("status", "reason", "attempts", "epoch", "claim_token", "settled_at", "status_code", "error")
    assert rows_of(database, run_id, *columns)[0] == ("pending", None, 0, 4, None, None, None, None)
    assert rows_of(database, run_id, "status")[1:] == ["succeeded", "unknown"]
    (attempt,) = attempts_of(database, run_id)
    assert {name: attempt[name] for name in call} == call
    assert (attempt["outcome"], attempt["run_item_id"]) == ("refused", refused.id)
    reopened = get_run(database, run_id)
    assert (reopened.status, reopened.control, reopened.ended_at) == ("interrupted", "run", None)
    assert [item.row for item in claimed(database, run_id, "t")] == [1]


def test_retry_of_one_reason_leaves_the_others(database: Database):
    """Only what failed for a chosen reason is tried again."""
    run_id = planned_run(database, 2)
    first, second = claimed(database, run_id, "t")
    settled(
        database,
        run_id,
        "t",
        result(first, "failed", reason="refused"),
        result(second, "failed", reason="retries-exhausted"),
    )
    assert retry_items(database, run_id, reasons=("retries-exhausted",)) == 1
    assert rows_of(database, run_id, "status") == ["failed", "pending"]


def test_retry_of_nothing_leaves_the_run_ended(database: Database):
    """A run without failed items is not taken up again."""
    run_id = planned_run(database, 1)
    settled(database, run_id, "t", result(claimed(database, run_id, "t")[0], "succeeded"))
    set_status(database, run_id, "completed")
    assert retry_items(database, run_id) == 0
    assert get_run(database, run_id).status == "completed"


def test_retry_logs_no_call_that_was_not_made(database: Database):
    """An item that failed because its time was over has its calls in the log already."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "pending", outcome="retry", latency_ms=2.0))
    expire(database, run_id, reason="expired")
    assert retry_items(database, run_id) == 1
    assert [attempt["outcome"] for attempt in attempts_of(database, run_id)] == ["retry"]


def test_open_work_tells_when_the_first_item_is_due(database: Database):
    """At once where anything has no time or is over it; else in the seconds until the first."""
    run_id = planned_run(database, 3)
    first, second, third = claimed(database, run_id, "t")
    soon, late = datetime.now(UTC) + HOUR, datetime.now(UTC) + 2 * HOUR
    with database.read() as connection:
        assert open_work(connection, run_id=run_id).pending == 0
    settled(
        database, run_id, "t", result(first, "pending", due_at=late), result(second, "pending", due_at=soon)
    )
    with database.read() as connection:
        work = open_work(connection, run_id=run_id)
        assert work.pending == 2
        assert work.due_at == soon
        assert 3_500 < work.due_in_seconds <= 3_600
    settled(database, run_id, "t", result(third, "pending"))
    with database.read() as connection:
        assert open_work(connection, run_id=run_id).due_in_seconds == 0


def test_open_work_of_a_slice_is_the_slices_alone(database: Database):
    """Another action's items, or those outside its ids, do not count."""
    run_id = planned_run(database, [planned(row, action="ab"[row % 2]) for row in range(1, 7)])
    every = rows_of(database, run_id, "id")
    with database.read() as connection:
        part = Slice(action="b", first_id=every[0], last_id=every[3])
        assert open_work(connection, run_id=run_id, part=part).pending == 2
        assert open_work(connection, run_id=run_id).pending == 6


def test_next_slice_walks_over_what_is_due(database: Database):
    """Slices follow each other without gap or overlap; items that are not due are not counted."""
    run_id = planned_run(database, 7)
    every = rows_of(database, run_id, "id")
    with database.write() as connection:
        later = datetime.now(UTC) + HOUR
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.id == every[1]).values(due_at=later))
    found = []
    after_id = 0
    with database.read() as connection:
        while part := next_slice(connection, run_id=run_id, action="send", after_id=after_id, size=3):
            found.append((part.first_id, part.last_id))
            after_id = part.last_id
        assert next_slice(connection, run_id=run_id, action="other", after_id=0, size=3) is None
    assert found == [(every[0], every[3]), (every[4], every[6])]


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
    run_id = planned_run(database, 20)
    seen: list[tuple[str, object]] = []
    sa.event.listen(
        database.engine, "before_cursor_execute", lambda _c, _k, sql, given, *_: seen.append((sql, given))
    )
    claimed(database, run_id, "t", most=5)
    statement, given = next((sql, given) for sql, given in seen if "wanted" in sql)
    how = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    with database.write() as connection:
        if database.dialect == "postgresql":  # which reads so few rows one by one otherwise
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = " ".join(str(row) for row in connection.exec_driver_sql(how + statement, given))
    assert "run_item_due" in plan
