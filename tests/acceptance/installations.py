"""A Prefect server and a worker of their own, in processes, as a person would start them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

CLARION = [sys.executable, "-c", "from cli.main import main; main()"]
PREFECT = [sys.executable, "-m", "prefect"]
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], *, what: str, patience_seconds: float = PATIENCE_SECONDS) -> T:
    """What `look` gives once it gives something."""
    until = time.monotonic() + patience_seconds
    while (found := look()) is None:
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.1)
    return found


@contextmanager
def process(command: list[str], *, settings: dict[str, str], log: Path) -> Generator[subprocess.Popen[bytes]]:
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


@contextmanager
def installed(folder: Path) -> Generator[Installation]:
    """A server that answers and a worker on its way, with an empty home."""
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
        api = httpx.Client(base_url=settings["PREFECT_API_URL"], timeout=60, trust_env=False)
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
