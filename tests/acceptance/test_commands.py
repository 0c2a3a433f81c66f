"""The other commands: looking before and after, sending one, trying again."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from clarion.ledger.database import Database
from clarion.sandbox import Behaviour, Sandbox
from cli.main import MODULES
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


def test_test_sends_one_message_to_the_recipient_given(clarion: Command, home: Path):
    """The message is that of the row, the recipient is the one on the command line."""
    write_people(home, 5)
    with Sandbox() as sandbox:
        arguments = ("--to", "+12025550199", "--row", 3, "--against", sandbox.url, "--json")
        report = clarion("test", write_job(home), *arguments).json
        (request,) = sandbox.requests()
    assert report["counts"]["succeeded"] == 1
    assert (request["body"]["to"], request["body"]["text"]) == ("+12025550199", "Dear Ann 3")


def test_retry_sends_to_the_failed_again_and_to_nobody_else(clarion: Command, home: Path):
    """After the provider is mended, the failed ones get through, with a new idempotency key."""
    write_people(home, 30)
    job = write_job(home, actions={"send-sms": action(retry_policy={"num_retries": 0})})
    with Sandbox(Behaviour(error=0.5, seed=2)) as sandbox:
        before = clarion("run", job, "--against", sandbox.url, "--json").json
        port = int(sandbox.url.rpartition(":")[2])
    failed = before["counts"]["failed"]
    assert before["failed_by_reason"] == {"retries-exhausted": failed}
    assert failed > 0
    with Sandbox(port=port) as sandbox:
        outcome = clarion("retry", "last", "--status", "failed", "--reason", "retries-exhausted", "--json")
        assert sandbox.stats()["accepted"] == failed
        keys = {request["headers"]["idempotency-key"] for request in sandbox.requests()}
    assert all(key.endswith(".0.1") for key in keys)
    assert outcome.json["counts"]["succeeded"] == 30
    assert (outcome.code, outcome.json["status"]) == (0, "completed")
    assert outcome.json["run_id"] == before["run_id"]


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


@pytest.mark.parametrize("command", sorted(MODULES))
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]):
    """`--help` ends with 0 and shows how the command is used; groups name their commands."""
    from cli.main import build_app

    app = build_app(command)
    with pytest.raises(SystemExit) as ended:
        app([command, "--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Example:" in printed or "Commands" in printed


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
