"""Rate limits that every worker shares, kept in the database and given out with the claims.

A limit is one number: the moment up to which permits are given out. A permit is a place in that line, one
every 1/tps seconds; whoever takes places moves the moment on in the transaction that claims the items. So
several workers never exceed the limit together, and a restart forgets nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from clarion.ledger.database import utc_now
from clarion.ledger.tables import RATE_LIMIT

AHEAD_SECONDS = 1.0
"""How far ahead of their time permits are given out: what is claimed leaves within a second."""


@dataclass(frozen=True, slots=True)
class Permits:
    """Places in the line: seconds from now until each, and until the next one where there is none."""

    delays: Sequence[float]
    wait_seconds: float


def take_permits(connection: Connection, *, key: str, tps: float | None, most: int) -> Permits:
    """Takes up to `most` permits that fall due within a second.

    Args:
        connection: An open write transaction.
        key: The limit.
        tps: Permits a second; None means that only a hold limits.
        most: At least 1.
    """
    now, next_at, held_until = _state(connection, key)
    start = max(now, held_until, next_at if tps else now)
    if start - now > AHEAD_SECONDS or (held_until > now and tps is None):
        return Permits((), start - now)
    if tps is None:
        return Permits((0.0,) * most, 0.0)
    room = int((now + AHEAD_SECONDS - start) * tps) + 1
    count = min(most, room)
    _store(connection, key, next_at=start + count / tps)
    return Permits(tuple(start - now + place / tps for place in range(count)), 0.0)


def give_back(connection: Connection, *, key: str, tps: float, count: int) -> None:
    """Returns the last `count` permits that the same transaction took."""
    connection.execute(
        RATE_LIMIT.update().where(RATE_LIMIT.c.key == key).values(next_at=RATE_LIMIT.c.next_at - count / tps)
    )


def hold(connection: Connection, *, key: str, seconds: float) -> None:
    """Holds everyone who shares the limit back for so long; a longer hold stays."""
    now, _, held_until = _state(connection, key)
    _store(connection, key, held_until=max(held_until, now + seconds))


def _state(connection: Connection, key: str) -> tuple[float, float, float]:
    """The database's time and the limit's two moments, in seconds since the epoch; locks the limit."""
    row = connection.execute(_LOCK, {"limit": key}).one_or_none()
    if row is None:
        insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(RATE_LIMIT)
        connection.execute(insert.values(key=key, next_at=0, held_until=0).on_conflict_do_nothing())
        row = connection.execute(_LOCK, {"limit": key}).one()
    now = connection.execute(_NOW).scalar_one()  # after the wait for the lock
    return now.timestamp(), row.next_at, row.held_until


# Every claim runs them: to put them together anew takes longer than that.
_LOCK = (
    sa.select(RATE_LIMIT.c.next_at, RATE_LIMIT.c.held_until)
    .where(RATE_LIMIT.c.key == sa.bindparam("limit"))
    .with_for_update()
)
_NOW = sa.select(utc_now())


def _store(connection: Connection, key: str, **moments: float) -> None:
    connection.execute(RATE_LIMIT.update().where(RATE_LIMIT.c.key == key).values(**moments))
