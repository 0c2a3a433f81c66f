"""A campaign from the command line, against a provider on a real socket."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun

from clarion.contacts import write_contacts
from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.runs import find_run
from clarion.sandbox import Behaviour, Sandbox
from flows.run_job import run_job
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command

FIRST_THREE_FAIL = Behaviour(error=0.5, seed=4)
"""With this seed the first three requests get an error and the next three do not."""

ON_THE_WAY = timedelta(seconds=1)
"""A request that was written in time may arrive so much later."""

STATUSES = ("skipped", "pending", "sending", "succeeded", "failed", "unknown")


def assert_adds_up(report: dict) -> None:
    """The counts of the run, and of each segment, add up to their totals."""
    for counts in (report["counts"], *(segment["counts"] for segment in report["segments"])):
        assert counts["total"] == sum(counts[status] for status in STATUSES)


def recipients_with(ledger: Database, reference: str, status: str) -> list[str]:
    """The recipients of a run's items in a status."""
    run = find_run(ledger, reference)
    return [item["recipient"] for page in read_items(ledger, run.id, statuses=[status]) for item in page]


def test_run_sends_each_recipient_once_and_the_ledger_agrees_with_the_provider(
    clarion: Command, home: Path, ledger: Database
):
    """Of messy contacts, exactly the sendable ones get one message each, and the report says so."""
    expected = write_contacts(home / "contacts.csv", count=1_000)
    job = write_job(
        home,
        recipients={"include": [{"file": "contacts.csv", "key": "Customer Id"}]},
        recipient={"value": "{{ item.Phone }}", "type": "phone", "region": "{{ item.Country }}"},
        segments=[
            {
                "name": "gold",
                "condition": 'item.Plan == "gold"',
                "action": "send-sms",
                "template": {"message": "Dear {{ item['First Name'] | default('customer') }}"},
            },
            {"name": "rest", "action": "send-sms", "template": {"message": "Hello"}},
        ],
    )
    with Sandbox() as sandbox:
        outcome = clarion("run", job, "--against", sandbox.url, "--json")
        stats = sandbox.stats()
    report = outcome.json
    assert (outcome.code, report["status"]) == (0, "completed")
    assert_adds_up(report)
    assert report["counts"]["total"] == 1_000
    assert report["counts"]["succeeded"] == expected.sendable
    assert report["skipped_by_reason"]["duplicate"] == expected.duplicates
    assert stats["duplicates"] == {}
    assert set(stats["recipients"]) == set(recipients_with(ledger, "last", "succeeded"))
    assert [segment["name"] for segment in report["segments"]] == ["gold", "rest"]
    assert all(segment["counts"]["succeeded"] for segment in report["segments"])


def test_run_over_a_bad_provider_brings_through_all_that_can_succeed(
    clarion: Command, home: Path, ledger: Database
):
    """Errors and throttling are retried by Prefect's task runs; refusals fail with the provider's code."""
    write_people(home, 2_000)
    job = write_job(home)
    behaviour = Behaviour(error=0.2, throttle=200, reject=0.02, seed=3)
    with Sandbox(behaviour) as sandbox:
        report = clarion("run", job, "--against", sandbox.url, "--json").json
        stats = sandbox.stats()
    succeeded = recipients_with(ledger, "last", "succeeded")
    refused = recipients_with(ledger, "last", "failed")
    assert_adds_up(report)
    assert report["status"] == "completed"
    assert stats["recipients"] == dict.fromkeys(succeeded, 1)
    assert all(behaviour.refuses(recipient) for recipient in refused)
    assert len(succeeded) + len(refused) == 2_000
    assert report["failed_by_reason"] == {"refused": len(refused)}
    failed = [item for page in read_items(ledger, 1, statuses=["failed"]) for item in page]
    assert {(item["status_code"], item["error_code"]) for item in failed} == {
        (422, "Invalid or Missing Msisdn Param")
    }
    assert stats["throttled"] > 0
    assert_retried_by_prefect(str(find_run(ledger, "last").flow_run_id))


def task_runs_of(flow_run_id: str, *, until: Callable[[list[TaskRun]], bool]) -> list[TaskRun]:
    """The flow run's task runs, asked of Prefect until they are as wanted: it records with a delay."""
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    deadline = time.monotonic() + 20
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=this_run, limit=200)
            if until(runs) or time.monotonic() > deadline:
                return runs
            time.sleep(0.1)


def assert_retried_by_prefect(flow_run_id: str) -> None:
    """The same task runs were brought back by Prefect: run_count above 1, AwaitingRetry in their history."""

    def retried(runs: list[TaskRun]) -> list[TaskRun]:
        return [run for run in runs if run.name.startswith("deliver") and run.run_count > 1]

    found = retried(task_runs_of(flow_run_id, until=lambda runs: bool(retried(runs))))
    assert found
    assert "AwaitingRetry" in states_of(found[0])


def states_of(run: TaskRun) -> list[str]:
    """The names of the states that a task run went through."""
    with get_client(sync_client=True) as client:
        history = client.request("GET", "/task_run_states/", params={"task_run_id": str(run.id)})
    return [state["name"] for state in history.json()]


def test_what_is_due_later_than_prefect_retries_reach_is_mapped_again(
    clarion: Command, home: Path, ledger: Database
):
    """A back-off of 6 s: the second try comes from another task run, and none of them waits meanwhile."""
    write_people(home, 3)
    back_off = {"num_retries": 3, "backoff_policy": {"base_interval_seconds": 6, "max_interval_seconds": 6}}
    job = write_job(home, actions={"send-sms": action(retry_policy=back_off)})
    with Sandbox(FIRST_THREE_FAIL) as sandbox:
        outcome = clarion("run", job, "--against", sandbox.url, "--json")
        verdicts = [request["verdict"] for request in sandbox.requests()]
    assert verdicts == ["error"] * 3 + ["accepted"] * 3
    assert (outcome.code, outcome.json["counts"]["succeeded"]) == (0, 3)
    assert outcome.json["metrics"]["attempts"] == 6

    def delivering(runs: list[TaskRun]) -> list[TaskRun]:
        return [run for run in runs if run.name.startswith("deliver")]

    flow_run_id = str(find_run(ledger, "last").flow_run_id)
    runs = delivering(task_runs_of(flow_run_id, until=lambda runs: len(delivering(runs)) >= 6))
    assert sorted(Counter(run.name for run in runs).values()) == [2, 2, 2]
    assert [run.run_count for run in runs] == [1] * 6
    assert not any("AwaitingRetry" in states_of(run) for run in runs)


def test_run_stores_metrics_and_artifacts(clarion: Command, home: Path, ledger: Database):
    """After a run calls, latencies and throughput are in the report, and artifacts on the flow run."""
    write_people(home, 30)
    with Sandbox() as sandbox:
        report = clarion("run", write_job(home), "--against", sandbox.url, "--json").json
    assert report["metrics"]["attempts"] == 30
    assert report["metrics"]["latency_ms_p50"] <= report["metrics"]["latency_ms_p99"]
    assert report["metrics"]["throughput"] > 0
    flow_run_id = str(find_run(ledger, "last").flow_run_id)
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    assert {"markdown", "table", "progress"} <= {artifact.type for artifact in found}


def test_short_run_makes_each_row_a_task_run(clarion: Command, home: Path, ledger: Database):
    """Up to 200 items, a person sees one deliver task run a row."""
    write_people(home, 12)
    with Sandbox() as sandbox:
        clarion("run", write_job(home), "--against", sandbox.url)
    flow_run_id = str(find_run(ledger, "last").flow_run_id)

    def delivered(runs: list[TaskRun]) -> int:
        return sum(run.name.startswith("deliver") for run in runs)

    assert delivered(task_runs_of(flow_run_id, until=lambda runs: delivered(runs) >= 12)) == 12


def test_run_with_hang_ups_ends_unresolved_with_exit_code_3(clarion: Command, home: Path, ledger: Database):
    """A call that left and was never answered is unknown, never failed and never sent again."""
    write_people(home, 60)
    with Sandbox(Behaviour(drop=0.3, seed=5)) as sandbox:
        outcome = clarion("run", write_job(home), "--against", sandbox.url, "--json")
        stats = sandbox.stats()
    report = outcome.json
    assert (outcome.code, report["status"]) == (3, "unresolved")
    assert report["counts"]["unknown"] == stats["dropped"] > 0
    assert stats["duplicates"] == {}
    assert set(recipients_with(ledger, "last", "succeeded")) <= set(stats["recipients"])


def test_run_with_limit_sends_to_the_first_due_only(clarion: Command, home: Path, ledger: Database):
    """`--limit 5` sends five, and the other items are skipped for that reason."""
    write_people(home, 20)
    with Sandbox() as sandbox:
        report = clarion("run", write_job(home), "--against", sandbox.url, "--limit", 5, "--json").json
        assert sandbox.stats()["accepted"] == 5
    assert report["skipped_by_reason"] == {"limit": 15}
    assert recipients_with(ledger, "last", "succeeded") == [f"+1202555{n:04d}" for n in range(1, 6)]


def test_run_sends_nothing_after_send_until(clarion: Command, home: Path):
    """A time that has passed leaves every item skipped as expired."""
    write_people(home, 3)
    with Sandbox() as sandbox:
        # The command line refuses such a time; a late start has the same effect.
        job: Any = write_job(home)
        report = run_job(job, against=sandbox.url, send_until=datetime(2020, 1, 1, tzinfo=UTC))
        assert sandbox.stats()["requests"] == 0
    assert report["skipped_by_reason"] == {"expired": 3}


def test_send_until_in_the_middle_of_a_run_ends_it(clarion: Command, home: Path):
    """What was tried is failed, what was not is skipped, both as expired; nothing is sent after that time."""
    write_people(home, 600)
    later = {"num_retries": 3, "backoff_policy": {"base_interval_seconds": 60, "max_interval_seconds": 60}}
    job = write_job(home, actions={"send-sms": action(tps=50, retry_policy=later)})
    until = datetime.now(UTC) + timedelta(seconds=5)
    with Sandbox(Behaviour(latency_ms=300, error=0.3, seed=1)) as sandbox:
        options = ("--against", sandbox.url, "--send-until", until.isoformat(), "--json")
        outcome = clarion("run", job, *options)
        stats = sandbox.stats()
        last = max(datetime.fromisoformat(request["at"]) for request in sandbox.requests())
    report = outcome.json
    assert (outcome.code, report["status"]) == (0, "completed")
    assert_adds_up(report)
    assert report["counts"]["succeeded"] == stats["accepted"] > 0
    assert report["failed_by_reason"] == {"expired": stats["errors"]}
    assert report["skipped_by_reason"] == {"expired": 600 - stats["requests"]}
    assert stats["errors"] > 0
    assert stats["requests"] < 600
    assert last < until + ON_THE_WAY


def test_demo_reports_what_its_provider_got(clarion: Command, home: Path):
    """A whole campaign: exit code 0, counts that add up, as many messages accepted as succeeded."""
    outcome = clarion("demo", "--contacts", 200, "--json")
    report = outcome.json
    assert (outcome.code, report["status"], report["counts"]["total"]) == (0, "completed", 200)
    assert_adds_up(report)
    assert report["counts"]["succeeded"] == report["sandbox"]["accepted"] > 100
    assert report["sandbox"]["requests"] == report["metrics"]["attempts"]
    assert report["counts"]["skipped"] == sum(report["skipped_by_reason"].values()) > 0
    told, came_back = report["sandbox"]["answers"], report["answers"]
    assert came_back["delivered"] == told["delivered"] > 100
    assert came_back["delivered"] + came_back["undelivered"] == report["counts"]["succeeded"]
    assert came_back["responded"] == told["replies"] > 0
    assert came_back["clicked"] == told["clicks"] > 0
    assert came_back["reactions"] > 0
    assert report["recipient_response"] == {"recipients_count": told["replies"]}
    printed = clarion("demo", "--contacts", 5)
    assert printed.code == 0
    assert "for 0 recipients more than one" in printed.out


def test_run_reports_trouble_in_the_list_as_a_failed_run_without_items(clarion: Command, home: Path):
    """A ragged row stops the plan: exit code 1, a failed run, nothing sent, and the line is named."""
    write_people(home, 10)
    with (home / "people.csv").open("a", encoding="utf-8") as file:
        file.write("11,too,few\n")
    with Sandbox() as sandbox:
        outcome = clarion("run", write_job(home), "--against", sandbox.url, "--json")
        assert sandbox.stats()["requests"] == 0
    assert (outcome.code, outcome.json["status"]) == (1, "failed")
    assert outcome.json["counts"]["total"] == 0
    assert "people.csv:12" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"segmets": []}, "segments"),
        ({"events": [{"name": "thanks"}]}, "events[0].condition"),
        ({"matching": "frist"}, "first"),
        (
            {"segments": [{"name": "a", "action": "send-smss"}]},
            "send-sms",
        ),
        (
            {
                "segments": [
                    {
                        "name": "a",
                        "condition": "item.plann == 'x'",
                        "action": "send-sms",
                        "template": {"message": "Hello"},
                    }
                ]
            },
            "segments[0].condition",
        ),
        (
            {
                "segments": [
                    {"name": "a", "action": "send-sms", "template": {"message": "{{ item.id"}},
                ]
            },
            "segments[0].template.message",
        ),
        ({"recipients": {"include": [{"file": "peple.csv"}]}}, "people.csv"),
    ],
)
def test_bad_jobs_are_refused_in_one_line_and_create_no_run(
    clarion: Command, home: Path, changes: dict, said: str
):
    """Exit code 2, the place or the nearest name in the message, no traceback, no run."""
    write_people(home, 3)
    job = write_job(home, **changes)
    for command in (("run", job, "--json"), ("preview", job)):
        outcome = clarion(*command)
        assert outcome.code == 2
        assert said in outcome.err
        assert "Traceback" not in outcome.err
    assert clarion("runs", "--json").json == []


def test_unfinished_run_is_refused_with_the_two_ways_on(clarion: Command, home: Path, ledger: Database):
    """A job whose last run did not end is not started again by accident, but is with --new."""
    from clarion.ledger.runs import NewRun, create_run

    write_people(home, 3)
    job = write_job(home)
    open_run = create_run(ledger, NewRun(job_name="hello", job="{}", base=".", kind="rehearsal"))
    with Sandbox() as sandbox:
        outcome = clarion("run", job, "--against", sandbox.url)
        assert outcome.code == 2
        assert f"clarion resume {open_run.uid}" in outcome.err
        assert "--new" in outcome.err
        assert clarion("run", job, "--against", sandbox.url, "--new", "--json").code == 0
