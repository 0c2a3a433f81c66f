"""Campaigns whose recipients answer, and processes that handle what they say."""

import os
from collections import Counter
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from clarion.ledger.database import Database
from clarion.ledger.events import store_events
from clarion.ledger.runs import REACTIONS, RunRecord, list_runs
from clarion.optout import suppress_opt_outs
from clarion.receiving.incoming import IncomingEvent
from clarion.sandbox import Sandbox
from tests.acceptance.campaigns import action, write_job
from tests.faults.processes import Processes

ENDPOINT = "generic/replies"

THANKS = {
    "name": "thanks",
    "condition": 'event.type == "recipient-response" and contains(lower(event.text), "yes")',
    "action": "send-sms",
    "template": {"message": "Thank you, number {{ item.id }}: {{ event.text }}"},
}


def write_answered_job(folder: Path, *, events: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    """A job that texts people.csv and thanks whoever answers with a yes; `changes` are of its action."""
    segment = {
        "name": "all",
        "action": "send-sms",
        "parameters": {"sender": "Acme"},
        "template": {"message": "Hello {{ item.id }}"},
    }
    return write_job(
        folder,
        segments=[segment],
        actions={"send-sms": action(**changes)},
        events=[THANKS] if events is None else events,
    )


def say(database: Database, numbers: range, text: str = "Yes!") -> None:
    """Stores a reply of each of the people, as the receiver does."""
    replies = [
        IncomingEvent(
            type="recipient-response",
            provider_event_id=f"{number}: {text}",
            recipient=f"+1202555{number:04d}",
            text=text,
        )
        for number in numbers
    ]
    with database.write() as connection:
        store_events(connection, ENDPOINT, replies)
        suppress_opt_outs(connection, ENDPOINT, replies)


def thanked(sandbox: Sandbox) -> Counter[str]:
    """How many thanks each recipient got, or may have got: every request that reached the provider."""
    bodies = [request["body"] for request in sandbox.requests()]
    return Counter(body["to"] for body in bodies if body["text"].startswith("Thank you"))


def reactions_run(database: Database) -> RunRecord:
    """The run of the last run's reactions."""
    return next(run for run in list_runs(database, limit=10, children=True) if run.kind == REACTIONS)


def start_handling(processes: Processes, settings: Mapping[str, str]) -> BaseProcess:
    """A process in which the flow handles what is received."""
    process = processes.fork(_handle, dict(settings))
    process.start()
    return process


def _handle(settings: dict[str, str]) -> None:
    os.environ.update(settings)
    from flows.handle_events import handle_events

    handle_events()
