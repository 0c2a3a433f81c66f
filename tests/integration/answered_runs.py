"""Runs with what came back for them, put straight into the ledger."""

import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa

from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import Database
from clarion.ledger.tables import RUN, RUN_ITEM

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def add_event(database: Database, kind: str, **columns: Any) -> int:
    """Stores an event; its key."""
    row: dict[str, Any] = {
        "uid": str(uuid.uuid4()),
        "type": kind,
        "endpoint": "vonage-webhook/main",
        "provider_event_id": str(uuid.uuid4()),
        "occurred_at": NOW,
        "received_at": NOW,
        "state": "handled",
        "data": orjson.dumps({"from": columns.get("recipient"), "text": columns.get("text")}).decode(),
        **columns,
    }
    with database.write() as connection:
        return connection.execute(EVENT.insert().values(row).returning(EVENT.c.id)).scalar_one()


def add_reaction_item(database: Database, run_id: int, *, event_id: int, **columns: Any) -> int:
    """Stores an item of a run of reactions, that answers an event; its key."""
    row: dict[str, Any] = {
        "run_id": run_id, "row": event_id, "segment": "thanks", "item": "{}", "status": "succeeded",
        "recipient": None, "step": 0, "epoch": 0, "attempts": 1, "in_doubt": False, **columns,
    }  # fmt: skip
    with database.write() as connection:
        return connection.execute(RUN_ITEM.insert().values(row).returning(RUN_ITEM.c.id)).scalar_one()


def update_run(database: Database, run_id: int, **columns: Any) -> None:
    """Changes columns of a run."""
    with database.write() as connection:
        connection.execute(RUN.update().where(RUN.c.id == run_id).values(**columns))


def update_items(database: Database, ids: list[int], **columns: Any) -> None:
    """Changes columns of run items."""
    with database.write() as connection:
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.id.in_(ids)).values(**columns))


def rows_with(database: Database, table: sa.Table, **columns: Any) -> list[dict[str, Any]]:
    """The rows of a table that have these values, in the order of their keys."""
    query = table.select().where(*(table.c[name] == value for name, value in columns.items()))
    with database.read() as connection:
        rows = connection.execute(query.order_by(*table.primary_key.columns)).mappings()
        return [dict(row) for row in rows]
