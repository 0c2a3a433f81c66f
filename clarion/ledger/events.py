"""Storing what comes back, once each, before anybody is told that it arrived."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Connection

from clarion.addresses import address_of
from clarion.receiving.incoming import IncomingEvent
from clarion.receiving.nesting import shallow

STORED_AT_ONCE = 200
"""Rows of one INSERT, handed to the driver as they are: less than half of what SQLAlchemy's own takes."""

_PLAIN = tuple(
    each.name
    for each in fields(IncomingEvent)
    if each.name not in {"occurred_at", "recipient", "sender", "data"}
)
_COLUMNS = ("uid", "endpoint", "occurred_at", "recipient", "sender", "data", *_PLAIN)
_SQLITE_TIME = "%Y-%m-%d %H:%M:%S.%f"
"""How SQLite's tables hold a time, in UTC."""

SQL_NOW = {"sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')", "postgresql": "clock_timestamp()"}
"""The database's clock, as `utc_now` compiles."""


def store_events(connection: Connection, endpoint: str, events: Sequence[IncomingEvent]) -> list[int]:
    """Stores events as `received`; one that this endpoint has already is left as it is.

    `recipient` and `sender` are stored as `address_of` spells them, so that an index finds them; what is
    nested too deeply in `data` for templates and handlers, as text.

    Args:
        connection: A transaction that may write; the caller commits before it acknowledges.
        endpoint: Where they came in: a redelivery is told by the endpoint and the provider's event id.
        events: In the order of their arrival, which the ids follow.

    Returns:
        The ids of those that are new, in that order.
    """
    return [number for number in store_each(connection, endpoint, events) if number is not None]


def store_each(connection: Connection, endpoint: str, events: Sequence[IncomingEvent]) -> list[int | None]:
    """As `store_events`; for each event its id, or None where it was stored before."""
    numbers: list[int | None] = []
    for begin in range(0, len(events), STORED_AT_ONCE):
        chunk = events[begin : begin + STORED_AT_ONCE]
        rows = [_row(endpoint, event, dialect=connection.dialect.name) for event in chunk]
        values = tuple(value for row in rows for value in row)
        stored = connection.exec_driver_sql(_insert(connection.dialect.name, len(rows)), values)
        by_uid = {uid: number for number, uid in stored}
        numbers += [by_uid.get(row[0]) for row in rows]
    return numbers


def _row(endpoint: str, event: IncomingEvent, *, dialect: str) -> tuple[Any, ...]:
    """The values of `_COLUMNS`."""
    return (
        str(uuid.uuid4()),
        endpoint,
        _time(event.occurred_at, dialect=dialect),
        None if event.recipient is None else address_of(event.recipient),
        None if event.sender is None else address_of(event.sender),
        shallow(orjson.dumps(event.data)).decode(),
        *(getattr(event, name) for name in _PLAIN),
    )


def _time(time: datetime | None, *, dialect: str) -> datetime | str | None:
    if time is None or dialect == "postgresql":
        return time
    return time.astimezone(UTC).strftime(_SQLITE_TIME)


@lru_cache(maxsize=2 * STORED_AT_ONCE)
def _insert(dialect: str, rows: int) -> str:
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    mark = "%s" if dialect == "postgresql" else "?"
    row = f"('received', {SQL_NOW[dialect]}, {', '.join(mark for _ in _COLUMNS)})"
    return (
        f"INSERT INTO event (state, received_at, {names}) VALUES {', '.join([row] * rows)} "  # noqa: S608  # names of ours
        "ON CONFLICT DO NOTHING RETURNING id, uid"
    )
