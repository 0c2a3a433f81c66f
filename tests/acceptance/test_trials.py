"""`clarion test` and `clarion retry`: one message, and those that failed once more."""

from pathlib import Path

import pytest

from clarion.sandbox import Behaviour, Sandbox
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command


def test_test_sends_one_message_to_the_recipient_given(clarion: Command, home: Path):
    """The message is that of the row, the recipient is the one on the command line."""
    write_people(home, 5)
    with Sandbox() as sandbox:
        arguments = ("--to", "+12025550199", "--row", 3, "--against", sandbox.url, "--json")
        report = clarion("test", write_job(home), *arguments).json
        (request,) = sandbox.requests()
    assert report["counts"]["succeeded"] == 1
    assert (request["body"]["to"], request["body"]["text"]) == ("+12025550199", "Dear Ann 3")
    assert report["would_be_skipped"] is None
    (message,) = report["messages"]
    assert (message["request"]["method"], message["request"]["url"]) == ("POST", f"{sandbox.url}/v1/messages")
    assert message["request"]["body"] == request["body"]
    assert (message["answer"]["status_code"], message["answer"]["error_code"]) == (202, None)
    assert message["answer"]["invocation_id"]


def test_test_prints_what_was_sent_and_what_was_answered(
    clarion: Command, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Method, URL and body, the secret as asterisks; of a refusal the status and the provider's words."""
    monkeypatch.setenv("MY_TOKEN", "do-not-show-this")
    clarion("credentials", "save", "bearer-token/tested", "--env", "token=MY_TOKEN", "--replace")
    write_people(home, 1)
    with Sandbox(Behaviour(reject=1.0)) as sandbox:
        texting = action(credentials="bearer-token/tested")
        texting["command"]["url"] = f"{sandbox.url}/v1/messages"
        job = write_job(home, actions={"send-sms": texting})
        outcome = clarion("test", job, "--to", "+12025550199")
        (request,) = sandbox.requests()
    assert request["headers"]["authorization"] != "Bearer ****"
    assert outcome.code == 0
    assert f"POST {sandbox.url}/v1/messages" in outcome.out
    assert "authorization: Bearer ****" in outcome.out
    assert request["body"]["client_ref"] in outcome.out
    assert "answer failed: 422" in outcome.out
    assert "Invalid or Missing Msisdn Param" in outcome.out
    assert "do-not-show-this" not in outcome.out + outcome.err


def test_test_refuses_what_is_no_recipient(clarion: Command, home: Path):
    """The job's recipients are phone numbers: anything else is refused before there is a run."""
    write_people(home, 1)
    for recipient in ("notaphone", "", "1"):
        outcome = clarion("test", write_job(home), "--to", recipient, "--against", "http://127.0.0.1:9")
        assert outcome.code == 2
        assert outcome.err.startswith("clarion: --to: ")
        assert "a phone number, as +447700900123" in outcome.err
    assert clarion("runs", "--json").json == []


def test_test_says_that_a_run_would_skip_the_row(clarion: Command, home: Path):
    """An excluded row is sent to oneself all the same; of one in no segment there is nothing to send."""
    write_people(home, 3)
    (home / "out.csv").write_text("id\n2\n", encoding="utf-8")
    recipients = {
        "include": [{"file": "people.csv", "key": "id"}],
        "exclude": [{"file": "out.csv", "key": "id"}],
    }
    segment = {
        "name": "one",
        "condition": 'item.id != "3"',
        "action": "send-sms",
        "template": {"message": "x"},
    }
    job = write_job(home, recipients=recipients, segments=[segment])
    with Sandbox() as sandbox:
        to = ("--to", "+12025550199", "--against", sandbox.url)
        excluded = clarion("test", job, *to, "--row", 2)
        told = clarion("test", job, *to, "--row", 2, "--json").json
        outside = clarion("test", job, *to, "--row", 3, "--json")
        assert sandbox.stats()["accepted"] == 2
    assert "A run would skip row 2: excluded." in excluded.err
    assert told["would_be_skipped"] == "excluded"
    assert (outside.json["would_be_skipped"], outside.json["counts"]["skipped"]) == ("no-segment", 1)
    assert outside.json["messages"][0]["request"] is None
    assert clarion("test", job, *to, "--row", 1, "--json").json["would_be_skipped"] is None


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


def test_retry_without_failed_items_says_so(clarion: Command, home: Path):
    """Nothing is sent, and the report is as it was; --status is failed where it is not given."""
    write_people(home, 2)
    with Sandbox() as sandbox:
        report = clarion("run", write_job(home), "--against", sandbox.url, "--json").json
        outcome = clarion("retry", "last", "--json")
        assert sandbox.stats()["requests"] == 2
    told = f"Nothing to retry: run {report['run_id']} has no failed items."
    assert (outcome.code, outcome.err.strip(), outcome.json) == (0, told, report)
    resumed = clarion("resume", "last")
    assert resumed.err.strip() == f"Nothing to resume: run {report['run_id']} is completed."
    resolved = clarion("resolve", "last", "--unknown", "failed")
    assert resolved.err.strip() == f"Nothing to resolve: run {report['run_id']} has no unknown items."
    none = clarion("items", "last", "--status", "failed")
    assert (none.code, none.out) == (0, "")
    assert none.err.strip() == f"No items: run {report['run_id']} has no failed items."
