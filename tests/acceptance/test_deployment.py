"""Jobs deployed to a real Prefect server, served by a real worker: what the README promises of both."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.runs import list_runs
from clarion.sandbox import Behaviour, Sandbox
from tests.acceptance.campaigns import action, write_job, write_people

CLARION = [sys.executable, "-c", "from cli.main import main; main()"]
PREFECT = [sys.executable, "-m", "prefect"]
PATIENCE_SECONDS = 60.0
SECRET = "tok-5f1d9c3b7a"

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], *, what: str) -> T:
    """What `look` gives once it gives something."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (found := look()) is None:
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.1)
    return found


@contextmanager
def process(command: list[str], *, settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, ended with all its children."""
    with log.open("wb") as file:
        started = subprocess.Popen(
            command, env=settings, cwd=log.parent, stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield started
        finally:
            started.send_signal(signal.SIGINT)
            try:
                started.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


@dataclass(frozen=True)
class Installation:
    """A Prefect server with its API, a worker, and a home for whatever they keep."""

    folder: Path
    settings: dict[str, str]
    api: httpx.Client = field(repr=False)

    def clarion(self, *arguments: object, **more: str) -> str:
        """Runs a `clarion` command that succeeds; its output."""
        ran = subprocess.run(
            [*CLARION, *map(str, arguments)],
            env=self.settings | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def ask(self, method: str, path: str, **given: Any) -> Any:
        """What the API answers; while its database is locked it says 503, and is asked again."""

        def look() -> httpx.Response | None:
            answer = self.api.request(method, path, **given)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        return wait_for(look, what=path).raise_for_status().json()

    def get(self, path: str, **query: str) -> Any:
        """What the API has there."""
        return self.ask("GET", path, params=query)

    def find(self, what: str, **criteria: Any) -> list[dict[str, Any]]:
        """All of a kind that meet the criteria."""
        return self.ask("POST", f"{what}/filter", json=criteria)

    def deploy(self, job: Path, *options: str) -> dict[str, Any]:
        """Deploys a job; its deployment as the API has it."""
        made = json.loads(self.clarion("deploy", job, *options, "--json"))
        return self.get(f"deployments/{made['id']}")

    def upcoming(self, deployment: dict[str, Any]) -> list[dict[str, Any]]:
        """The runs that the server plans by the schedule of a deployment."""
        criteria = {"id": {"any_": [deployment["id"]]}}
        return [run for run in self.find("flow_runs", deployments=criteria) if run["auto_scheduled"]]

    def start(self, deployment: dict[str, Any], **parameters: Any) -> str:
        """Starts a run as the form in the UI does; its id."""
        given = {"parameters": deployment["parameters"] | parameters, "enforce_parameter_schema": True}
        return self.ask("POST", f"deployments/{deployment['id']}/create_flow_run", json=given)["id"]

    def ended(self, flow_run: str) -> dict[str, Any]:
        """A flow run once it has ended."""

        def look() -> dict[str, Any] | None:
            found = self.get(f"flow_runs/{flow_run}")
            return found if found["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

        return wait_for(look, what="the end of the run")

    def of_run(self, what: str, flow_run: str) -> list[dict[str, Any]]:
        """The task runs, artifacts or logs of a flow run."""
        if what == "logs":
            return self.find("logs", logs={"flow_run_id": {"any_": [flow_run]}})
        return self.find(what, flow_runs={"id": {"any_": [flow_run]}})


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server that answers and a worker on its way, with an empty home; they start slowly, so once."""
    folder = tmp_path_factory.mktemp("deployment")
    port = free_port()
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "HOME": str(folder),
        "CLARION_HOME": str(folder),
        "CLARION_DATABASE_URL": f"sqlite:///{folder / 'clarion.db'}",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    with ExitStack() as stack:
        command = [*PREFECT, "server", "start", "--port", str(port)]
        server = stack.enter_context(process(command, settings=settings, log=folder / "server.log"))
        api = httpx.Client(base_url=settings["PREFECT_API_URL"], timeout=30, trust_env=False)
        stack.enter_context(api)

        def healthy() -> bool | None:
            assert server.poll() is None, (folder / "server.log").read_text()
            try:
                return api.get("health").is_success or None
            except httpx.TransportError:
                return None

        wait_for(healthy, what="the server")
        stack.enter_context(
            process([*CLARION, "worker"], settings=settings, log=folder / "worker.log"),
        )
        yield Installation(folder=folder, settings=settings, api=api)


@pytest.fixture
def ledger(installation: Installation) -> Iterator[Database]:
    """The ledger that the worker writes."""
    database = Database(installation.settings["CLARION_DATABASE_URL"])
    yield database
    database.close()


def test_deploying_again_updates_the_deployment_and_its_schedule(installation: Installation, tmp_path: Path):
    """The file is the truth: tags, schedule and its pause come and go with it; one run works at a time."""
    write_people(tmp_path, 3)
    yearly = {"cron": "0 9 1 1 *", "timezone": "Europe/London"}
    job = write_job(tmp_path, name="yearly", tags=["sms"], description="Once a year.", schedule=yearly)
    first = installation.deploy(job)
    assert (first["name"], first["description"], first["tags"]) == ("yearly", "Once a year.", ["sms"])
    assert first["global_concurrency_limit"]["limit"] == 1
    assert first["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert list(first["parameters"]) == ["job"]
    assert list(first["parameters"]["job"]) == ["$ref"]
    (scheduled,) = first["schedules"]
    assert scheduled["active"]
    assert scheduled["schedule"] == {**yearly, "day_or": True}
    wait_for(lambda: installation.upcoming(first) or None, what="runs planned by the schedule")

    added = {"active": True, "schedule": {"interval": 3_600}, "slug": "added-by-hand"}
    installation.ask("POST", f"deployments/{first['id']}/schedules", json=[added])
    write_job(tmp_path, name="yearly", tags=["sms", "new"], schedule=yearly)
    second = installation.deploy(job, "--pause-schedule")
    assert (second["id"], second["tags"]) == (first["id"], ["sms", "new"])
    assert [(each["schedule"]["cron"], each["active"]) for each in second["schedules"]] == [
        (yearly["cron"], False)
    ]
    assert not installation.upcoming(second)

    write_job(tmp_path, name="yearly")
    third = installation.deploy(job)
    assert (third["id"], third["tags"], third["schedules"]) == (first["id"], [], [])


def test_worker_runs_a_deployment_and_the_ledger_agrees_with_the_provider(
    installation: Installation, ledger: Database, tmp_path: Path
):
    """Two runs started at once work one after the other; Prefect's own retries bring failed calls through.

    Artifacts stand on the flow run, and the secret is nowhere but in its block and on the wire.
    """
    write_people(tmp_path, 240)
    installation.clarion("credentials", "save", "bearer-token/provider", "--env", "token=TOKEN", TOKEN=SECRET)
    with Sandbox(Behaviour(error=0.2, seed=3)) as sandbox:
        send = action(credentials="bearer-token/provider")
        send["command"]["url"] = f"{sandbox.url}/v1/messages"
        deployment = installation.deploy(write_job(tmp_path, name="Spring news", actions={"send-sms": send}))
        started = [
            installation.start(deployment, name="all of them"),
            installation.start(deployment, name="a second run", against=sandbox.url, limit=1),
        ]
        flow_runs = [installation.ended(flow_run) for flow_run in started]
        stats = sandbox.stats()

    assert [run["state_name"] for run in flow_runs] == ["Completed", "Completed"]
    assert [run["name"] for run in flow_runs] == [
        "Spring news all of them",
        "Spring news rehearsal a second run",
    ]
    earlier, later = sorted(flow_runs, key=lambda run: run["start_time"])
    assert earlier["end_time"] <= later["start_time"]

    runs = {run.name: run for run in list_runs(ledger, limit=9, job_name="Spring news")}
    whole, one = runs["all of them"], runs["a second run"]
    assert (whole.succeeded, whole.status, whole.flow_run_id) == (240, "completed", started[0])
    assert (one.succeeded, one.kind) == (1, "rehearsal")
    sent = [item["recipient"] for run in (whole, one) for page in read_items(ledger, run.id) for item in page]
    succeeded = [
        item["recipient"]
        for run in (whole, one)
        for page in read_items(ledger, run.id, statuses=["succeeded"])
        for item in page
    ]
    assert set(sent) == set(succeeded)
    assert stats["recipients"] == {each: succeeded.count(each) for each in succeeded}

    assert_artifacts(installation, started[0], uid=whole.uid)
    assert_retries(installation, started[0])
    kept = [
        *(installation.find(what) for what in ("flow_runs", "task_runs", "deployments", "artifacts")),
        *(installation.of_run("logs", flow_run) for flow_run in started),
    ]
    assert all(kept)
    files = [installation.folder / "clarion.db", *installation.folder.glob("*.log")]
    assert SECRET not in json.dumps(kept)
    assert not any(SECRET.encode() in file.read_bytes() for file in files)


def assert_artifacts(installation: Installation, flow_run: str, *, uid: str) -> None:
    """A progress artifact that came to its end, a Markdown report, a table; all of the flow run itself."""
    artifacts = {each["type"]: each for each in installation.of_run("artifacts", flow_run)}
    assert sorted(artifacts) == ["markdown", "progress", "table"]
    assert all(each["task_run_id"] is None for each in artifacts.values())
    assert (artifacts["progress"]["data"], artifacts["progress"]["description"]) == (
        100.0,
        "Spring news: 240 of 240 items settled",
    )
    assert artifacts["markdown"]["key"] == "spring-news-report"
    assert f"Run `{uid}`, all of them" in artifacts["markdown"]["data"]
    assert "| all |  | 240 | 0 | 240 | 0 | 0 |" in artifacts["markdown"]["data"]
    rows = json.loads(artifacts["table"]["data"])
    assert [(row["segment"], row["succeeded"]) for row in rows] == [("gold", 80), ("rest", 160), ("all", 240)]


def assert_retries(installation: Installation, flow_run: str) -> None:
    """Task runs of deliver came back: the same ones ran several times, with AwaitingRetry in between."""
    tasks = installation.of_run("task_runs", flow_run)
    again = [task for task in tasks if task["run_count"] > 1]
    assert again
    assert all(task["name"].startswith("deliver send-sms ") for task in again)
    assert {task["state_name"] for task in tasks} == {"Completed"}
    histories = [
        [state["name"] for state in installation.get("task_run_states/", task_run_id=task["id"])]
        for task in again
    ]
    assert all("AwaitingRetry" in history for history in histories)
