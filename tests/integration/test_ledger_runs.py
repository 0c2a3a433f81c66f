"""Creating runs and finding them again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from clarion.errors import InputError, RunConflictError
from clarion.ledger.database import Database
from clarion.ledger.runs import (
    NewRun,
    create_run,
    find_run,
    get_run,
    list_runs,
    refuse_unfinished,
    set_status,
)
from clarion.ledger.tables import ENDED_STATUSES, RUN_STATUSES
from tests.integration.ledger_runs import NEW_RUN, new_run

UNFINISHED = [status for status in RUN_STATUSES if status not in ENDED_STATUSES]


def test_run_is_created_as_it_was_asked_for(database: Database):
    """Every field comes back, times in UTC; the counters are zero."""
    start_at = datetime(2026, 12, 1, 9, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    new = NewRun(
        job_name="renewals",
        job='{"name":"renewals"}',
        base="/srv/jobs",
        run_key="2026-12-01",
        name="December",
        kind="rehearsal",
        against="http://127.0.0.1:1",
        item_limit=10,
        start_at=start_at,
        send_until=start_at + timedelta(hours=8),
        end_at=start_at + timedelta(days=7),
        flow_run_id="f",
    )
    run = create_run(database, new)
    assert {name: getattr(run, name) for name in vars(new)} == vars(new)
    assert run.start_at is not None
    assert run.start_at.utcoffset() == timedelta(0)
    assert (run.status, run.control, run.reason) == ("scheduled", "run", None)
    assert set(run.counts.values()) == {0}
    assert get_run(database, run.id) == run


def test_same_run_key_gives_the_same_run(database: Database):
    """A scheduled time starts one run, however often it is delivered, whatever became of it."""
    new = replace(NEW_RUN, run_key="2026-12-01T09:00")
    first = create_run(database, new)
    assert create_run(database, new) == first
    set_status(database, first.id, "completed")
    assert create_run(database, new, alongside=True).id == first.id


def test_same_run_key_of_another_job_is_another_run(database: Database):
    """A key stands for a time of its own job."""
    ids = {
        create_run(database, replace(NEW_RUN, job_name=name, run_key="2026-12-01")).id for name in ("a", "b")
    }
    assert len(ids) == 2


@pytest.mark.parametrize("status", UNFINISHED)
def test_unfinished_run_is_refused_with_both_ways_on(database: Database, status: str):
    """Whoever starts a job twice by mistake is told of the run, of `resume` and of `--new`."""
    unfinished = create_run(database, NEW_RUN)
    set_status(database, unfinished.id, status)
    with pytest.raises(RunConflictError) as told:
        create_run(database, NEW_RUN)
    assert f"run {unfinished.uid} of the job 'renewals' is {status}" in str(told.value)
    assert f"`clarion resume {unfinished.uid}`" in str(told.value)
    assert "--new" in str(told.value)
    with pytest.raises(RunConflictError):
        refuse_unfinished(database, "renewals")
    assert len(list_runs(database, limit=9)) == 1


@pytest.mark.parametrize("status", ENDED_STATUSES)
def test_ended_run_is_in_nobodys_way(database: Database, status: str):
    """The next run of a job starts once the last has ended."""
    ended = create_run(database, NEW_RUN)
    set_status(database, ended.id, status)
    refuse_unfinished(database, "renewals")
    assert create_run(database, NEW_RUN).id != ended.id


def test_run_starts_beside_an_unfinished_one_where_a_person_says_so(database: Database):
    """`--new` starts another run of the job; another job is never in the way."""
    first = create_run(database, NEW_RUN)
    assert create_run(database, NEW_RUN, alongside=True).id != first.id
    assert create_run(database, replace(NEW_RUN, job_name="other")).job_name == "other"


@pytest.mark.parametrize("run_key", ["2026-12-01T09:00", None])
def test_run_is_created_once_by_many_at_once(database_url: str, run_key: str | None):
    """Of many at once one creates the run: with its key all get it, without it the others are refused."""
    databases = [Database(database_url) for _ in range(6)]
    start = threading.Barrier(len(databases))

    def create(database: Database) -> int | None:
        start.wait()
        try:
            return create_run(database, replace(NEW_RUN, run_key=run_key)).id
        except RunConflictError:
            return None

    with ThreadPoolExecutor(len(databases)) as threads:
        created = list(threads.map(create, databases))
    (run,) = list_runs(databases[0], limit=9)
    assert sorted(created, key=str) == ([run.id] * 6 if run_key else [run.id, *[None] * 5])
    for database in databases:
        database.close()


def test_run_is_found_by_its_id_its_beginning_or_last(database: Database):
    """What a person types finds one run."""
    runs = [new_run(database) for _ in range(3)]
    for run in runs:
        assert find_run(database, run.uid).id == run.id
        assert find_run(database, run.uid[:12]).id == run.id
    assert find_run(database, "last").id == runs[-1].id


def test_run_is_looked_for_among_one_jobs_runs(database: Database):
    """`last` of a job is its own, though another job's is younger."""
    mine, other = new_run(database, job_name="mine"), new_run(database, job_name="other")
    assert find_run(database, "last", job_name="mine").id == mine.id
    with pytest.raises(InputError, match="there is no run"):
        find_run(database, other.uid, job_name="mine")


def test_ambiguous_beginning_names_the_runs(database: Database):
    """Several runs begin so: all of them are named, none is taken."""
    runs = [new_run(database) for _ in range(2)]
    with pytest.raises(InputError, match="the beginning of several runs") as told:
        find_run(database, "")
    assert all(run.uid in str(told.value) for run in runs)


@pytest.mark.parametrize("reference", ["last", "ffffffffffffffffff", "%", "_", "' OR 1=1 --"])
def test_unknown_run_is_told_where_to_look(database: Database, reference: str):
    """Nothing is found by what is no beginning of an id, a wildcard included."""
    if reference != "last":
        new_run(database)
    with pytest.raises(InputError, match="there is no run") as told:
        find_run(database, reference)
    assert "clarion runs" in str(told.value)


def test_runs_are_listed_newest_first(database: Database):
    """By job and by kind where asked, and never more than the limit."""
    kinds = ("run", "rehearsal", "run", "test")
    runs = [new_run(database, kind=kind, job_name=f"job{number % 2}") for number, kind in enumerate(kinds)]
    ids = [run.id for run in runs]
    assert [run.id for run in list_runs(database, limit=9)] == ids[::-1]
    assert [run.id for run in list_runs(database, limit=2)] == ids[:1:-1]
    assert [run.id for run in list_runs(database, limit=9, kind="run")] == [ids[2], ids[0]]
    assert [run.id for run in list_runs(database, limit=9, job_name="job1")] == [ids[3], ids[1]]


def test_status_moves_only_from_where_it_may(database: Database):
    """A run that has ended meanwhile stays ended."""
    run = new_run(database)
    assert set_status(database, run.id, "planning")
    assert set_status(database, run.id, "interrupted", reason="SIGTERM", only_from=("planning", "running"))
    assert get_run(database, run.id).reason == "SIGTERM"
    assert not set_status(database, run.id, "running", only_from=("paused",))
    assert get_run(database, run.id).status == "interrupted"


def test_status_stamps_the_times_of_a_run(database: Database):
    """Planning again keeps the first start; what goes on has not ended."""
    run = new_run(database)
    set_status(database, run.id, "planning")
    started_at = get_run(database, run.id).started_at
    assert started_at is not None
    set_status(database, run.id, "failed", reason="no list")
    failed = get_run(database, run.id)
    assert failed.ended_at is not None
    assert failed.ended_at >= started_at
    set_status(database, run.id, "planning")
    again = get_run(database, run.id)
    assert (again.started_at, again.ended_at, again.reason) == (started_at, None, None)


def test_run_tells_templates_its_id_and_start(database: Database):
    """`run` in a template: the id, the name, and the time that was asked for or else of its creation."""
    start_at = datetime(2026, 12, 1, 9, tzinfo=UTC)
    assert new_run(database, name="n", start_at=start_at).scope()["start_at"] == "2026-12-01T09:00:00+00:00"
    run = new_run(database)
    assert run.scope() == {"id": run.uid, "name": None, "start_at": run.created_at.isoformat()}
