"""Leaving a run in the middle: what was not sent goes back, what was sent is waited for."""

import time
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from clarion.compiling import compile_job
from clarion.ledger.claims import Slice
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord, get_run
from clarion.ledger.tables import RUN_ITEM
from clarion.models.job import Job
from clarion.sandbox import Behaviour, Sandbox
from clarion.sending import sender as sending
from clarion.sending.sender import Sender
from clarion.sending.session import RunSession
from clarion.sending.wire import Wire
from clarion.sending.writer import Limit
from tests.integration.ledger_runs import planned_run

JOB = Job.model_validate(
    {
        "name": "leaving",
        "recipients": {"include": [{"items": [{"n": 1}]}]},
        "recipient": "{{ item.n }}",
        "segments": [{"name": "all", "action": "send"}],
        "actions": {
            "send": {
                "command": {"url": "http://127.0.0.1/", "payload": {"to": "{{ recipient }}"}},
                "timeout_seconds": 60,
            }
        },
    }
)
ITEMS = 1_000
SLICES = 10


@contextmanager
def delivering(
    database: Database, run: RunRecord, *, connections: int
) -> Generator[tuple[Sender, RunSession]]:
    """A sender at work on all the slices of a run at once; they must have come back by the end."""
    sender = Sender(database, wire=lambda: Wire(max_connections=connections), connections=connections)
    limits = {"send": Limit(key="send", tps=None)}
    session = sender.open(run, compile_job(JOB), auths={}, limits=limits)
    with ThreadPoolExecutor(SLICES) as threads:
        for first in range(1, ITEMS + 1, ITEMS // SLICES):
            part = Slice(action="send", first_id=first, last_id=first + ITEMS // SLICES - 1)
            threads.submit(sender.deliver, session, part)
        yield sender, session
    sender.close()


def new_run(database: Database, sandbox: Sandbox) -> RunRecord:
    """A planned run of ITEMS items against the sandbox."""
    return replace(get_run(database, planned_run(database, ITEMS)), against=sandbox.url)


def wait_for_requests(sandbox: Sandbox, count: int) -> None:
    """Waits until the provider has got so many."""
    while sandbox.stats()["requests"] < count:
        time.sleep(0.005)


def recipients_by_status(database: Database) -> dict[str, set[str]]:
    """Who is in which status."""
    found: dict[str, set[str]] = defaultdict(set)
    with database.read() as connection:
        for recipient, status in connection.execute(sa.select(RUN_ITEM.c.recipient, RUN_ITEM.c.status)):
            found[status].add(recipient)
    return found


def test_leave_gives_back_what_waits_for_a_connection(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Where no answer comes in time, exactly what was sent is unknown; other claims are pending again."""
    monkeypatch.setattr(sending, "LEAVE_SECONDS", 0.1)
    with Sandbox(Behaviour(latency_ms=600_000)) as sandbox:
        with delivering(database, new_run(database, sandbox), connections=8) as (sender, session):
            wait_for_requests(sandbox, 8)
            lost = sender.leave(session)
        sent = {request["recipient"] for request in sandbox.requests()}
    found = recipients_by_status(database)
    assert (lost, len(sent)) == (8, 8)
    assert found["unknown"] == sent
    assert len(found["pending"]) == ITEMS - 8


def test_leave_waits_for_claims_that_are_on_their_way(database: Database):
    """Places that become free while it leaves are claimed by nobody: what was not sent is pending."""
    with Sandbox(Behaviour(latency_ms=100)) as sandbox:
        with delivering(database, new_run(database, sandbox), connections=256) as (sender, session):
            wait_for_requests(sandbox, 1)
            lost = sender.leave(session)
        sent = {request["recipient"] for request in sandbox.requests()}
    found = recipients_by_status(database)
    assert lost == 0
    assert found["succeeded"] == sent
    assert len(found["pending"]) == ITEMS - len(sent)
