"""Pausing, resuming, stopping and killing runs, seen from the provider that gets their calls."""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from clarion.ledger.control import request_control
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord, list_runs
from clarion.ledger.tables import WORKER
from clarion.sandbox import Behaviour, Sandbox
from flows.control import pause_run, resume_run, stop_run
from flows.reconcile import reconcile
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command, Start
from tests.acceptance.deployed import deploy, pid_of, resume_in_ui, set_state, wait_for_state
from tests.acceptance.installations import Installation, wait_for

EFFECT_SECONDS = 2.0
LEAVE_SECONDS = 10.0
PEOPLE = 600


def wait_for_requests(sandbox: Sandbox, count: int) -> None:
    """Waits until the provider has got so many."""
    wait_for(lambda: sandbox.stats()["requests"] >= count or None, what=f"{count} requests")


def wait_for_status(ledger: Database, status: str, job: str = "hello") -> RunRecord:
    """The job's newest run once it has a status."""

    def look() -> RunRecord | None:
        return next((run for run in list_runs(ledger, limit=1, job_name=job) if run.status == status), None)

    return wait_for(look, what=f"a run that is {status}")


@contextmanager
def nothing_later_than(sandbox: Sandbox, seconds: float) -> Generator[None]:
    """Holds that no request came later than so long after the beginning of the body."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    yield
    assert [request for request in sandbox.requests() if datetime.fromisoformat(request["at"]) > until] == []


def job_of(home: Path, **changes: Any) -> Path:
    """A job whose calls are spread over some seconds."""
    write_people(home, PEOPLE)
    return write_job(home, actions={"send-sms": action(**{"tps": 150} | changes)})


BACK_OFF = {"num_retries": 3, "backoff_policy": {"base_interval_seconds": 60, "max_interval_seconds": 60}}
NEAR_BACK_OFF = {"num_retries": 3, "backoff_policy": {"base_interval_seconds": 5, "max_interval_seconds": 5}}


@pytest.mark.alone
def test_run_pauses_in_place_within_two_seconds_and_goes_on(
    clarion: Command, start: Start, home: Path, ledger: Database
):
    """Its process stays and holds no claims; `resume` has it go on and follows; each gets one message."""
    with Sandbox(Behaviour(latency_ms=200, error=0.1, seed=1)) as sandbox:
        process = start("run", job_of(home), "--against", sandbox.url)
        wait_for_requests(sandbox, 50)
        with nothing_later_than(sandbox, EFFECT_SECONDS):
            told = clarion("pause", "last", "--json")
            assert (told.code, told.json["status"], told.json["counts"]["sending"]) == (0, "paused", 0)
            before = sandbox.stats()["requests"]
            assert "`clarion resume" in clarion("pause", "last").out
        assert process.is_alive()
        assert before < PEOPLE
        resumed = clarion("resume", "last", "--json")
        process.join()
        stats = sandbox.stats()
    assert (resumed.code, resumed.json["status"], process.exitcode) == (0, "completed", 0)
    assert resumed.json["counts"]["succeeded"] == PEOPLE == len(stats["recipients"])
    assert stats["duplicates"] == {}
    assert len(list_runs(ledger, limit=9)) == 1


@pytest.mark.alone
@pytest.mark.parametrize("retry_policy", [NEAR_BACK_OFF, BACK_OFF], ids=["prefect", "flow"])
def test_run_in_a_back_off_pauses_and_stops_at_once(
    clarion: Command, start: Start, home: Path, ledger: Database, retry_policy: dict
):
    """Whoever waits, Prefect's retry or the flow. Stopping is final: tried items failed, others skipped."""
    with Sandbox(Behaviour(error=1.0)) as sandbox:
        process = start("run", job_of(home, retry_policy=retry_policy), "--against", sandbox.url)
        wait_for_requests(sandbox, 100)
        with nothing_later_than(sandbox, EFFECT_SECONDS):
            assert pause_run("last")["status"] == "paused"
            told = stop_run("last")
            assert told["status"] == "stopped"
            process.join()
        calls = sandbox.stats()["requests"]
    assert process.exitcode == 1
    assert told["counts"] | {"total": PEOPLE, "pending": 0, "sending": 0, "unknown": 0} == told["counts"]
    assert (told["counts"]["failed"], told["counts"]["skipped"]) == (calls, PEOPLE - calls)
    report = clarion("report", "last", "--json").json
    assert report["failed_by_reason"] == {"stopped": calls}
    assert report["skipped_by_reason"] == {"stopped": PEOPLE - calls}
    for command in ("pause", "resume", "stop"):
        refused = clarion(command, "last")
        assert refused.code == 2
        assert "stopped" in refused.err


@pytest.mark.parametrize(
    ("behaviour", "changes"),
    [
        (Behaviour(latency_ms=300, seed=1), {}),
        (Behaviour(latency_ms=300, error=0.5, seed=1), {"retry_policy": NEAR_BACK_OFF}),
        (Behaviour(latency_ms=300, error=1.0, seed=1), {"retry_policy": BACK_OFF}),
    ],
    ids=["sending", "prefect-retries", "back-off"],
)
def test_sigterm_leaves_in_time_with_nothing_unknown(
    start: Start, home: Path, ledger: Database, behaviour: Behaviour, changes: dict
):
    """The run is interrupted and no lease is left; what the provider accepted, the ledger knows."""
    with Sandbox(behaviour) as sandbox:
        process = start("run", job_of(home, **changes), "--against", sandbox.url)
        wait_for_requests(sandbox, 100)
        process.terminate()
        process.join(LEAVE_SECONDS)
        assert process.exitcode == 1
        (run,) = list_runs(ledger, limit=9)
        stats = sandbox.stats()
    assert (run.status, run.sending, run.unknown) == ("interrupted", 0, 0)
    assert run.pending + run.succeeded == PEOPLE
    assert (run.succeeded, stats["duplicates"]) == (len(stats["recipients"]), {})
    assert stats["requests"] < PEOPLE


def test_interrupted_run_is_finished_by_resume(clarion: Command, start: Start, home: Path, ledger: Database):
    """SIGTERM, then `resume` from Python: no one is left out, and no one gets it twice."""
    with Sandbox(Behaviour(latency_ms=300, seed=1)) as sandbox:
        process = start("run", job_of(home, tps=300), "--against", sandbox.url)
        wait_for_requests(sandbox, 100)
        process.terminate()
        process.join()
        report = resume_run("last")
        stats = sandbox.stats()
    assert (report["status"], report["counts"]["succeeded"]) == ("completed", PEOPLE)
    assert (len(stats["recipients"]), stats["duplicates"], stats["repeated_keys"]) == (PEOPLE, {}, 0)


def test_run_that_lost_its_lease_is_reported_with_what_goes_on(
    clarion: Command, home: Path, ledger: Database, monkeypatch: pytest.MonkeyPatch
):
    """The command says why it is interrupted, and prints the report; a mistake in resuming is one line."""
    with Sandbox(Behaviour(latency_ms=50)) as sandbox:

        def end_leases() -> None:
            wait_for_requests(sandbox, 50)
            with ledger.write() as connection:
                connection.execute(WORKER.delete())

        ending = threading.Thread(target=end_leases)
        ending.start()
        ended = clarion("run", job_of(home), "--against", sandbox.url, "--json")
        ending.join()
        assert (ended.code, ended.json["status"]) == (1, "interrupted")
        assert f"`clarion resume {ended.json['run_id']}` goes on" in ended.err
        monkeypatch.setenv("CLARION_RUNNER", "proces")
        refused = clarion("resume", "last", "--json")
        assert (refused.code, refused.out) == (2, "")


def test_killed_run_takes_orders_and_its_unknowns_are_resolved(
    clarion: Command, start: Start, home: Path, ledger: Database
):
    """Nobody works on it: `reconcile` says so, it pauses at once, its unknowns are sent with their keys."""
    with Sandbox(Behaviour(latency_ms=1_000, seed=1)) as sandbox:
        process = start("run", job_of(home, tps=300), "--against", sandbox.url)
        wait_for_requests(sandbox, 100)
        process.kill()
        process.join()
        (run,) = list_runs(ledger, limit=9)
        assert (run.status, run.sending > 0) == ("running", True)
        assert reconcile() == {run.uid: "interrupted"}
        assert clarion("pause", "last", "--json").json["status"] == "paused"
        (paused,) = list_runs(ledger, limit=9)
        assert (paused.status, paused.sending, paused.unknown) == ("paused", 0, run.sending)
        resolved = clarion("resolve", "last", "--unknown", "resend", "--json")
        assert (resolved.code, resolved.json["status"]) == (1, "paused")
        assert resolved.json["counts"]["unknown"] == 0
        resumed = clarion("resume", "last", "--json")
        stats = sandbox.stats()
    assert (resumed.code, resumed.json["counts"]["succeeded"]) == (0, PEOPLE)
    assert len(stats["recipients"]) == PEOPLE
    assert stats["repeated_keys"] == len(stats["duplicates"]) <= run.sending


def test_unknown_items_are_called_what_a_person_knows(clarion: Command, home: Path):
    """An unresolved run is completed, with exit code 0; a wrong word is refused with the right ones."""
    write_people(home, 40)
    with Sandbox(Behaviour(drop=0.5, seed=5)) as sandbox:
        report = clarion("run", write_job(home), "--against", sandbox.url, "--json").json
    assert report["status"] == "unresolved"
    assert "resend" in clarion("resolve", "last", "--unknown", "forget").err
    resolved = clarion("resolve", "last", "--unknown", "succeeded", "--json")
    assert (resolved.code, resolved.json["status"]) == (0, "completed")
    assert resolved.json["counts"]["succeeded"] == 40
    assert clarion("runs", "--json").json[0]["status"] == "completed"


def test_run_whose_time_has_not_come_is_paused_and_stopped(clarion: Command, start: Start, home: Path):
    """Its process waits for the start: it hears both; nothing was sent, all is skipped once planned."""
    with Sandbox() as sandbox:
        process = start("run", job_of(home), "--against", sandbox.url, "--start-at", "2090-01-01T00:00Z")
        wait_for(lambda: clarion("runs", "--json").json or None, what="the run")
        assert clarion("pause", "last", "--json").json["status"] == "paused"
        assert clarion("stop", "last", "--json").json["status"] == "stopped"
        process.join()
        assert (process.exitcode, sandbox.stats()["requests"]) == (1, 0)


def pause_in_ui(installation: Installation, flow_run: str) -> None:
    """What the button Pause sends, its time-out of 300 s included."""
    until = (datetime.now(UTC) + timedelta(seconds=300)).isoformat()
    details = {"pause_reschedule": True, "pause_timeout": until}
    assert (
        set_state(installation, flow_run, type="PAUSED", name="Suspended", state_details=details) == "ACCEPT"
    )


@pytest.mark.alone
def test_deployment_run_paused_in_the_ui_frees_its_worker_and_waits_as_long_as_it_takes(
    installation: Installation, served: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The UI's time-out is taken off, the next run is told what stands in its way, `resume` has it go on."""
    write_people(tmp_path, PEOPLE)
    with Sandbox(Behaviour(latency_ms=200, error=0.1, seed=2)) as sandbox:
        job = write_job(tmp_path, name="paused", actions={"send-sms": action(tps=150)})
        deployment = deploy(installation, job)
        flow_run = installation.start(deployment, against=sandbox.url)
        wait_for_requests(sandbox, 50)
        with nothing_later_than(sandbox, EFFECT_SECONDS):
            pause_in_ui(installation, flow_run)
            paused = wait_for_status(served, "paused", "paused")
            wait_for_state(installation, flow_run, "Suspended", message="Paused.")
        assert (paused.control, paused.sending, paused.unknown) == ("pause", 0, 0)
        refused = installation.ended(installation.start(deployment, against=sandbox.url))
        assert refused["state_name"] == "Failed"
        assert f"`clarion resume {paused.uid}`" in refused["state"]["message"]
        monkeypatch.setenv("CLARION_DATABASE_URL", installation.settings["CLARION_DATABASE_URL"])
        with temporary_settings({PREFECT_API_URL: installation.settings["PREFECT_API_URL"]}):
            report = resume_run(paused.uid)
        assert installation.ended(flow_run)["state_name"] == "Completed"
        stats = sandbox.stats()
    (run,) = list_runs(served, limit=9, job_name="paused")
    assert (report["status"], run.succeeded, run.flow_run_id) == ("completed", PEOPLE, flow_run)
    assert (len(stats["recipients"]), stats["duplicates"]) == (PEOPLE, {})


@pytest.mark.alone
def test_deployment_run_is_resumed_retried_and_cancelled_in_the_ui(
    installation: Installation, served: Database, tmp_path: Path
):
    """Resume ends a pause; after SIGTERM Retry takes it up; Cancel is a stop, with nothing unknown."""
    write_people(tmp_path, PEOPLE)
    with Sandbox(Behaviour(latency_ms=200, seed=2)) as sandbox:
        job = write_job(tmp_path, name="cancelled", actions={"send-sms": action(tps=20)})
        flow_run = installation.start(deploy(installation, job), against=sandbox.url)
        wait_for_requests(sandbox, 20)
        run = wait_for_status(served, "running", "cancelled")
        with nothing_later_than(sandbox, EFFECT_SECONDS):
            assert request_control(served, run.id, "pause")
            wait_for_state(installation, flow_run, "Suspended", message="Paused.")
        sent = sandbox.stats()["requests"]

        resume_in_ui(installation, flow_run)
        wait_for_requests(sandbox, sent + 20)
        assert wait_for_status(served, "running", "cancelled").control == "run"
        os.kill(pid_of(installation, flow_run), signal.SIGTERM)
        left = wait_for_status(served, "interrupted", "cancelled")
        assert (left.uid, left.sending, left.unknown) == (run.uid, 0, 0)
        assert installation.ended(flow_run)["state_name"] == "Crashed"
        sent = sandbox.stats()["requests"]

        assert set_state(installation, flow_run, type="SCHEDULED", name="AwaitingRetry") == "ACCEPT"
        wait_for_requests(sandbox, sent + 20)
        with nothing_later_than(sandbox, EFFECT_SECONDS):
            assert set_state(installation, flow_run, type="CANCELLING", name="Cancelling") == "ACCEPT"
            stopped = wait_for_status(served, "stopped", "cancelled")
            assert installation.ended(flow_run)["state_name"] == "Cancelled"
        stats = sandbox.stats()
    assert (stopped.uid, stopped.unknown, stopped.pending, stopped.sending) == (run.uid, 0, 0, 0)
    assert stopped.succeeded == len(stats["recipients"]) < PEOPLE
    assert stats["duplicates"] == {}
