"""What is left of a run: due later, put back by a person, or ended with the run."""

from datetime import UTC, datetime, timedelta

from clarion.fallback import NextStep
from clarion.ledger.claims import Slice, expire, next_slice, open_work
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run, set_status
from clarion.ledger.second_tries import resolve_unknown, retry_items
from clarion.ledger.tables import RUN_ITEM
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
    claimed,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
)

HOUR = timedelta(hours=1)


def test_expire_tells_untouched_items_from_tried_ones(database: Database):
    """Skipped where nothing was ever sent, else failed; what is in sending is not touched."""
    run_id = planned_run(database, 5)
    tried, asked_again, released, succeeded, _ = claimed(database, run_id, "t")
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


def test_expire_keeps_what_is_in_doubt_unknown(database: Database):
    """A call that was never answered is not failed because its next try comes too late."""
    run_id = planned_run(database, 2)
    doubted, fallen = claimed(database, run_id, "t")
    settled(
        database,
        run_id,
        "t",
        result(doubted, "pending", in_doubt=True),
        result(
            fallen,
            "failed",
            reason="refused",
            idempotency_key="k",
            fallback=(NextStep(step=1, action="send", recipient="x", dedupe_key="x"),),
        ),
    )
    assert expire(database, run_id, reason="stopped") == 2
    assert rows_of(database, run_id, "status", "reason", "step") == [
        ("unknown", "stopped", 0),
        ("failed", "stopped", 1),
    ]
    assert_counts_add_up(database, run_id)


def test_doubt_goes_with_the_item_until_it_is_settled(database: Database):
    """A claim knows of it; a resend by hand makes it; a person's word or a retry ends it."""
    run_id = planned_run(database, 3)
    first, *others = claimed(database, run_id, "t")
    settled(
        database, run_id, "t",
        result(first, "pending", in_doubt=True),
        *(result(each, "unknown", in_doubt=True) for each in others),
    )  # fmt: skip
    assert [item.in_doubt for item in claimed(database, run_id, "t")] == [True]
    resolve_unknown(database, run_id, "resend")
    resent = claimed(database, run_id, "t")
    assert [item.in_doubt for item in resent] == [True, True]
    settled(database, run_id, "t", *(result(item, "unknown", in_doubt=True) for item in resent))
    resolve_unknown(database, run_id, "failed")
    assert rows_of(database, run_id, "in_doubt") == [True, False, False]
    retry_items(database, run_id)
    assert [(item.in_doubt, item.epoch) for item in claimed(database, run_id, "t")] == [(False, 1)] * 2


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


def test_retry_logs_the_call_under_the_key_that_it_carried(database: Database):
    """The call that failed is found again by the provider's record of its idempotency key."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "failed", reason="refused", epoch=2, latency_ms=7.0))
    retry_items(database, run_id)
    (logged,) = attempts_of(database, run_id)
    assert logged["idempotency_key"] == f"{get_run(database, run_id).uid}-{item.id}.0.2"
