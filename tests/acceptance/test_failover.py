"""Failover and circuit in whole runs: the next channel is tried, and an outage pauses a run."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.runs import list_runs
from clarion.ledger.tables import ATTEMPT, RUN_ITEM
from clarion.sandbox import Behaviour, Sandbox
from flows.control import resume_run
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command, Start
from tests.acceptance.test_control import wait_for_status

PEOPLE = 120


def calling(sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    """The send-sms action of the tests, sent to this provider."""
    plain = action(**changes)
    return plain | {"command": plain["command"] | {"url": f"{sandbox.url}/v1/messages"}}


def job_with_fallback(home: Path, *, first: Sandbox, second: Sandbox) -> Path:
    """A job that tries everybody by text, and then by mail: two people share each address."""
    write_people(home, PEOPLE)
    mail = {
        "action": "send-mail",
        "recipient": "{{ (item.id | int) // 2 }}@example.com",
        "template": {"message": "Hello by mail, {{ item.id }}"},
    }
    segment = {
        "name": "all",
        "action": "send-sms",
        "template": {"message": "Hello {{ item.id }}"},
        "fallback": [mail],
    }
    return write_job(
        home, segments=[segment], actions={"send-sms": calling(first), "send-mail": calling(second)}
    )


def test_refused_recipients_are_tried_with_the_next_channel(clarion: Command, home: Path, ledger: Database):
    """Each provider gets whom it should, nobody gets it twice, and every call is in the ledger."""
    with Sandbox(Behaviour(reject=0.5)) as texts, Sandbox(Behaviour(error=0.2, seed=2)) as mails:
        told = clarion("run", job_with_fallback(home, first=texts, second=mails), "--json")
        by_text, by_mail = texts.stats(), mails.stats()
    (run,) = list_runs(ledger, limit=9)
    items = [item for page in read_items(ledger, run.id) for item in page]
    refused = {item["recipient"] for item in items if item["status"] == "failed"}
    texted = {item["recipient"] for item in items if item["action"] == "send-sms"} - refused
    mailed = {item["recipient"] for item in items if item["action"] == "send-mail"}
    assert (told.code, told.json["status"]) == (0, "completed")
    assert Counter(item["status"] for item in items) == Counter(
        succeeded=len(texted) + len(mailed), failed=len(refused)
    )
    assert min(len(texted), len(mailed), len(refused)) > 0
    assert (set(by_text["recipients"]), set(by_mail["recipients"])) == (texted, mailed)
    assert by_text["duplicates"] == by_mail["duplicates"] == {}
    assert {item["reason"] for item in items if item["status"] == "failed"} == {"refused"}
    with ledger.read() as connection:
        first = sa.select(sa.func.count()).where(ATTEMPT.c.run_id == run.id, ATTEMPT.c.outcome == "refused")
        assert connection.scalar(first) == len(mailed)
        passed = sa.select(RUN_ITEM.c.fallback).where(RUN_ITEM.c.status == "failed")
        assert all("duplicate" in record for record in connection.scalars(passed))


@pytest.mark.parametrize("behaviour", [Behaviour(error=1.0), None], ids=["errors", "away"])
def test_provider_that_is_away_pauses_the_run(
    start: Start, home: Path, ledger: Database, behaviour: Behaviour | None
):
    """With its reason and all tries given back; when it is there again, everyone gets one message."""
    write_people(home, PEOPLE)
    with Sandbox(behaviour) as broken:
        port = int(broken.url.rpartition(":")[2])
        patience = {"num_retries": 2, "backoff_policy": {"base_interval_seconds": 0.1}}
        job = write_job(
            home, actions={"send-sms": calling(broken, retry_policy=patience)}, pause_after_errors=20
        )
        if behaviour is not None:
            process = start("run", job)
            paused = wait_for_status(ledger, "paused")
    if behaviour is None:
        process = start("run", job)
        paused = wait_for_status(ledger, "paused")
    assert paused.reason is not None
    assert "20 provider errors in a row: " in paused.reason
    assert paused.counts == {"total": PEOPLE, "pending": PEOPLE} | dict.fromkeys(
        ("skipped", "sending", "succeeded", "failed", "unknown"), 0
    )
    with ledger.read() as connection:
        assert connection.scalar(sa.select(sa.func.max(RUN_ITEM.c.attempts))) == 0
    with Sandbox(port=port) as mended:
        report = resume_run("last")
        process.join()
        stats = mended.stats()
    assert (report["status"], report["counts"]["succeeded"]) == ("completed", PEOPLE)
    assert (len(stats["recipients"]), stats["duplicates"]) == (PEOPLE, {})
