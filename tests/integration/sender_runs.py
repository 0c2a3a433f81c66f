"""Senders at work on runs, as their tests need them."""

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx

from clarion.campaign import Campaign
from clarion.compiling import compile_job
from clarion.ledger.claims import Slice
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord, get_run
from clarion.models.job import Job
from clarion.planning import PlannedItem
from clarion.sandbox import Sandbox
from clarion.sending.sender import Sender
from clarion.sending.session import RunSession
from clarion.sending.wire import Wire
from clarion.sending.writer import Limit
from tests.integration.ledger_runs import assert_counts_add_up, planned_run, rows_of, statuses

FREE = Limit(key="job/sending/send", tps=None)


def campaign(*, action: dict[str, Any] | None = None, **changes: Any) -> Campaign:
    """A compiled job of one action `send`; `action` are changes of it."""
    send = {
        "command": {
            "url": "http://127.0.0.1/v1/messages",
            "headers": {"X-Row": "{{ run_item.row }}"},
            "payload": {"to": "{{ recipient }}"},
        },
        "timeout_seconds": 60,
        "retry_policy": {"num_retries": 0},
    }
    document = {
        "name": "sending",
        "recipients": {"include": [{"items": [{"n": 1}]}]},
        "recipient": "{{ item.n }}",
        "segments": [{"name": "all", "action": "send"}],
        "actions": {"send": send | (action or {})},
    }
    return compile_job(Job.model_validate(document | changes))


def new_run(
    database: Database, sandbox: Sandbox, items: int | Iterable[PlannedItem], **changes: Any
) -> RunRecord:
    """A planned run against the sandbox; `changes` are of its record."""
    run = get_run(database, planned_run(database, items))
    return replace(run, against=sandbox.url, **changes)


def sender_of(
    database: Database, *, connections: int, wire: Callable[[], httpx.AsyncBaseTransport] | None = None
) -> Sender:
    """A sender over real sockets."""
    made = wire or (lambda: Wire(max_connections=connections))
    return Sender(database, wire=made, connections=connections)


@contextmanager
def sending(database: Database, *, connections: int = 8) -> Generator[Sender]:
    """A sender that is closed at the end."""
    sender = sender_of(database, connections=connections)
    yield sender
    sender.close()


def open_session(sender: Sender, run: RunRecord, **options: Any) -> RunSession:
    """A session; without credentials and limits where none are given."""
    options = {"auths": {}, "limits": {"send": FREE}, "campaign": campaign()} | options
    return sender.open(run, options.pop("campaign"), **options)


def part_of(database: Database, run: RunRecord, first: int = 1, last: int = 2**31) -> Slice:
    """The slice of the run's items from one to another, counted from 1."""
    ids = rows_of(database, run.id, "id")
    return Slice(action="send", first_id=ids[first - 1], last_id=ids[min(last, len(ids)) - 1])


@contextmanager
def at_work(sender: Sender, *work: tuple[RunSession, Slice]) -> Generator[list[Future[Any]]]:
    """Delivers slices in threads; they must have come back by the end, or have raised."""
    with ThreadPoolExecutor(len(work)) as threads:
        yield [threads.submit(sender.deliver, session, part) for session, part in work]


def until(condition: Callable[[], object]) -> None:
    """Waits until something holds that another thread or process brings about."""
    while not condition():
        time.sleep(0.002)


def recipients_by_status(database: Database, run: RunRecord) -> dict[str, set[str]]:
    """Who is in which status."""
    found: dict[str, set[str]] = defaultdict(set)
    for recipient, status in rows_of(database, run.id, "recipient", "status"):
        found[status].add(recipient)
    return found


def assert_sound(database: Database, run: RunRecord, **expected: int) -> None:
    """The counters add up, and the items are in these statuses."""
    assert_counts_add_up(database, run.id)
    assert statuses(database, run.id) == expected
