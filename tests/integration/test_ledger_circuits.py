"""A broken circuit in the ledger: the run pauses with its reason, and burned tries come back."""

from clarion.ledger.circuits import give_back_tries, pause_for_errors
from clarion.ledger.control import enforce_control, mark_paused, request_control, take_up
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run, set_status
from clarion.ledger.workers import register_worker, retire_worker
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
    claimed,
    counts,
    planned_run,
    result,
    rows_of,
    settled,
)

REASON = "3 provider errors in a row: status 500"


def test_run_pauses_with_the_reason(database: Database):
    """One process is told that it did it; the reason stays with the paused run and goes when it goes on."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    assert pause_for_errors(database, run_id, reason=REASON)
    assert not pause_for_errors(database, run_id, reason="another")
    run = get_run(database, run_id)
    assert (run.status, run.control, run.reason) == ("running", "pause", REASON)
    mark_paused(database, run_id)
    retire_worker(database, run_id, token)
    enforce_control(database, run_id)
    run = get_run(database, run_id)
    assert (run.status, run.control, run.reason) == ("paused", "pause", REASON)
    take_up(database, run_id, flow_run_id=None, go_on=True)
    assert set_status(database, run_id, "running", only_from=("interrupted", "paused"))
    run = get_run(database, run_id)
    assert (run.status, run.control, run.reason) == ("running", "run", None)


def test_person_s_word_goes_before_the_circuit(database: Database):
    """A run that is to stop stops, one that was paused has no other reason, one that has ended stays so."""
    stopped, paused, ended = (planned_run(database, 1) for _ in range(3))
    register_worker(database, stopped)
    request_control(database, stopped, "stop")
    request_control(database, paused, "pause")
    set_status(database, ended, "completed")
    assert [pause_for_errors(database, run, reason=REASON) for run in (stopped, paused, ended)] == [False] * 3
    assert [get_run(database, run).reason for run in (stopped, paused, ended)] == [None] * 3


def test_pause_of_an_interrupted_run_does_not_keep_its_old_reason(database: Database):
    """That its worker was gone is no reason of a pause that a person asked for later."""
    run_id = planned_run(database, 1)
    set_status(database, run_id, "interrupted", reason="no process works on it any more")
    request_control(database, run_id, "pause")
    assert (get_run(database, run_id).status, get_run(database, run_id).reason) == ("paused", None)


def test_burned_tries_come_back(database: Database):
    """Who is pending has them back; who had none left is pending again, under a new key."""
    run_id = planned_run(database, 6)
    waiting, exhausted, refused, unknown, done, other = claimed(database, run_id, "t")
    call = {"status_code": 500, "error_code": "500", "latency_ms": 3.0}
    settled(
        database, run_id, "t",
        result(waiting, "pending", attempts=3, epoch=3),
        result(exhausted, "failed", reason="retries-exhausted", attempts=4, epoch=3, **call),
        result(refused, "failed", reason="refused", attempts=2),
        result(unknown, "unknown", attempts=2),
        result(done, "succeeded", attempts=2),
        result(other, "pending", attempts=1),
    )  # fmt: skip
    burned = {item.id: count for item, count in [
        (waiting, 2), (exhausted, 4), (refused, 1), (unknown, 1), (done, 1), (other, 9),
    ]}  # fmt: skip
    assert give_back_tries(database, run_id, burned) == 3
    assert rows_of(database, run_id, "status", "reason", "attempts", "epoch") == [
        ("pending", None, 1, 3),
        ("pending", None, 0, 4),
        ("failed", "refused", 2, 0),
        ("unknown", None, 2, 0),
        ("succeeded", None, 2, 0),
        ("pending", None, 0, 0),
    ]
    assert [attempt["run_item_id"] for attempt in attempts_of(database, run_id)] == [exhausted.id]
    assert counts(database, run_id) == {"total": 6, "pending": 3, "failed": 1, "unknown": 1, "succeeded": 1}
    assert_counts_add_up(database, run_id)


def test_burned_tries_of_another_run_are_left_alone(database: Database):
    """Ids are the ledger's; a run gives back its own."""
    run_id, mine = planned_run(database, 1), planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "pending", attempts=2))
    assert give_back_tries(database, mine, {item.id: 2}) == 0
    assert rows_of(database, run_id, "attempts") == [2]
