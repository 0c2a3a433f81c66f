"""What the ledger tells of a run's progress beyond its counts: what is pending by action, what is held."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from clarion.ledger.claims import open_work
from clarion.ledger.database import Database, utc_now
from clarion.ledger.item_statements import PENDING
from clarion.ledger.tables import RATE_LIMIT, RUN_ITEM


@dataclass(frozen=True, kw_only=True)
class Due:
    """The first pending item that is due later; `at` is None where one is due now, or none is pending.

    `tried` tells a back-off from an item that its window or its own time holds.
    """

    at: datetime | None
    tried: bool
    now: datetime


def pending_by_action(database: Database, run_id: int) -> dict[str, int]:
    """How many items of each action are pending; those with none are left out."""
    pending = (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.status == "pending")
    query = sa.select(RUN_ITEM.c.action, sa.func.count()).where(pending).group_by(RUN_ITEM.c.action)
    with database.read() as connection:
        return {action: count for action, count in connection.execute(query) if action is not None}


def first_due(database: Database, run_id: int) -> Due:
    """When the first pending item is due, by the database's clock."""
    pending = (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.status == PENDING)
    with database.read() as connection:
        work = open_work(connection, run_id=run_id)
        if work.due_at is None or work.due_at <= work.now:
            return Due(at=None, tried=False, now=work.now)
        first = sa.select(RUN_ITEM.c.attempts > 0).where(pending, RUN_ITEM.c.due_at == work.due_at)
        tried = connection.execute(first.limit(1)).scalar_one_or_none()
    return Due(at=work.due_at, tried=bool(tried), now=work.now)


def held_seconds(database: Database, keys: Iterable[str]) -> dict[str, float]:
    """For how many seconds more the provider holds each limit back; those that it does not are left out."""
    wanted = RATE_LIMIT.c.key.in_(list(keys)) & (RATE_LIMIT.c.held_until > 0)
    with database.read() as connection:
        now = connection.execute(sa.select(utc_now())).scalar_one().timestamp()
        rows = connection.execute(sa.select(RATE_LIMIT.c.key, RATE_LIMIT.c.held_until).where(wanted))
        return {row.key: row.held_until - now for row in rows if row.held_until > now}
