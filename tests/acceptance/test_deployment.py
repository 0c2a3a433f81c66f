"""Jobs deployed to a real Prefect server, served by a real worker: what the README promises of both."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.runs import RunRecord, list_runs
from clarion.sandbox import Behaviour, Sandbox
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.deployed import deploy
from tests.acceptance.installations import PREFECT, Installation, wait_for

SECRET = "tok-5f1d9c3b7a"
PREFECT_YAML = Path(__file__).parents[2] / "prefect.yaml"


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
    first = deploy(installation, job)
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
    third = deploy(installation, job)
    assert (third["id"], third["tags"], third["schedules"]) == (first["id"], [], [])


def test_prefect_yaml_deploys_the_flows_for_a_work_pool(installation: Installation, tmp_path: Path):
    """Prefect's own command makes a deployment of each flow; one of them runs."""
    shutil.copy(PREFECT_YAML, tmp_path)
    wait_for(lambda: installation.find("work_pools") or None, what="the worker's pool")
    deployed = subprocess.run(
        [*PREFECT, "--no-prompt", "deploy", "--all"],
        env=installation.settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    made = {each["entrypoint"]: each for each in installation.find("deployments") if each["pull_steps"]}
    assert {entrypoint: each["name"] for entrypoint, each in made.items()} == {
        "flows.run_job:run_job": "run-job",
        "flows.resume_run:resume_run": "resume-run",
        "flows.reconcile:reconcile": "reconcile",
        "flows.handle_events:handle_events": "handle-events",
    }
    assert {each["work_pool_name"] for each in made.values()} == {"clarion"}
    for service in ("flows.reconcile:reconcile", "flows.handle_events:handle_events"):
        assert [each["schedule"]["interval"] for each in made[service]["schedules"]] == [60]
    reconcile = made["flows.reconcile:reconcile"]
    installation.start(reconcile)

    def completed() -> list[dict[str, Any]] | None:
        of_it = installation.find("flow_runs", deployments={"id": {"any_": [reconcile["id"]]}})
        return [run for run in of_it if run["state_name"] == "Completed"] or None

    # Any run of it: the one started here is cancelled where it falls on a scheduled one.
    wait_for(completed, what="a run of reconcile", patience_seconds=120)


def test_worker_runs_a_deployment_and_the_ledger_agrees_with_the_provider(
    installation: Installation, ledger: Database, tmp_path: Path
):
    """Two runs started at once work one after the other; Prefect's own retries bring failed calls through.

    Artifacts stand on the flow run, and the secret is nowhere but in its block and on the wire.
    """
    with Sandbox(Behaviour(error=0.2, seed=3)) as sandbox:
        deployment = installation.deploy(job_with_secret(installation, tmp_path, url=sandbox.url))
        started = [
            installation.start(deployment, name="all of them"),
            installation.start(deployment, name="a second run", against=sandbox.url, limit=1),
        ]
        flow_runs = [installation.ended(flow_run) for flow_run in started]
        received = sandbox.stats()["recipients"]

    assert_one_after_the_other(flow_runs)
    runs = {run.name: run for run in list_runs(ledger, limit=9, job_name="Spring news")}
    whole, one = runs["all of them"], runs["a second run"]
    assert (whole.succeeded, whole.status, whole.flow_run_id) == (240, "completed", started[0])
    assert (one.succeeded, one.kind) == (1, "rehearsal")
    assert received == recipients_of(ledger, [whole, one])
    assert_artifacts(installation, started[0], uid=whole.uid)
    assert_retries(installation, started[0])
    assert_secret_is_kept(installation, started)


def job_with_secret(installation: Installation, folder: Path, *, url: str) -> Path:
    """A job for 240 people whose action sends with saved credentials."""
    write_people(folder, 240)
    installation.clarion("credentials", "save", "bearer-token/provider", "--env", "token=TOKEN", TOKEN=SECRET)
    send = action(credentials="bearer-token/provider")
    send["command"]["url"] = f"{url}/v1/messages"
    return write_job(folder, name="Spring news", actions={"send-sms": send})


def assert_one_after_the_other(flow_runs: list[dict[str, Any]]) -> None:
    """Both were completed, under their names, and did not overlap."""
    assert [run["state_name"] for run in flow_runs] == ["Completed", "Completed"]
    assert [run["name"] for run in flow_runs] == [
        "Spring news all of them",
        "Spring news rehearsal a second run",
    ]
    earlier, later = sorted(flow_runs, key=lambda run: run["start_time"])
    assert earlier["end_time"] <= later["start_time"]


def recipients_of(ledger: Database, runs: list[RunRecord]) -> Counter[str]:
    """Who got a message in these runs, and how many; everybody who is not skipped got one."""
    items = [item for run in runs for page in read_items(ledger, run.id) for item in page]
    succeeded = [item["recipient"] for item in items if item["status"] == "succeeded"]
    assert set(succeeded) == {item["recipient"] for item in items}
    return Counter(succeeded)


def assert_secret_is_kept(installation: Installation, flow_runs: list[str]) -> None:
    """What Prefect tells, what the ledger holds and what was logged do not contain it."""
    kept = [
        *(installation.find(what) for what in ("flow_runs", "task_runs", "deployments", "artifacts")),
        *(installation.of_run("logs", flow_run) for flow_run in flow_runs),
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
