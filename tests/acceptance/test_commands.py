"""The other commands: looking before and after, sending one, trying again."""

import csv
import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.runs import find_run
from clarion.sandbox import Behaviour, Sandbox
from flows.run_job import run_job
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command
from tests.integration.ledger_databases import PostgresqlServer


def test_preview_tells_what_the_run_then_does(clarion: Command, home: Path):
    """Preview sends nothing, creates no run, and its counts are those of the run."""
    write_people(home, 40)
    with (home / "people.csv").open("a", encoding="utf-8") as file:
        file.write("41,Twin,+1 (202) 555-0001,gold\n42,Nobody,12,basic\n43,Nameless,,basic\n")
    job = write_job(home)
    preview = clarion("preview", job, "--samples", 2, "--json")
    assert preview.code == 0
    assert clarion("runs", "--json").json == []
    with Sandbox() as sandbox:
        report = clarion("run", job, "--against", sandbox.url, "--json").json
    assert preview.json["counts"]["total"] == report["counts"]["total"] == 43
    assert preview.json["counts"]["pending"] == report["counts"]["succeeded"]
    assert preview.json["skipped_by_reason"] == report["skipped_by_reason"]
    assert preview.json["skipped_by_reason"]["duplicate"] == 1
    assert preview.json["skipped_by_reason"]["invalid-recipient"] == 2


def test_preview_shows_rendered_requests(clarion: Command, home: Path):
    """A sample has row, method, url, headers and the decoded body, with the missing name filled in."""
    write_people(home, 7, plans=("gold",))
    job = write_job(home)
    samples = clarion("preview", job, "--samples", 7, "--json").json["samples"]
    assert [sample["row"] for sample in samples] == list(range(1, 8))
    assert samples[0]["method"] == "POST"
    assert samples[0]["url"] == "https://api.nexmo.com/v1/messages"
    assert samples[0]["headers"]["content-type"] == "application/json"
    assert samples[0]["body"]["from"] == "Acme"
    assert samples[6]["body"]["text"] == "Dear customer"
    printed = clarion("preview", job, "--samples", 1)
    assert "POST https://api.nexmo.com/v1/messages" in printed.out


def test_preview_lists_every_template_problem_with_its_row(clarion: Command, home: Path):
    """Rows whose text does not render are named, and counted as skipped."""
    write_people(home, 14)
    segment = {"name": "all", "action": "send-sms", "template": {"message": "{{ item['First Name'] }}"}}
    preview = clarion("preview", write_job(home, segments=[segment]), "--json").json
    assert [problem["row"] for problem in preview["problems"]] == [7, 14]
    assert all("First Name" in problem["problem"] for problem in preview["problems"])
    assert preview["skipped_by_reason"] == {"template-error": 2}


def test_preview_masks_secrets(clarion: Command, home: Path, monkeypatch: pytest.MonkeyPatch):
    """What a saved credentials block puts on the request is shown as asterisks."""
    monkeypatch.setenv("MY_TOKEN", "do-not-show-this")
    saved = clarion("credentials", "save", "bearer-token/masked", "--env", "token=MY_TOKEN", "--replace")
    assert saved.code == 0
    write_people(home, 1)
    job = write_job(home, actions={"send-sms": action(credentials="bearer-token/masked")})
    preview = clarion("preview", job, "--json")
    assert "do-not-show-this" not in preview.out + preview.err
    assert preview.json["samples"][0]["headers"]["authorization"] == "Bearer ****"


def test_missing_credentials_are_refused_before_a_run_is_created(clarion: Command, home: Path):
    """A job whose credentials are saved nowhere does not start."""
    write_people(home, 1)
    job = write_job(home, actions={"send-sms": action(credentials="bearer-token/nowhere")})
    outcome = clarion("run", job)
    assert outcome.code == 2
    assert "bearer-token/nowhere" in outcome.err
    assert clarion("runs", "--json").json == []


def test_unknown_names_are_refused_with_those_that_exist(clarion: Command, home: Path):
    """A job without runs, a reason that no item has, a run that is not there: exit code 2, what there is."""
    write_people(home, 20)
    assert "there are no runs yet" in clarion("report", "last").err
    with Sandbox(Behaviour(reject=0.5, seed=1)) as sandbox:
        run = clarion("run", write_job(home), "--against", sandbox.url, "--json").json
    for arguments, told in (
        (("runs", "--job", "helo"), "--job: there is no run of a job 'helo'; expected one of hello"),
        (("runs", "--job", "helo"), "(did you mean 'hello'?)"),
        (("items", "last", "--reason", "refusd"), "expected one of refused (did you mean 'refused'?)"),
        (("retry", "last", "--reason", "refusd"), "expected one of refused (did you mean 'refused'?)"),
        (("retry", "last", "--status", "faild"), "(did you mean 'failed'?)"),
        (("report", ""), "RUN: is empty"),
        (("report", run["run_id"][:-1] + "z"), f"(did you mean '{run['run_id']}'?)"),
        (("pause", "lats"), "(did you mean 'last'?)"),
    ):
        outcome = clarion(*arguments)
        assert (outcome.code, outcome.out) == (2, ""), arguments
        assert told in outcome.err


def test_report_tells_the_most_frequent_errors(clarion: Command, home: Path):
    """What the provider said stands in the report, with how many items it met, and in its JSON."""
    write_people(home, 20)
    with Sandbox(Behaviour(reject=0.5, seed=1)) as sandbox:
        printed = clarion("run", write_job(home), "--against", sandbox.url)
    report = clarion("report", "last", "--json").json
    (error,) = report["errors"]
    assert list(error) == ["reason", "error_code", "error", "count"]
    assert (error["reason"], error["count"]) == ("refused", report["counts"]["failed"])
    assert f"{error['count']} x refused: {error['error_code']}: {error['error']}" in printed.out


def test_report_tells_why_nobody_was_reached(clarion: Command, home: Path):
    """Where every item was skipped, the reason is worth more than a nought."""
    people = "id,First Name,phone\n1,,+12025550101\n2,,+12025550102\n3,,+12025550103\n"
    (home / "people.csv").write_text(people, encoding="utf-8")
    segment = {"name": "all", "action": "send-sms", "template": {"message": "{{ item['First Name'] }}"}}
    with Sandbox() as sandbox:
        report = clarion("run", write_job(home, segments=[segment]), "--against", sandbox.url, "--json").json
    assert report["counts"]["succeeded"] == 0
    assert [(each["reason"], each["count"]) for each in report["errors"]] == [("template-error", 3)]
    assert "First Name" in report["errors"][0]["error"]


def test_bad_rows_are_shown_with_line_and_reason(clarion: Command, home: Path):
    """Preview and run count the rows that were left out, and show the first of them."""
    write_people(home, 3)
    with (home / "people.csv").open("a", encoding="utf-8") as file:
        file.write("ragged\n4,Dan,+12025550104,gold\n" + "short,row\n" * 4)
    lists = {"include": [{"file": "people.csv", "key": "id", "on_bad_row": "skip"}]}
    job = write_job(home, recipients=lists)
    preview = clarion("preview", job, "--json").json
    with Sandbox() as sandbox:
        run = clarion("run", job, "--against", sandbox.url)
    assert preview["bad_rows"] == clarion("report", "last", "--json").json["bad_rows"] == 5
    first = preview["bad_row_examples"][0]
    assert (first["line"], first["reason"]) == (5, "1 field, expected 4")
    for printed in (clarion("preview", job, "--samples", 0).out, run.out):
        assert "could not be read and were left out: 5" in printed
        assert "people.csv:5: 1 field, expected 4" in printed
        assert "people.csv:7: 2 fields, expected 4" in printed
        assert "... and 2 more" in printed


def test_run_waits_for_its_start(clarion: Command, home: Path, ledger: Database):
    """Nothing is claimed, nor does a request come, before --start-at; then everything is sent."""
    write_people(home, 5)
    start_at = datetime.now(UTC) + timedelta(seconds=3)
    with Sandbox() as sandbox:
        options = ("--against", sandbox.url, "--start-at", start_at.isoformat(), "--json")
        report = clarion("run", write_job(home), *options).json
        came = [datetime.fromisoformat(request["at"]) for request in sandbox.requests()]
    items = [item for page in read_items(ledger, find_run(ledger, "last").id) for item in page]
    assert (report["counts"]["succeeded"], len(items), len(came)) == (5, 5, 5)
    assert datetime.fromisoformat(report["created_at"]) < start_at <= min(came)
    assert all(item["claimed_at"] >= start_at for item in items)
    assert datetime.fromisoformat(report["start_at"]) == start_at


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--send-until", "2020-01-01"), "--send-until: "),
        (("--end-at", "2020-01-01T00:00Z"), "--end-at: "),
        (("--start-at", "2090-01-02", "--send-until", "2090-01-01"), "is not after --start-at"),
        (("--start-at", "2090-01-02", "--end-at", "2090-01-01"), "is not after --start-at"),
        (("--start-at", "tomorrow"), "--start-at: 'tomorrow' is no time"),
    ],
)
def test_run_refuses_times_that_leave_none_to_send_in(
    clarion: Command, home: Path, options: tuple[str, ...], told: str
):
    """An end that is past, or before the start, is a slip of the pen: no run is created."""
    write_people(home, 1)
    outcome = clarion("run", write_job(home), "--against", "http://127.0.0.1:9", *options)
    assert outcome.code == 2
    assert told in outcome.err
    assert clarion("runs", "--json").json == []


def test_retry_takes_failed_items_only(clarion: Command, home: Path):
    """Anything but failed is refused with what is expected."""
    write_people(home, 1)
    with Sandbox() as sandbox:
        clarion("run", write_job(home), "--against", sandbox.url)
    outcome = clarion("retry", "last", "--status", "succeeded")
    assert outcome.code == 2
    assert "--status" in outcome.err


def test_items_are_exported_in_every_format(clarion: Command, home: Path):
    """CSV, JSON and Parquet hold the same items; a filter narrows them."""
    write_people(home, 9)
    with Sandbox() as sandbox:
        clarion("run", write_job(home), "--against", sandbox.url)
    as_json = clarion("items", "last", "--format", "json").json
    as_csv = list(csv.DictReader(io.StringIO(clarion("items", "last", "--format", "csv").out)))
    assert clarion("items", "last", "--format", "parquet", "--output", "items.parquet").code == 0
    as_parquet = pd.read_parquet(home / "items.parquet")
    recipients = [f"+1202555{n:04d}" for n in range(1, 10)]
    assert [item["recipient"] for item in as_json] == recipients
    assert [item["recipient"] for item in as_csv] == recipients
    assert list(as_parquet["recipient"]) == recipients
    assert as_json[0]["item"]["First Name"] == "Ann 1"
    assert clarion("items", "last", "--status", "failed", "--format", "json").json == []
    refused = clarion("items", "last", "--status", "faild")
    assert (refused.code, "'failed'" in refused.err) == (2, True)


def test_runs_and_report_know_a_run_by_prefix_and_as_last(clarion: Command, home: Path):
    """Runs are listed newest first with the report's own keys; RUN is an id, a prefix or last."""
    write_people(home, 2)
    job = write_job(home)
    with Sandbox() as sandbox:
        first = clarion("run", job, "--against", sandbox.url, "--name", "one", "--json").json
        second = clarion("run", job, "--against", sandbox.url, "--name", "two", "--json").json
    runs = clarion("runs", "--json").json
    assert [run["run_id"] for run in runs] == [second["run_id"], first["run_id"]]
    assert runs[0] == clarion("report", "last", "--json").json
    assert clarion("report", first["run_id"][:6], "--json").json["name"] == "one"
    assert {"run_id", "job", "status", "counts", "skipped_by_reason", "failed_by_reason", "segments"} <= set(
        runs[0]
    )
    assert "completed" in clarion("report", "last").out
    assert first["run_id"] in clarion("runs").out
    unknown = clarion("report", "zzzz")
    assert (unknown.code, "clarion runs" in unknown.err) == (2, True)


def test_run_list_takes_the_failed_of_the_last_run(clarion: Command, home: Path):
    """`{run: last, status: [failed]}` is a list like any other."""
    write_people(home, 40)
    with Sandbox(Behaviour(reject=0.3, seed=1)) as sandbox:
        actions = {"send-sms": action()}
        actions["send-sms"]["command"]["url"] = f"{sandbox.url}/v1/messages"
        before = clarion("run", write_job(home, actions=actions), "--json").json
        again = write_job(
            home, actions=actions, recipients={"include": [{"run": "last", "status": ["failed"]}]}
        )
        after = clarion("run", again, "--json").json
    assert after["counts"]["total"] == before["counts"]["failed"] > 0


def test_run_job_takes_a_path_a_saved_name_and_a_job(clarion: Command, home: Path):
    """From Python the job is a file, the name of a saved job, or an object."""
    from clarion.jobfile import load_job

    write_people(home, 3)
    path = write_job(home)
    assert clarion("job", "save", path).code == 0
    with Sandbox() as sandbox:
        for job in (path, str(path), "hello", load_job(path)):
            report = run_job(job, against=sandbox.url)
            assert report["counts"]["succeeded"] == 3
        assert set(sandbox.stats()["recipients"].values()) == {4}


def test_run_sends_to_postgresql_too(
    clarion: Command, home: Path, monkeypatch: pytest.MonkeyPatch, postgresql: PostgresqlServer
):
    """With CLARION_DATABASE_URL the same campaign is in PostgreSQL."""
    monkeypatch.setenv("CLARION_DATABASE_URL", postgresql.empty())
    write_people(home, 250)
    with Sandbox(Behaviour(error=0.1, seed=4)) as sandbox:
        report = clarion("run", write_job(home), "--against", sandbox.url, "--json").json
        assert sandbox.stats()["duplicates"] == {}
    assert report["counts"]["succeeded"] == 250
    assert clarion("report", "last", "--json").json == report
    assert not (home.parent / "home").exists()


def test_newer_database_is_refused_with_a_clear_message(clarion: Command, ledger: Database):
    """A ledger of a newer version is not touched."""
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE clarion_version SET version_num = '9999'")
    outcome = clarion("runs")
    assert outcome.code == 1
    assert "newer Clarion" in outcome.err
    assert "Traceback" not in outcome.err


def test_core_imports_without_prefect():
    """The core is usable with Prefect uninstalled."""
    program = (
        "import sys, pkgutil, importlib\n"
        "sys.modules['prefect'] = None\n"
        "import clarion\n"
        "names = [m.name for m in pkgutil.walk_packages(clarion.__path__, 'clarion.')]\n"
        "[importlib.import_module(n) for n in names if '.migrations' not in n]\n"
        "print(len(names))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
