"""A signal at the beginning: a process that is told to leave before it sends keeps no lease."""

import signal
import threading
from collections.abc import Iterator

import pytest

from clarion.errors import RunConflictError
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import RunRecord
from flows import watch_run
from flows.watch_run import Watch
from tasks import plan as planning
from tasks.sessions import ledger
from tests.integration.ledger_runs import counts, leases, new_run, planned


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunRecord]:
    """A scheduled run in the ledger that the settings name."""
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    yield new_run(ledger())
    ledger().close()


def interrupt() -> None:
    """Ctrl-C, as the main thread gets it."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_planner_that_has_left_writes_nothing_more(database: Database):
    """Whether it was about to begin or in the middle, it takes no lease, stores nothing, opens nothing."""
    runs = [new_run(database).id, new_run(database).id]
    early, late = (PlanWriter(database, run_id) for run_id in runs)
    early.leave()
    with pytest.raises(RunConflictError, match="the plan was given up"):
        early.begin()
    late.begin()
    late.write([planned(1)])
    late.leave()
    with pytest.raises(RunConflictError, match="the plan was given up"):
        late.write([planned(2)])
    with pytest.raises(RunConflictError, match="the plan was given up"):
        late.finish(limit=None, bad_rows=0)
    assert not any(leases(database, run_id) for run_id in runs)


def test_plan_is_left_at_once_while_it_reads(run: RunRecord, monkeypatch: pytest.MonkeyPatch):
    """A signal does not wait for a list to be read, nor is it lost in there; the planner writes no more."""
    left = threading.Event()
    leave = PlanWriter.leave
    refused: list[str] = []

    def leave_and_tell(writer: PlanWriter) -> None:
        leave(writer)
        left.set()

    def read_for_long(_: RunRecord, writer: PlanWriter) -> None:
        writer.begin()
        writer.write([planned(1)])
        interrupt()
        left.wait()
        try:
            writer.write([planned(2)])
        except RunConflictError as exc:
            refused.append(exc.message)
            raise

    monkeypatch.setattr(PlanWriter, "leave", leave_and_tell)
    monkeypatch.setattr(planning, "write_plan", read_for_long)
    with pytest.raises(KeyboardInterrupt):
        planning.plan.fn(run.uid)
    assert refused == ["the plan was given up"]
    assert not leases(ledger(), run.id)
    assert counts(ledger(), run.id) == {"total": 1, "pending": 1}


def test_watch_that_is_interrupted_at_its_beginning_keeps_no_lease(
    run: RunRecord, monkeypatch: pytest.MonkeyPatch
):
    """The signal comes when the lease is taken, and nobody has been told of it yet."""
    register = watch_run.register_worker
    interrupted = threading.Event()

    def register_and_interrupt(database: Database, run_id: int) -> str:
        token = register(database, run_id)
        interrupt()
        interrupted.wait(0.2)
        return token

    monkeypatch.setattr(watch_run, "register_worker", register_and_interrupt)
    with pytest.raises(KeyboardInterrupt), Watch(run):
        pytest.fail("it went on")
    assert not leases(ledger(), run.id)
