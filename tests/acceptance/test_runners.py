"""Runs whose slices are sent by several processes, seen from the provider that gets their calls."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import get_client

from clarion.ledger.database import Database
from clarion.ledger.runs import list_runs
from clarion.ledger.tables import RUN_ITEM, WORKER
from clarion.sandbox import Behaviour, Sandbox
from flows.control import resume_run
from flows.run_job import run_job
from flows.work_on_run import RunInterruptedError
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command, Start
from tests.acceptance.installations import wait_for
from tests.faults.processes import Processes

PEOPLE = 3_000
MOST_CLAIMS = 256
LEAVE_SECONDS = 10.0


@pytest.fixture
def start(home: Path, processes: Processes) -> Iterator[Start]:
    """Starts a `clarion` command with two sender processes on the test's ledger."""
    started: list[BaseProcess] = []

    def begin(*arguments: object) -> BaseProcess:
        names = ("CLARION_HOME", "CLARION_RUNNER", "CLARION_WORKERS")
        settings = {name: os.environ[name] for name in names}
        process = processes.start(*map(str, arguments), folder=home, settings=settings)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting: the runner `process`, with two of them."""
    monkeypatch.setenv("CLARION_RUNNER", "process")
    monkeypatch.setenv("CLARION_WORKERS", "2")


def job_of(home: Path, **changes: Any) -> Path:
    """A job with a message for everybody."""
    write_people(home, PEOPLE)
    return write_job(home, recipient="{{ item.phone }}", actions={"send-sms": action(**changes)})


def senders(ledger: Database) -> int:
    """How many processes have sent."""
    with ledger.read() as connection:
        return connection.scalars(sa.select(sa.func.count(sa.distinct(RUN_ITEM.c.claim_token)))).one()


def pids(ledger: Database, besides: int | None) -> set[int]:
    """The processes that hold a lease."""
    with ledger.read() as connection:
        return set(connection.scalars(sa.select(WORKER.c.pid))) - {besides}


def both_at_work(ledger: Database, flow: int | None) -> set[int]:
    """The two sender processes, as soon as both have taken up the run."""
    return wait_for(
        lambda: found if len(found := pids(ledger, flow)) == 2 else None, what="two sender processes"
    )


def wait_for_requests(sandbox: Sandbox, count: int) -> None:
    """Waits until the provider has got so many."""
    wait_for(lambda: sandbox.stats()["requests"] >= count or None, what=f"{count} requests")


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_nobody_twice(sandbox: Sandbox) -> None:
    """Holds that no recipient was accepted twice."""
    accepted = Counter(each["recipient"] for each in sandbox.requests() if each["verdict"] == "accepted")
    assert [recipient for recipient, count in accepted.items() if count > 1] == []


def test_process_runner_sends_from_two_processes(
    prefect_server: None, two_processes: None, home: Path, ledger: Database
):
    """Each sends its part, errors are tried again, nobody gets a message twice, and the flow sends none."""
    with Sandbox(Behaviour(error=0.02, latency_ms=5)) as sandbox:
        report = run_job(job_of(home), against=sandbox.url)  # ty: ignore[no-matching-overload]  # it takes paths
        check_nobody_twice(sandbox)
        assert len(sandbox.stats()["recipients"]) == PEOPLE
    assert report["status"] == "completed"
    assert report["counts"]["succeeded"] == PEOPLE
    assert senders(ledger) == 2
    assert pids(ledger, None) == set()


def test_process_runner_goes_on_when_a_process_is_killed(
    two_processes: None, start: Start, home: Path, ledger: Database
):
    """Another takes its place: what it had claimed is unknown, everything else is sent, once."""
    with Sandbox(Behaviour(latency_ms=200)) as sandbox:
        run = start("run", job_of(home), "--against", sandbox.url)
        wait_for_requests(sandbox, 300)
        os.kill(min(both_at_work(ledger, run.pid)), signal.SIGKILL)
        run.join()
        check_nobody_twice(sandbox)
        accepted = {each["recipient"] for each in sandbox.requests()}
    (ended,) = list_runs(ledger, limit=9)
    assert run.exitcode == 3
    assert ended.status == "unresolved"
    assert 0 < ended.unknown <= MOST_CLAIMS
    assert ended.succeeded + ended.unknown == PEOPLE
    assert senders(ledger) == 3
    assert len(accepted) >= ended.succeeded


def test_process_runner_leaves_nothing_unknown_on_sigterm(
    two_processes: None, start: Start, home: Path, ledger: Database
):
    """Its processes give back what is unsent, wait for answers on their way, and are gone in 10 s with it."""
    with Sandbox(Behaviour(latency_ms=500)) as sandbox:
        run = start("run", job_of(home), "--against", sandbox.url)
        wait_for_requests(sandbox, 200)
        its = both_at_work(ledger, run.pid)
        run.terminate()
        run.join(LEAVE_SECONDS)
        assert run.exitcode is not None
    assert not any(map(lives, its))
    (left,) = list_runs(ledger, limit=9)
    assert (left.status, left.unknown, left.sending) == ("interrupted", 0, 0)
    assert left.pending + left.succeeded == PEOPLE


def test_process_runner_leaves_no_process_behind_a_killed_flow(
    prefect_server: None, two_processes: None, start: Start, home: Path, ledger: Database
):
    """They notice, leave as on SIGTERM, and the run is taken up from where it stands: nobody is missed."""
    with Sandbox(Behaviour(latency_ms=200)) as sandbox:
        run = start("run", job_of(home), "--against", sandbox.url)
        wait_for_requests(sandbox, 300)
        its = both_at_work(ledger, run.pid)
        run.kill()
        run.join()
        wait_for(lambda: not any(map(lives, its)) or None, what="the end of the sender processes")
        report = resume_run("last")
        check_nobody_twice(sandbox)
        assert len(sandbox.stats()["recipients"]) == PEOPLE
    assert report["status"] == "completed"


def test_process_runner_pauses_and_goes_on(
    clarion: Command, two_processes: None, start: Start, home: Path, ledger: Database
):
    """A pause makes nothing unknown, its processes are gone, and new ones go on."""
    with Sandbox(Behaviour(latency_ms=50)) as sandbox:
        run = start("run", job_of(home, tps=500), "--against", sandbox.url)
        wait_for_requests(sandbox, 200)
        its = both_at_work(ledger, run.pid)
        assert clarion("pause", "last", "--json").json["status"] == "paused"
        seen = sandbox.stats()["requests"]
        assert not any(map(lives, its))
        assert clarion("resume", "last").code == 0
        run.join()
        check_nobody_twice(sandbox)
        assert seen < PEOPLE == len(sandbox.stats()["recipients"])
    assert list_runs(ledger, limit=9)[0].unknown == 0


def test_runner_that_is_none_is_refused_before_there_is_a_run(
    clarion: Command, monkeypatch: pytest.MonkeyPatch, home: Path, ledger: Database
):
    """Exit code 2, one line that names the nearest runner, nothing in the ledger."""
    monkeypatch.setenv("CLARION_RUNNER", "proces")
    ended = clarion("run", job_of(home))
    assert ended.code == 2
    assert "CLARION_RUNNER: 'proces' is no runner" in ended.err
    assert "did you mean 'process'?" in ended.err
    assert list_runs(ledger, limit=9) == []


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_run_that_lost_its_lease_fails_its_flow_run(
    prefect_server: None,
    two_processes: None,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    ledger: Database,
    runner: str,
):
    """Prefect does not call it completed; the message names the run and what goes on with it; resume does."""
    monkeypatch.setenv("CLARION_RUNNER", runner)
    with Sandbox(Behaviour(latency_ms=50)) as sandbox:

        def end_leases() -> None:
            wait_for_requests(sandbox, 100)
            with ledger.write() as connection:
                connection.execute(WORKER.delete())

        ending = threading.Thread(target=end_leases)
        ending.start()
        with pytest.raises(
            RunInterruptedError, match=r"is interrupted: the lease .* `clarion resume \w+` goes on"
        ):
            run_job(job_of(home), against=sandbox.url)  # ty: ignore[no-matching-overload]  # it takes paths
        ending.join()
        (run,) = list_runs(ledger, limit=9)
        assert run.status == "interrupted"
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(str(run.flow_run_id))).state
        assert state is not None
        assert state.is_failed()
        report = resume_run("last")
        check_nobody_twice(sandbox)
        assert len(sandbox.stats()["recipients"]) == PEOPLE
    assert report["counts"]["pending"] == 0
