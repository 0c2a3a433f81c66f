"""Reading the suppression list: for people, and for exports."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.ledger.answer_tables import SUPPRESSION, SUPPRESSION_CHANGE
from clarion.ledger.database import Database
from clarion.ledger.suppressions import HIDDEN, names_of

PAGE_ROWS = 5_000

_LISTED = (
    SUPPRESSION.c.address,
    SUPPRESSION.c.scope,
    SUPPRESSION.c.reason,
    SUPPRESSION.c.who,
    SUPPRESSION.c.created_at,
)


def suppression_pages(
    database: Database, *, scope: str | None = None, most: int | None = None
) -> Iterator[list[dict[str, Any]]]:
    """The suppression list in pages, by address: address, scope, reason, who, created_at (ISO 8601).

    Args:
        database: The ledger.
        scope: Only of this one; None means all.
        most: At most so many; None means all.
    """
    place = (SUPPRESSION.c.address, SUPPRESSION.c.scope)
    query = sa.select(*_LISTED).where(SUPPRESSION.c.address != HIDDEN).order_by(*place)
    if scope is not None:
        query = query.where(SUPPRESSION.c.scope == scope)
    after, left = ("", ""), most
    while left is None or left > 0:
        size = PAGE_ROWS if left is None else min(left, PAGE_ROWS)
        with database.read() as connection:
            rows = connection.execute(query.where(sa.tuple_(*place) > after).limit(size)).mappings().all()
        if not rows:
            return
        after = (rows[-1]["address"], rows[-1]["scope"])
        left = None if left is None else left - len(rows)
        yield [{**row, "created_at": row["created_at"].isoformat()} for row in rows]


def count_suppressions(database: Database, *, scope: str | None = None) -> int:
    """How many suppressions there are, of one scope or of all."""
    query = sa.select(sa.func.count()).select_from(SUPPRESSION).where(SUPPRESSION.c.address != HIDDEN)
    with database.read() as connection:
        return connection.execute(
            query if scope is None else query.where(SUPPRESSION.c.scope == scope)
        ).scalar_one()


def history_of(connection: Connection, recipient: str, *, most: int = 50) -> list[dict[str, Any]]:
    """Who suppressed an address, or took it off the list: the newest change first."""
    change = SUPPRESSION_CHANGE.c
    columns = (change.change, change.scope, change.reason, change.who, change.changed_at)
    rows = connection.execute(
        sa.select(*columns)
        .where(change.address.in_(names_of(connection, recipient)))
        .order_by(change.id.desc())
        .limit(most)
    )
    return [{**row, "changed_at": row["changed_at"].isoformat()} for row in rows.mappings()]
