"""Runs of deployments that have to wait for long: they leave their worker, and come back by themselves."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from clarion.ledger.control import request_control
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord, list_runs
from clarion.sandbox import Sandbox
from flows.control import pause_run, stop_run
from flows.reconcile import reconcile
from tests.acceptance.campaigns import action, write_job
from tests.acceptance.deployed import deploy, resume_in_ui, set_state, wait_for_state
from tests.acceptance.installations import Installation

HELD_SECONDS = 30
"""Long enough for a process to start, find everything held, and leave."""

PERSON = {"id": 1, "phone": "+12025550001", "plan": "basic", "First Name": "Ann"}

LEAVES_SOON = "import flows.wait_for_due as product\n\nproduct.LONG_SECONDS = 1.0\n"


@pytest.fixture
def here(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this process calls works on the installation."""
    monkeypatch.setenv("CLARION_DATABASE_URL", installation.settings["CLARION_DATABASE_URL"])
    with temporary_settings({PREFECT_API_URL: installation.settings["PREFECT_API_URL"]}):
        yield


def job_with_times(folder: Path, *times: str) -> Path:
    """A job that texts somebody at each of the times."""
    people = [
        PERSON | {"id": number, "phone": f"+1202555{number:04d}", "at": at} for number, at in enumerate(times)
    ]
    include = [{"items": people, "key": "id"}]
    return write_job(
        folder,
        name="waiting",
        recipients={"include": include},
        send_at="{{ item.at }}",
        fallback_timezone="UTC",
    )


def start_impatient(
    installation: Installation, deployment: dict[str, Any], folder: Path, **given: Any
) -> str:
    """Starts a run whose process finds a wait of more than a second long; its id."""
    (folder / "sitecustomize.py").write_text(LEAVES_SOON, encoding="utf-8")
    body = {
        "parameters": deployment["parameters"] | given,
        "job_variables": {"env": {"PYTHONPATH": str(folder)}},
    }
    return installation.ask("POST", f"deployments/{deployment['id']}/create_flow_run", json=body)["id"]


def run_of(ledger: Database, flow_run: str) -> RunRecord:
    """The one run that a flow run works on."""
    (found,) = [run for run in list_runs(ledger, limit=99) if run.flow_run_id == flow_run]
    return found


def wait_for_leaving(installation: Installation, ledger: Database, flow_run: str) -> RunRecord:
    """The run of a flow run that has left its worker to come back when it is due."""
    wait_for_state(installation, flow_run, "Resuming", message="Waits until 2")
    return run_of(ledger, flow_run)


def in_state(installation: Installation, flow_run: str) -> tuple[str, str]:
    """Name and message of a flow run's state."""
    state = installation.get(f"flow_runs/{flow_run}")["state"]
    return state["name"], state["message"]


@pytest.mark.usefixtures("here")
def test_waiting_runs_leave_their_worker_and_are_paused_stopped_cancelled_or_come_back(
    installation: Installation, served: Database, tmp_path: Path
):
    """Each starts though the job's place is for one: those before have left it. Nobody gets anything early.

    The first, with items that are held, comes back by itself and is completed. The others wait for their
    start: they take every order, and after a pause they wait again.
    """
    due_at = datetime.now(UTC) + timedelta(seconds=HELD_SECONDS)
    with Sandbox() as sandbox:
        deployment = deploy(
            installation, job_with_times(tmp_path, "", due_at.isoformat(), due_at.isoformat())
        )
        held = start_impatient(installation, deployment, tmp_path, against=sandbox.url)
        run = wait_for_leaving(installation, served, held)
        assert (run.status, run.control, run.succeeded, run.pending) == ("scheduled", "run", 1, 2)
        assert run.reason == f"waits until {due_at:%Y-%m-%d %H:%M} UTC"

        far = {"against": sandbox.url, "start_at": "2090-01-01T00:00:00Z", "new": True}
        paused, cancelled = (installation.start(deployment, **far) for _ in range(2))
        for flow_run in (paused, cancelled):
            left = wait_for_leaving(installation, served, flow_run)
            assert (left.status, left.planned_at) == ("scheduled", None)
        reconcile()
        assert run_of(served, cancelled).status == "scheduled"

        set_state(installation, cancelled, type="CANCELLING", name="Cancelling")
        assert in_state(installation, cancelled)[0] == "Cancelled"
        reconcile()
        assert run_of(served, cancelled).status == "stopped"

        assert_pause_outlasts_the_time(installation, served, paused)
        resume_in_ui(installation, paused)
        again = wait_for_leaving(installation, served, paused)
        assert (again.status, again.control) == ("scheduled", "run")
        assert pause_run(again.uid)["status"] == "paused"
        assert in_state(installation, paused)[0] == "Suspended"
        assert stop_run(again.uid)["status"] == "stopped"
        assert in_state(installation, paused) == ("Cancelled", "Stopped.")

        assert installation.ended(held)["state_name"] == "Completed"
        run = run_of(served, held)
        assert (run.status, run.succeeded, run.reason) == ("completed", 3, None)
        first, *others = sorted(datetime.fromisoformat(request["at"]) for request in sandbox.requests())
        assert len(others) == 2
        assert first < due_at <= min(others)


def assert_pause_outlasts_the_time(installation: Installation, ledger: Database, flow_run: str) -> None:
    """A pause that Prefect was not told of: the flow run comes up when it is due, and finds it."""
    request_control(ledger, run_of(ledger, flow_run).id, "pause")
    now = datetime.now(UTC)
    details = {"scheduled_time": now.isoformat()}
    due = {"type": "SCHEDULED", "name": "Resuming", "message": "Waits until now.", "state_details": details}
    assert set_state(installation, flow_run, **due) == "ACCEPT"
    wait_for_state(installation, flow_run, "Suspended", message="Paused.")
    run = run_of(ledger, flow_run)
    assert (run.status, run.control) == ("paused", "pause")


@pytest.mark.usefixtures("here")
def test_missed_runs_are_made_up_for_as_the_schedule_says(
    installation: Installation, served: Database, tmp_path: Path
):
    """Of those that nothing was up for, by default none is run, by `latest` the last, by `all` each."""
    started = {}
    with Sandbox() as sandbox:
        for name, catch_up in (
            ("skip", {}),
            ("latest", {"catch_up": "latest"}),
            ("all", {"catch_up": "all"}),
        ):
            job = job_at(sandbox.url, tmp_path, name=name, schedule=hour_ago() | catch_up)
            started[name] = missed_runs(installation, job, days=1 if name == "skip" else 2)
        states = {
            catch_up: [installation.ended(flow_run)["state_name"] for flow_run in flow_runs]
            for catch_up, flow_runs in started.items()
        }
        received = sandbox.stats()["requests"]
    assert states == {
        "skip": ["Skipped"],
        "latest": ["Skipped", "Completed"],
        "all": ["Completed", "Completed"],
    }
    assert received == 3
    made = {catch_up: list_runs(served, limit=9, job_name=catch_up) for catch_up in started}
    assert {catch_up: len(runs) for catch_up, runs in made.items()} == {"skip": 0, "latest": 1, "all": 2}
    assert "The schedule's catch_up is skip." in in_state(installation, started["skip"][0])[1]


def hour_ago() -> dict[str, Any]:
    """A daily schedule that is not due while a test runs."""
    due = datetime.now(UTC) - timedelta(hours=1)
    return {"cron": f"{due.minute} {due.hour} * * *"}


def job_at(url: str, folder: Path, **changes: Any) -> Path:
    """A job that texts one person, at the provider itself: what a schedule starts is no rehearsal."""
    send = action()
    send["command"]["url"] = f"{url}/v1/messages"
    include = [{"items": [PERSON], "key": "id"}]
    return write_job(folder, recipients={"include": include}, actions={"send-sms": send}, **changes)


def missed_runs(installation: Installation, job: Path, *, days: int) -> list[str]:
    """Deploys a job, and has the server plan what its daily schedule had in the last days; the runs' ids."""
    deployment = deploy(installation, job)
    now = datetime.now(UTC)
    past = {"start_time": (now - timedelta(days=days)).isoformat(), "end_time": now.isoformat()}
    installation.ask("POST", f"deployments/{deployment['id']}/schedule", json=past | {"min_runs": days})
    planned = sorted(installation.upcoming(deployment), key=lambda run: run["expected_start_time"])
    return [run["id"] for run in planned if datetime.fromisoformat(run["expected_start_time"]) < now]
