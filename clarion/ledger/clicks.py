"""Storing who followed which link, and finding what the links of a run lead to."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.addresses import address_of
from clarion.ledger.database import Database
from clarion.ledger.tables import RUN

LINKS_ENDPOINT = "links"
BY_LINK = "link"
"""How events are attributed that a link of a message brought: by the run item in its token."""

Visitor = Literal["head", "prefetch", "scanner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A link that was followed; `visitor` None means by a person, `step` is which of the item sent it.

    `uid` is its event's: by that it is stored once, however often.
    """

    run_id: int
    run_item_id: int
    name: str
    visitor: Visitor | None
    occurred_at: datetime
    user_agent: str
    step: int = 0
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))


def store_clicks(connection: Connection, clicks: Sequence[Click]) -> None:
    """Stores clicks as events, in their order; one that is there already stays as it is.

    A machine's is stored as `handled`, its `status` tells which kind it was: no handler takes it for a
    person's. One whose run item is not in this ledger keeps the name of its link alone. Recipient and action
    are those of the message that had the link, also where the item is at a later step by now.

    Two statements, however many clicks: each gives up the interpreter's lock, and a busy event loop keeps it
    for 5 ms. So a click costs 40 us, where 64 share a transaction.

    Args:
        connection: An open write transaction.
        clicks: Any number.
    """
    dialect = connection.dialect.name
    items = _items(connection, {(click.run_item_id, click.step) for click in clicks})
    rows = orjson.dumps(
        [_row(click, items.get((click.run_item_id, click.step))) for click in clicks]
    ).decode()
    connection.execute(_INSERTS[dialect], {"rows": rows})


def _items(
    connection: Connection, messages: Collection[tuple[int, int]]
) -> Mapping[tuple[int, int], Row[Any]]:
    """By id and step, each that is there."""
    given = orjson.dumps([{"id": number, "step": step} for number, step in sorted(messages)]).decode()
    found = connection.execute(_ITEMS[connection.dialect.name], {"messages": given})
    return {(row.id, row.sent_step): row for row in found}


def _row(click: Click, item: Row[Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "uid": click.uid,
        "occurred_at": click.occurred_at.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "name": click.name,
        "status": click.visitor,
        "data": orjson.dumps({"user_agent": click.user_agent}).decode(),
    }
    if item is None or item.run_id != click.run_id:
        return row
    address = address_of(item.recipient) if item.recipient else None  # empty in the log of calls: forgotten
    return row | {
        "run_id": item.run_id,
        "run_item_id": item.id,
        "attributed_by": BY_LINK,
        "action": item.action,
        "src_ctx": item.segment,
        "recipient": address,
    }


_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "uid": "text",
        "occurred_at": "timestamp",
        "name": "text",
        "status": "text",
        "data": "text",
        "run_id": "integer",
        "run_item_id": "bigint",
        "attributed_by": "text",
        "action": "text",
        "src_ctx": "text",
        "recipient": "text",
    }
)
"""What a click's row has, in PostgreSQL's words."""


def _insert(rows: str, *, now: str, values: Sequence[str]) -> sa.TextClause:
    state = "CASE WHEN status IS NULL THEN 'received' ELSE 'handled' END"
    handled_at = f"CASE WHEN status IS NULL THEN NULL ELSE {now} END"
    names = ", ".join(("type", "endpoint", "received_at", "state", "handled_at", *_COLUMNS))
    given = ", ".join(("'click'", f"'{LINKS_ENDPOINT}'", now, state, handled_at, *values))
    chosen = f"SELECT {given} FROM {rows} WHERE true"  # noqa: S608  # names of ours
    return sa.text(f"INSERT INTO event ({names}) {chosen} ON CONFLICT (uid) DO NOTHING")


_EXTRACTED = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in _COLUMNS)
_RECORD = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
_INSERTS = {
    "sqlite": _insert(
        f"(SELECT {_EXTRACTED} FROM json_each(:rows))",  # noqa: S608  # names of ours
        now="strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        values=tuple(_COLUMNS),
    ),
    "postgresql": _insert(
        f"json_to_recordset(CAST(:rows AS json)) AS given ({_RECORD})",
        now="clock_timestamp()",
        values=[f"{name} AT TIME ZONE 'UTC'" if name == "occurred_at" else name for name in _COLUMNS],
    ),
}


def _of_messages(given: str) -> sa.TextClause:
    """The run items of messages; what a step before the item's own sent stands in its last attempt."""
    sent = {
        name: f"CASE WHEN given.step = i.step THEN i.{name} ELSE (SELECT a.{name} FROM attempt a "  # noqa: S608
        f"WHERE a.run_item_id = i.id AND a.step = given.step ORDER BY a.id DESC LIMIT 1) END AS {name}"
        for name in ("recipient", "action")
    }
    columns = f"i.id, given.step AS sent_step, i.run_id, i.segment, {', '.join(sent.values())}"
    return sa.text(f"SELECT {columns} FROM {given} JOIN run_item i ON i.id = given.id")  # noqa: S608  # names of ours


_ITEMS = {
    "sqlite": _of_messages(
        "(SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.step') AS step "
        "FROM json_each(:messages)) AS given"
    ),
    "postgresql": _of_messages(
        "json_to_recordset(CAST(:messages AS json)) AS given (id bigint, step bigint)"
    ),
}


def run_document(database: Database, run_id: int) -> tuple[str, str] | None:
    """The uid of a run and its job as the run keeps it; None where this ledger has no such run."""
    query = sa.select(RUN.c.uid, RUN.c.job).where(RUN.c.id == run_id)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else (row.uid, row.job)
