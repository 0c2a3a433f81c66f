"""Runs of deployments, handled as the Prefect UI handles them."""

import os
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deployments import deploy_job
from flows.run_job import find_job
from tests.acceptance.installations import Installation, wait_for


def deploy(installation: Installation, job: Path) -> dict[str, Any]:
    """Deploys a job from this process, which takes less time than the command; its deployment."""
    with temporary_settings({PREFECT_API_URL: installation.settings["PREFECT_API_URL"]}):
        made = deploy_job(find_job(job))
    return installation.get(f"deployments/{made['id']}")


def set_state(installation: Installation, flow_run: str, **state: Any) -> str:
    """Puts a flow run into a state as the UI does; whether the server took it."""
    return installation.ask("POST", f"flow_runs/{flow_run}/set_state", json={"state": state})["status"]


def resume_in_ui(installation: Installation, flow_run: str) -> None:
    """What the button Resume sends."""
    assert installation.ask("POST", f"flow_runs/{flow_run}/resume", json={})["status"] == "ACCEPT"


def wait_for_state(installation: Installation, flow_run: str, name: str, *, message: str) -> None:
    """Waits until a flow run's state has that name, a message that begins so, and no time-out or process."""

    def look() -> bool | None:
        state = installation.get(f"flow_runs/{flow_run}")["state"]
        timeout = (state["state_details"] or {}).get("pause_timeout")
        as_told = (state["message"] or "").startswith(message)
        return (state["name"] == name and as_told and timeout is None) or None

    wait_for(look, what=f"a flow run that is {name}, for as long as it takes")
    pid = pid_of(installation, flow_run)
    wait_for(lambda: None if runs(pid) else True, what="the end of its process")


def pid_of(installation: Installation, flow_run: str) -> int:
    """The process of a flow run."""
    return int(installation.get(f"flow_runs/{flow_run}")["infrastructure_pid"])


def runs(pid: int) -> bool:
    """Whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
