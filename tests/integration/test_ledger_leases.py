"""Leases that run out, and what becomes of the claims under them."""

from datetime import timedelta

import pytest

from clarion.ledger.database import Database
from clarion.ledger.workers import (
    claimed_by_others,
    live_workers,
    read_control,
    reap_workers,
    register_worker,
    renew_lease,
    retire_worker,
)
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
    claimed,
    counts,
    end_lease,
    leases,
    planned_run,
    result,
    rows_of,
    settled,
    statuses,
)

HOUR = timedelta(hours=1)


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


def test_claims_of_others_are_counted_until_their_lease_runs_out(database: Database):
    """A worker's own claims do not count, and those of a dead one become unknown when its time is up."""
    run_id = planned_run(database, 3)
    mine, theirs = register_worker(database, run_id), register_worker(database, run_id)
    claimed(database, run_id, mine, most=1)
    claimed(database, run_id, theirs, most=2)
    assert claimed_by_others(database, run_id, token=mine) == 2
    end_lease(database, theirs)
    assert claimed_by_others(database, run_id, token=mine) == 0
    assert statuses(database, run_id) == {"sending": 1, "unknown": 2}
