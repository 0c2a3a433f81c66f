"""Runs whose messages have left, and what comes back to them, as the tests of attribution need them."""

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Any

import orjson
import sqlalchemy as sa

from clarion.ledger.answer_tables import EVENT
from clarion.ledger.attribution import AttributedEvent, attribute_batch
from clarion.ledger.claims import Settlement
from clarion.ledger.database import Database, utc_now
from clarion.ledger.events import store_events
from clarion.ledger.runs import get_run, set_status
from clarion.ledger.tables import RUN, RUN_ITEM
from clarion.models.job import Job
from clarion.receiving.incoming import IncomingEvent
from tests.integration.ledger_runs import claimed, planned, planned_run, result, settled, whole

SEND: dict[str, Any] = {
    "channel": "sms",
    "parameters": [{"name": "sender", "default": "447000000001"}],
    "command": {"url": "http://127.0.0.1/send", "payload": {"to": "{{ recipient }}"}},
    "response": {"invocation_id": "{{ response.body.id }}"},
}
MAIL: dict[str, Any] = {
    "channel": "email",
    "sender": "Offers@Shop.example",
    "command": {"url": "http://127.0.0.1/mail", "payload": {"to": "{{ recipient }}"}},
}


def job_text(
    *, send: dict[str, Any] | None = None, segment: dict[str, Any] | None = None, **changes: Any
) -> str:
    """A job as a run keeps it: one segment `all` that is sent by `send`."""
    data: dict[str, Any] = {
        "name": "renewals",
        "recipients": {"include": [{"items": []}]},
        "recipient": "{{ item.phone }}",
        "segments": [{"name": "all", "action": "send"} | (segment or {})],
        "actions": {"send": SEND | (send or {}), "mail": MAIL},
    }
    return Job.model_validate(data | changes).model_dump_json()


_OUTCOME = {"status", "reason", "epoch", "attempts", "outcome", "in_doubt", "idempotency_key"}


def sent_run(database: Database, *recipients: str, ids: Sequence[str | None] = (), **options: Any) -> int:
    """A run whose messages have left; it is completed where nothing of it is pending or unknown.

    Args:
        database: The ledger.
        recipients: One an item.
        ids: The invocation ids that the provider answered with.
        options: `status` and others of `Settlement`; `item1` and so on, what is planned for an item; `job` of
            the run; others of `planned_run`.
    """
    outcome = {name: options.pop(name) for name in _OUTCOME & options.keys()}
    items = [
        planned(
            row,
            recipient=each,
            item=orjson.dumps({"phone": each}).decode(),
            **options.pop(f"item{row}", {}),
        )
        for row, each in enumerate(recipients, 1)
    ]
    run_id = planned_run(database, items, job=options.pop("job", None) or job_text(), **options)
    set_status(database, run_id, "running")
    found = claimed(database, run_id, "t", part=whole())
    names = [*ids, *[None] * (len(found) - len(ids))]
    results = [_result(item, invocation_id=name, **outcome) for item, name in zip(found, names, strict=True)]
    settled(database, run_id, "t", *results)
    ended = get_run(database, run_id)
    if not ended.pending:
        set_status(database, run_id, "unresolved" if ended.unknown else "completed")
    return run_id


def _result(item: Any, *, status: str = "succeeded", **changes: Any) -> Settlement:
    return result(item, status, status_code=202, latency_ms=5.0, **changes)


def receive(database: Database, *events: IncomingEvent, endpoint: str = "vonage/main") -> list[int]:
    """Stores events, as the receiver does; their ids."""
    with database.write() as connection:
        return store_events(connection, endpoint, events)


_NUMBERS = count(1)


def reply(recipient: str, text: str = "yes", **fields: Any) -> IncomingEvent:
    """A message of a recipient."""
    return IncomingEvent(
        type="recipient-response",
        provider_event_id=f"r{next(_NUMBERS)}",
        recipient=recipient,
        text=text,
        **fields,
    )


def receipt(status: str | None, **fields: Any) -> IncomingEvent:
    """A receipt."""
    return IncomingEvent(
        type="action-call-info", provider_event_id=f"s{next(_NUMBERS)}", status=status, **fields
    )


def attributed(database: Database, *events: IncomingEvent) -> list[AttributedEvent]:
    """Stores events and attributes them, and calls them handled."""
    receive(database, *events)
    found = attribute_batch(database, limit=1_000)
    with database.write() as connection:
        connection.execute(EVENT.update().values(state="handled"))
    return found


def items_of(database: Database, run_id: int) -> list[dict[str, Any]]:
    """A run's items, by id."""
    query = RUN_ITEM.select().where(RUN_ITEM.c.run_id == run_id).order_by(RUN_ITEM.c.id)
    with database.read() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def item_id(database: Database, run_id: int, number: int = 1) -> int:
    """The key of a run's n-th item."""
    return items_of(database, run_id)[number - 1]["id"]


def reference(database: Database, run_id: int, number: int = 1, *, call: str = "") -> str:
    """Our own reference of a run's n-th item, or of one of its calls."""
    return f"{get_run(database, run_id).uid}-{item_id(database, run_id, number)}{call}"


def change_run(database: Database, run_id: int, **values: Any) -> None:
    """Changes a run's row."""
    with database.write() as connection:
        connection.execute(RUN.update().where(RUN.c.id == run_id).values(**values))


def change_item(database: Database, item: int, **values: Any) -> None:
    """Changes an item's row."""
    with database.write() as connection:
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.id == item).values(**values))


def now(database: Database) -> datetime:
    """The database's clock."""
    with database.read() as connection:
        return connection.execute(sa.select(utc_now())).scalar_one()
