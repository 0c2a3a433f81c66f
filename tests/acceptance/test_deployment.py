"""Jobs deployed to a real Prefect server, served by a real worker: what the README promises of both."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.runs import list_runs
from clarion.sandbox import Behaviour, Sandbox
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.installations import Installation, wait_for

SECRET = "tok-5f1d9c3b7a"


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
