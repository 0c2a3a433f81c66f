"""Pausing, stopping and resuming runs, and settling unknowns by hand, in the ledger alone."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from clarion.errors import RunConflictError
from clarion.ledger.control import (
    enforce_control,
    mark_paused,
    mark_waiting,
    note_crash,
    reconcile,
    request_control,
    take_up,
)
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import get_run, open_runs, run_of_flow_run, run_with_key, set_status
from clarion.ledger.second_tries import RESOLVED, resolve_unknown
from clarion.ledger.summaries import read_summary
from clarion.ledger.tables import ENDED_STATUSES, WORKER
from clarion.ledger.workers import live_workers, reap_workers, register_worker, retire_worker
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
    claimed,
    counts,
    end_lease,
    leases,
    new_run,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
)


@pytest.fixture
def dead_pid() -> Iterator[int]:
    """The id of a process that has ended; as it is a zombie, nobody else gets it meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


def give_lease_to(database: Database, token: str, pid: int) -> None:
    """Makes a lease that of another process of this machine."""
    with database.write() as connection:
        connection.execute(WORKER.update().where(WORKER.c.token == token).values(pid=pid))


def state(database: Database, run_id: int) -> tuple[str, str]:
    """Status and control of a run."""
    run = get_run(database, run_id)
    return run.status, run.control


def test_run_that_nobody_works_on_is_paused_at_once(database: Database):
    """It is paused when the call returns; its items stay pending."""
    run_id = planned_run(database, 3)
    assert not request_control(database, run_id, "pause")
    assert state(database, run_id) == ("paused", "pause")
    assert counts(database, run_id) == {"total": 3, "pending": 3}


def test_run_that_nobody_works_on_is_stopped_at_once(database: Database):
    """What was never sent is skipped, what was tried failed, what a dead worker had claimed is unknown."""
    run_id = planned_run(database, 4)
    token = register_worker(database, run_id)
    succeeded, tried, _ = claimed(database, run_id, token, most=3)
    settled(database, run_id, token, result(succeeded, "succeeded"), result(tried, "pending"))
    end_lease(database, token)
    assert not request_control(database, run_id, "stop")
    assert state(database, run_id) == ("stopped", "stop")
    assert rows_of(database, run_id, "status", "reason") == [
        ("succeeded", None),
        ("failed", "stopped"),
        ("unknown", "worker-lost"),
        ("skipped", "stopped"),
    ]
    assert_counts_add_up(database, run_id)
    assert read_summary(database, run_id)["", "failed.stopped"] == 1
    assert get_run(database, run_id).ended_at is not None


@pytest.mark.parametrize("control", ["pause", "stop", "run"])
def test_worker_is_told_and_does_it_itself(database: Database, control: str):
    """As long as somebody works on the run only its control changes."""
    run_id = planned_run(database, 2)
    register_worker(database, run_id)
    assert request_control(database, run_id, control)
    assert state(database, run_id) == ("running", control)
    assert not enforce_control(database, run_id)
    assert counts(database, run_id) == {"total": 2, "pending": 2}


def test_what_a_worker_did_not_live_to_do_is_enforced(database: Database):
    """Asked while its worker lived, stopped when that is gone."""
    run_id = planned_run(database, 2)
    token = register_worker(database, run_id)
    request_control(database, run_id, "stop")
    end_lease(database, token)
    assert enforce_control(database, run_id)
    assert state(database, run_id) == ("stopped", "stop")
    assert counts(database, run_id) == {"total": 2, "skipped": 2}


@pytest.mark.parametrize("status", ENDED_STATUSES)
@pytest.mark.parametrize("control", ["pause", "stop", "run"])
def test_ended_run_takes_no_orders(database: Database, status: str, control: str):
    """It is told what became of the run, and nothing changes."""
    run_id = planned_run(database, 1)
    set_status(database, run_id, status)
    before = get_run(database, run_id)
    with pytest.raises(RunConflictError, match=f"is {status}"):
        request_control(database, run_id, control)
    assert get_run(database, run_id) == before


@pytest.mark.parametrize("control", ["pause", "run"])
def test_stop_is_not_taken_back(database: Database, control: str):
    """Also before the worker has done it."""
    run_id = planned_run(database, 1)
    register_worker(database, run_id)
    request_control(database, run_id, "stop")
    with pytest.raises(RunConflictError, match="is being stopped"):
        request_control(database, run_id, control)
    assert request_control(database, run_id, "stop")
    take_up(database, run_id, flow_run_id="f", go_on=True)
    assert state(database, run_id) == ("running", "stop")


def test_stop_while_planning_ends_the_plan(database: Database):
    """The planner, alive as it is, writes no more; what it has planned is skipped."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(1), planned(2)])
    assert not request_control(database, run.id, "stop")
    with pytest.raises(RunConflictError):
        writer.write([planned(3)])
    with pytest.raises(RunConflictError):
        writer.finish(limit=None, bad_rows=0)
    writer.discard("the run was stopped")
    assert state(database, run.id) == ("stopped", "stop")
    assert counts(database, run.id) == {"total": 2, "skipped": 2}


def test_pause_while_planning_lets_the_plan_be_made(database: Database):
    """It sends nothing anyway: the planner is told, and finishes."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    assert request_control(database, run.id, "pause")
    writer.write([planned(1)])
    writer.finish(limit=None, bad_rows=0)
    mark_paused(database, run.id)
    assert state(database, run.id) == ("paused", "pause")


def test_pause_that_was_taken_back_marks_nothing(database: Database):
    """Whoever comes late with a pause does not overwrite what a person asked for since."""
    run_id = planned_run(database, 1)
    request_control(database, run_id, "pause")
    take_up(database, run_id, flow_run_id=None, go_on=True)
    set_status(database, run_id, "running")
    mark_paused(database, run_id)
    assert state(database, run_id) == ("running", "run")


@pytest.mark.parametrize(("go_on", "control"), [(True, "run"), (False, "pause")])
def test_taking_up_a_paused_run_goes_on_where_a_person_wants_it(
    database: Database, go_on: bool, control: str
):
    """It records who works on the run; without a flow run of its own it leaves the last one."""
    run_id = planned_run(database, 1)
    request_control(database, run_id, "pause")
    take_up(database, run_id, flow_run_id="f1", go_on=go_on)
    assert get_run(database, run_id).control == control
    take_up(database, run_id, flow_run_id=None, go_on=go_on)
    found = run_of_flow_run(database, "f1")
    assert found is not None
    assert found.id == run_id
    assert run_of_flow_run(database, "f2") is None


def test_run_is_found_by_its_key(database: Database):
    """A flow run that comes back finds its run; a run without a key is never found so."""
    run = new_run(database, run_key="2026-12-01T09:00")
    assert run_with_key(database, run.job_name, "2026-12-01T09:00") == run
    assert run_with_key(database, "other", "2026-12-01T09:00") is None
    assert run_with_key(database, run.job_name, None) is None


def test_reconcile_interrupts_what_died_and_leaves_what_lives(database: Database):
    """Of dead workers the claims become unknown; living, paused and ended runs are not touched."""
    alive, dead, paused, ended = (planned_run(database, 2) for _ in range(4))
    register_worker(database, alive)
    token = register_worker(database, dead)
    claimed(database, dead, token, most=1)
    end_lease(database, token)
    request_control(database, paused, "pause")
    set_status(database, ended, "completed")
    untouched = [get_run(database, run_id) for run_id in (alive, paused, ended)]
    assert [(run.id, run.status) for run in reconcile(database)] == [(dead, "interrupted")]
    assert counts(database, dead) == {"total": 2, "pending": 1, "unknown": 1}
    assert get_run(database, dead).reason == "no process works on it any more"
    assert [get_run(database, run.id) for run in untouched] == untouched
    assert reconcile(database) == []


def test_waiting_run_is_scheduled_with_the_reason(database: Database):
    """From whatever it was called while it was at work, or before."""
    for status in ("scheduled", "running", "interrupted", "paused"):
        run_id = planned_run(database, 1)
        set_status(database, run_id, status)
        mark_waiting(database, run_id, reason="waits")
        run = get_run(database, run_id)
        assert (run.status, run.reason) == ("scheduled", "waits")


@pytest.mark.parametrize(("control", "status"), [("pause", "paused"), ("stop", "stopped")])
def test_run_does_not_wait_where_a_person_asked_for_else(database: Database, control: str, status: str):
    """Whoever leaves to wait does not overwrite what a person asked for since."""
    run_id = planned_run(database, 1)
    request_control(database, run_id, control)
    mark_waiting(database, run_id, reason="waits")
    assert state(database, run_id) == (status, control)


def test_reconcile_leaves_a_run_that_comes_back_by_itself(database: Database):
    """It has no process because it waits; what a person asks of it is done all the same."""
    run_id, other = planned_run(database, 1), planned_run(database, 1)
    mark_waiting(database, run_id, reason="waits")
    changed = reconcile(database, comes_back=lambda run: run.id == run_id)
    assert [(run.id, run.status) for run in changed] == [(other, "interrupted")]
    assert get_run(database, run_id).reason == "waits"
    assert not request_control(database, run_id, "pause")
    assert state(database, run_id) == ("paused", "pause")


@pytest.mark.parametrize(("control", "status"), [("pause", "paused"), ("stop", "stopped")])
def test_reconcile_does_what_a_dead_worker_was_asked(database: Database, control: str, status: str):
    """Its worker died between the word and the deed."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    request_control(database, run_id, control)
    end_lease(database, token)
    assert [(run.id, run.status) for run in reconcile(database)] == [(run_id, status)]


def test_reconcile_ends_what_came_back_after_a_stop(database: Database):
    """A second worker gave claims back after the first had ended the run, and died."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    request_control(database, run_id, "stop")
    set_status(database, run_id, "stopped")
    settled(database, run_id, token, result(item, "pending", attempts=0))
    retire_worker(database, run_id, token)
    assert [run.id for run in open_runs(database)] == [run_id]
    assert [(run.id, run.status) for run in reconcile(database)] == [(run_id, "stopped")]
    assert counts(database, run_id) == {"total": 1, "skipped": 1}
    assert open_runs(database) == []


def test_crash_interrupts_a_run_at_work_only(database: Database):
    """A run that was paused before its process died stays paused."""
    at_work, paused = planned_run(database, 1), planned_run(database, 1)
    request_control(database, paused, "pause")
    for run_id in (at_work, paused):
        note_crash(database, run_id)
    assert state(database, at_work) == ("interrupted", "run")
    assert state(database, paused) == ("paused", "pause")


def test_lease_of_a_dead_process_of_this_machine_ends_at_once(database: Database, dead_pid: int):
    """Nobody waits for it to run out; the leases of the living stay."""
    run_id = planned_run(database, 3)
    dead, living = register_worker(database, run_id), register_worker(database, run_id)
    claimed(database, run_id, dead, most=1)
    claimed(database, run_id, living, most=1)
    give_lease_to(database, dead, dead_pid)
    assert reap_workers(database, run_id) == 1
    assert leases(database, run_id) == {living}
    assert sorted(rows_of(database, run_id, "status")) == ["pending", "sending", "unknown"]


def test_lease_of_a_process_elsewhere_is_waited_for(database: Database, dead_pid: int):
    """A process id says nothing of another machine."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    give_lease_to(database, token, dead_pid)
    with database.write() as connection:
        connection.execute(WORKER.update().values(host=sa.func.coalesce("elsewhere", "")))
    assert reap_workers(database, run_id) == 0
    assert live_workers(database, run_id) == 1


def unknown_run(database: Database) -> int:
    """A run with a success, a call without an answer, and a claim of a worker that died."""
    run_id = planned_run(database, 3)
    token = register_worker(database, run_id)
    first, second, _ = claimed(database, run_id, token)
    unanswered = result(
        second, "unknown", attempts=2, epoch=1, reason="no-answer", latency_ms=5.0, status_code=504
    )
    settled(database, run_id, token, result(first, "succeeded"), unanswered)
    retire_worker(database, run_id, token)
    set_status(database, run_id, "unresolved")
    return run_id


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_unknown_items_become_what_a_person_knows(database: Database, outcome: str):
    """The run is completed once nothing is unknown; that a person said so stays visible."""
    run_id = unknown_run(database)
    ended_at = get_run(database, run_id).ended_at
    assert resolve_unknown(database, run_id, outcome) == 2
    assert rows_of(database, run_id, "status", "reason")[1:] == [(outcome, RESOLVED)] * 2
    assert get_run(database, run_id).status == "completed"
    assert get_run(database, run_id).ended_at == ended_at
    assert_counts_add_up(database, run_id)
    assert resolve_unknown(database, run_id, outcome) == 0


def test_unknown_items_are_sent_again_with_the_same_key(database: Database):
    """The epoch stays; the unanswered call is in the log; stopped now, they are as unknown as before."""
    run_id = unknown_run(database)
    assert resolve_unknown(database, run_id, "resend") == 2
    assert rows_of(database, run_id, "status", "reason", "attempts", "epoch", "claim_token")[1:] == [
        ("pending", None, 2, 1, None),
        ("pending", None, 1, 0, None),
    ]
    (attempt,) = attempts_of(database, run_id)
    assert (attempt["outcome"], attempt["status_code"], attempt["latency_ms"]) == ("no-answer", 504, 5.0)
    assert attempt["idempotency_key"].endswith(".0.1")
    assert state(database, run_id) == ("interrupted", "run")
    assert get_run(database, run_id).ended_at is None
    assert_counts_add_up(database, run_id)
    request_control(database, run_id, "stop")
    assert counts(database, run_id) == {"total": 3, "succeeded": 1, "unknown": 2}


def test_old_worker_cannot_settle_what_is_sent_again(database: Database):
    """The person's word ends its claim, though the item is unknown no more."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    retire_worker(database, run_id, token)
    resolve_unknown(database, run_id, "resend")
    assert not settled(database, run_id, token, result(item, "succeeded"))
    assert rows_of(database, run_id, "status") == ["pending"]


def test_unknown_items_of_a_stopped_run_are_not_sent_again(database: Database):
    """Stopping is final; what is known of them can still be told."""
    run_id = unknown_run(database)
    set_status(database, run_id, "stopped")
    with pytest.raises(RunConflictError, match="is stopped"):
        resolve_unknown(database, run_id, "resend")
    assert resolve_unknown(database, run_id, "failed") == 2
    assert get_run(database, run_id).status == "stopped"


def test_unknown_items_of_an_open_run_are_resolved_without_ending_it(database: Database):
    """A run that goes on, goes on."""
    run_id = unknown_run(database)
    set_status(database, run_id, "running")
    assert resolve_unknown(database, run_id, "resend") == 2
    assert state(database, run_id) == ("running", "run")
