"""Answers that are answered: by the flow, by the process that receives, and after both were killed."""

import os
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from clarion.ledger.database import Database
from clarion.ledger.runs import get_run
from clarion.ledger.tables import RATE_LIMIT
from clarion.sandbox import Behaviour, Sandbox
from flows.handle_events import Drainer, handle_events
from tests.acceptance.campaigns import write_people
from tests.acceptance.conftest import Command
from tests.acceptance.replies import (
    reactions_run,
    say,
    start_handling,
    thanked,
    write_answered_job,
)
from tests.faults.processes import Processes
from tests.integration.handled_runs import states
from tests.integration.ledger_runs import assert_counts_add_up, rows_of
from tests.integration.sender_runs import until
from tests.integration.test_limit_rates import assert_promise


def test_reply_is_answered_as_the_segment_that_it_answers(clarion: Command, home: Path, ledger: Database):
    """The flow handles it; the reaction has the handler's text and the segment's sender, and leaves once."""
    write_people(home, 3)
    job = write_answered_job(home)
    with Sandbox() as sandbox:
        assert clarion("run", job, "--against", sandbox.url, "--json").code == 0
        say(ledger, range(1, 3))
        say(ledger, range(3, 4), "no")
        assert handle_events() == {"events": 3, "reactions": 2}
        assert handle_events() == {"events": 0, "reactions": 0}
        sent = [request["body"] for request in sandbox.requests()][3:]
    assert sorted((body["to"], body["from"], body["text"]) for body in sent) == [
        ("+12025550001", "Acme", "Thank you, number 1: Yes!"),
        ("+12025550002", "Acme", "Thank you, number 2: Yes!"),
    ]
    child = reactions_run(ledger)
    assert {body["client_ref"].partition("-")[0] for body in sent} == {child.uid}
    assert (child.status, child.counts["succeeded"]) == ("completed", 2)
    assert_counts_add_up(ledger, child.id)
    (segment,) = clarion("report", child.uid, "--json").json["segments"]
    assert (segment["name"], segment["counts"]["succeeded"]) == ("thanks", 2)
    assert [run["kind"] for run in clarion("runs", "--json").json] == ["rehearsal"]
    assert [run["kind"] for run in clarion("runs", "--all", "--json").json] == ["reactions", "rehearsal"]


def test_reactions_stand_in_the_line_of_the_campaign(clarion: Command, home: Path, ledger: Database):
    """An action has one limit, whoever uses it: 10 messages and 10 thanks leave 5 a second."""
    write_people(home, 10)
    job = write_answered_job(home, tps=5)
    with Sandbox() as sandbox:
        assert clarion("run", job, "--against", sandbox.url, "--json").code == 0
        say(ledger, range(1, 11))
        handle_events()
        assert len(thanked(sandbox)) == 10
        times = [datetime.fromisoformat(request["at"]).timestamp() for request in sandbox.requests()]
    assert_promise(times, 5)
    with ledger.read() as connection:
        (key,) = connection.scalars(sa.select(RATE_LIMIT.c.key))
    assert key.endswith("/job/hello/send-sms")


def test_receiving_process_answers_at_a_nudge(clarion: Command, home: Path, ledger: Database):
    """What is stored while it runs is answered; the status of the run of reactions follows."""
    write_people(home, 4)
    job = write_answered_job(home)
    with Sandbox() as sandbox:
        assert clarion("run", job, "--against", sandbox.url, "--json").code == 0
        with Drainer() as drainer:
            for number in range(1, 5):
                say(ledger, range(number, number + 1))
                drainer.nudge()
                until(lambda: len(thanked(sandbox)) == number)  # noqa: B023  # called at once
            child = reactions_run(ledger)
            until(lambda: get_run(ledger, child.id).status == "completed")
        assert set(thanked(sandbox).values()) == {1}


@pytest.fixture
def settings(database_url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A ledger on either database, for this process and for others."""
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    return {"CLARION_HOME": os.environ["CLARION_HOME"], "CLARION_DATABASE_URL": database_url}


def test_handling_that_is_killed_answers_nobody_twice_and_forgets_nobody(
    clarion: Command, processes: Processes, settings: dict[str, str], database: Database, home: Path
):
    """Killed while reactions are on their way, twice; the next ones do the rest.

    Every event is handled and has its reaction; whoever may have got it gets no second one.
    """
    count = 400
    write_people(home, count)
    job = write_answered_job(home)
    with Sandbox(Behaviour(latency_ms=300)) as sandbox:
        assert clarion("run", job, "--against", sandbox.url, "--json").code == 0
        say(database, range(1, count + 1))
        for least in (40, 150):
            process = start_handling(processes, settings)
            _until_thanked(sandbox, least, process.is_alive)
            process.kill()
            process.join()
        last = start_handling(processes, settings)
        last.join()
        assert last.exitcode == 0
        got = thanked(sandbox)
    child = reactions_run(database)
    statuses = Counter(rows_of(database, child.id, "status"))
    assert set(states(database)) == {"handled"}
    assert statuses.keys() <= {"succeeded", "unknown"}
    assert statuses.total() == count
    assert 0 < statuses["unknown"] <= 2 * 256
    assert set(got.values()) == {1}
    succeeded = {
        recipient
        for recipient, status in rows_of(database, child.id, "recipient", "status")
        if status == "succeeded"
    }
    assert succeeded <= set(got)
    assert get_run(database, child.id).status == "unresolved"
    assert_counts_add_up(database, child.id)


def _until_thanked(sandbox: Sandbox, least: int, lives: Callable[[], bool]) -> None:
    """Waits until so many thanks have left, while the process lives."""
    until(lambda: len(thanked(sandbox)) >= least or not lives())
    assert len(thanked(sandbox)) >= least
