"""Runs whose recipients answer, as the tests of handlers need them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import sqlalchemy as sa

from clarion.handling import Handled, handle_batch
from clarion.ledger.answer_tables import EVENT, REACTION
from clarion.ledger.attribution import AttributedEvent, attribute_batch
from clarion.ledger.database import Database, utc_now
from clarion.ledger.events import store_events
from clarion.ledger.runs import REACTIONS, RunRecord, get_run
from clarion.ledger.tables import RUN, RUN_ITEM
from clarion.planning import PlannedItem
from clarion.receiving.incoming import IncomingEvent
from tests.integration.ledger_runs import planned, planned_run
from tests.unit.campaigns import make_job

ENDPOINT = "generic/inbound"
PHONES = "+4477009{:05}"
ANY = 'event.type == "recipient-response"'

THANKS = {
    "name": "thanks",
    "condition": 'event.type == "recipient-response" and contains(lower(event.text), "yes")',
    "action": "send",
    "template": {"message": "Thank you, {{ item.name }}: {{ event.text }}"},
}
SEND = {
    "channel": "sms",
    "parameters": [{"name": "sender", "default": "Clarion"}],
    "command": {
        "url": "http://127.0.0.1/messages",
        "payload": {
            "to": "{{ recipient }}",
            "from": "{{ parameters.sender }}",
            "text": "{{ template.message }}",
        },
    },
    "retry_policy": {"num_retries": 0},
}
SEGMENT = {
    "name": "all",
    "action": "send",
    "parameters": {"sender": "Acme"},
    "template": {"message": "Hello"},
}


def phone(number: int) -> str:
    """The number of the recipient of a row."""
    return PHONES.format(number)


def answered_run(database: Database, people: int = 1, **changes: Any) -> RunRecord:
    """A run of so many people that has been sent, `m-ROW` to each; `changes` are of its job."""
    given = {"events": [THANKS], "segments": [SEGMENT], "actions": {"send": SEND}} | changes
    job = make_job(**given)
    items = [person(row) for row in range(1, people + 1)]
    run_id = planned_run(database, items, job=job.model_dump_json(), job_name=job.name)
    sent = {
        "status": "succeeded",
        "attempts": 1,
        "claimed_at": utc_now(),
        "settled_at": utc_now(),
        "invocation_id": sa.literal("m-") + sa.cast(RUN_ITEM.c.row, sa.String),
    }
    counted = {"pending": 0, "succeeded": people, "status": "completed", "ended_at": utc_now()}
    with database.write() as connection:
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.run_id == run_id).values(sent))
        connection.execute(RUN.update().where(RUN.c.id == run_id).values(counted))
    return get_run(database, run_id)


def person(row: int) -> PlannedItem:
    """Somebody with a number and a name."""
    item = orjson.dumps({"id": row, "name": f"Ann {row}", "phone": phone(row)}).decode()
    return planned(row, recipient=phone(row), item=item)


def reply(number: int, text: str = "YES", **changes: Any) -> IncomingEvent:
    """What the recipient of a row writes; each text is another reply."""
    event = IncomingEvent(
        type="recipient-response", provider_event_id=f"{number}-{text}", recipient=phone(number), text=text
    )
    return replace(event, **changes)


def receipt(invocation_id: str) -> IncomingEvent:
    """What became of a message, of which nothing is said that its action calls a success or a failure."""
    return IncomingEvent(
        type="action-call-info",
        provider_event_id=f"receipt-{invocation_id}",
        invocation_id=invocation_id,
        status="seen",
    )


def store(database: Database, *events: IncomingEvent) -> list[int]:
    """Stores what came in; the ids."""
    with database.write() as connection:
        return store_events(connection, ENDPOINT, events)


def attributed(database: Database) -> list[AttributedEvent]:
    """A batch of what is received, attributed."""
    return attribute_batch(database, limit=500)


def reactions(database: Database, *columns: str) -> list[Any]:
    """Columns of all reactions in the order of the events and of their handlers' names."""
    chosen = [REACTION.c[name] for name in columns]
    query = sa.select(*chosen).order_by(REACTION.c.event_id, REACTION.c.handler)
    with database.read() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    return [row[0] for row in rows] if len(columns) == 1 else rows


def states(database: Database) -> list[str]:
    """The states of all events, in the order of their coming."""
    with database.read() as connection:
        return list(connection.scalars(sa.select(EVENT.c.state).order_by(EVENT.c.id)))


def child_of(database: Database, parent: RunRecord) -> RunRecord:
    """The run of a run's reactions."""
    with database.read() as connection:
        child = sa.select(RUN.c.id).where(RUN.c.parent_id == parent.id, RUN.c.kind == REACTIONS)
        return get_run(database, connection.execute(child).scalar_one())


def handle(database: Database, **options: Any) -> Handled:
    """Attributes and handles what is received."""
    return handle_batch(database, attributed(database), **options)


def built_in(name: str, **reaction: Any) -> dict[str, Any]:
    """A handler of every reply."""
    return {"name": name, "condition": ANY, **reaction}


def texts(rows: Sequence[str]) -> list[dict[str, Any]]:
    """JSON texts, read."""
    return [orjson.loads(row) for row in rows]
