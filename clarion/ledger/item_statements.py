"""The statements of claiming and settling, put together once.

Every message passes them, so each is as short as it was measured to get, at 40 items a transaction on SQLite:

* Built once. Built anew each time, a claim takes 600 us more than the 250 of SQLite.
* Statuses are written out. As parameters, SQLite would parse the statement anew each time it is run, because
  its partial indexes may serve one value and not another: 90 us.
* A claim looks at nothing but what may leave at once, which has no `due_at`; the index `run_item_due` has
  that alone. What was to wait is brought to that state, in bulk, when its time has come. With 300,000 items
  held and a thousand due among them, each claim would else step over the held ones, for 75 ms.
* One statement settles many results: with one each there would be as many waits for the interpreter's lock,
  which the sender's thread holds most of the time. SQLite takes them as the rows of a VALUES, whose numbers
  and texts are bound as they are: 18 us an item, where taking them out of one JSON text took 30.
* SQLite's rows come as one JSON text for the same reason: Python's driver lets go of the interpreter's lock
  for each row that it fetches, and waits 25 us to get it back.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from clarion.ledger.database import utc_now
from clarion.ledger.tables import RUN, RUN_ITEM

DIALECTS = ("sqlite", "postgresql")

PENDING, SENDING, UNKNOWN = (
    sa.literal_column(f"'{status}'", sa.Text) for status in ("pending", "sending", "unknown")
)

CLAIMED = (
    RUN_ITEM.c.id,
    RUN_ITEM.c.row,
    RUN_ITEM.c.segment,
    RUN_ITEM.c.action,
    RUN_ITEM.c.recipient,
    RUN_ITEM.c.item,
    RUN_ITEM.c.step,
    RUN_ITEM.c.epoch,
    RUN_ITEM.c.attempts,
    RUN_ITEM.c.in_doubt,
    RUN_ITEM.c.fallback,
    RUN_ITEM.c.timezone,
)
"""What a claim returns of an item, in this order."""

SETTLED = (
    sa.column("id", sa.BigInteger),
    sa.column("status", sa.Text),
    sa.column("reason", sa.Text),
    sa.column("attempts", sa.Integer),
    sa.column("epoch", sa.Integer),
    sa.column("due_at", sa.DateTime),
    sa.column("status_code", sa.Integer),
    sa.column("invocation_id", sa.Text),
    sa.column("error_code", sa.Text),
    sa.column("error", sa.Text),
    sa.column("latency_ms", sa.Double),
    sa.column("in_doubt", sa.Boolean),
    sa.column("step", sa.Integer),
    sa.column("action", sa.Text),
    sa.column("recipient", sa.Text),
)
"""What a result gives an item; `due_at` is text, in UTC."""

MOST_SETTLED = 32_000 // len(SETTLED)
"""Results of one statement: SQLite takes 32,766 parameters."""


def _due(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Up to `most` of the items of a slice that may be claimed, in the order of their ids."""
    planned = sa.exists().where(RUN.c.id == sa.bindparam("run"), RUN.c.planned_at.is_not(None))
    return (
        sa.select(*columns)
        .where(
            RUN_ITEM.c.run_id == sa.bindparam("run"),
            RUN_ITEM.c.action == sa.bindparam("of_action"),
            RUN_ITEM.c.status == PENDING,
            RUN_ITEM.c.id.between(sa.bindparam("first"), sa.bindparam("last")),
            RUN_ITEM.c.due_at.is_(None),
            planned,
        )
        .order_by(RUN_ITEM.c.id)
        .limit(sa.bindparam("most"))
    )


def _claim(items: sa.Select[Any]) -> sa.Executable:
    # As a plain subquery PostgreSQL may run it again for each row, past the limit.
    wanted = items.with_for_update(skip_locked=True).cte("wanted")
    return (
        RUN_ITEM.update()
        .where(RUN_ITEM.c.id.in_(sa.select(wanted.c.id)), RUN_ITEM.c.status == PENDING)
        .values(status=SENDING, claim_token=sa.bindparam("token"), claimed_at=utc_now(), latency_ms=None)
        .returning(*CLAIMED)
    )


def _chosen(dialect: str) -> sa.Select[Any]:
    return (
        sa.select(RUN_ITEM.c.id)
        .where(RUN_ITEM.c.id.in_(_ids(dialect)), RUN_ITEM.c.status == PENDING, RUN_ITEM.c.due_at.is_(None))
        .order_by(RUN_ITEM.c.id)
    )


RELEASED_AT_ONCE = 10_000


def overdue(run_id: Any) -> sa.ColumnElement[bool]:
    """Whether an item of a run was to wait and is due by now; the index `run_item_later` has these first."""
    return sa.and_(
        RUN_ITEM.c.run_id == run_id,
        RUN_ITEM.c.status == PENDING,
        RUN_ITEM.c.due_at.is_not(None),
        # A subquery: PostgreSQL would ask the clock anew for each row, and so could use no index.
        RUN_ITEM.c.due_at <= sa.select(utc_now()).scalar_subquery(),
    )


def _release() -> sa.Executable:
    due = (
        sa.select(RUN_ITEM.c.id)
        .where(
            overdue(sa.bindparam("run")),
            # Not the id as such: few are overdue, but a slice may lie among hundreds of thousands that wait.
            (RUN_ITEM.c.id + 0).between(sa.bindparam("first"), sa.bindparam("last")),
        )
        .order_by(RUN_ITEM.c.due_at)  # else PostgreSQL takes a third of the table for overdue, and scans it
        .limit(RELEASED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    return RUN_ITEM.update().where(RUN_ITEM.c.id.in_(due)).values(due_at=None)


def _ids(dialect: str) -> sa.Select[Any]:
    """The numbers of the parameter `ids`, a JSON list."""
    text = sa.bindparam("ids", type_=sa.Text)
    if dialect == "postgresql":
        each = sa.func.json_array_elements_text(sa.cast(text, sa.JSON)).column_valued("each")
        return sa.select(sa.cast(each, sa.BigInteger))
    return sa.select(sa.func.json_each(text).table_valued("value").c.value)


def _held(dialect: str) -> sa.Select[Any]:
    return (
        sa.select(RUN_ITEM.c.id, RUN_ITEM.c.status)
        .where(
            RUN_ITEM.c.id.in_(_ids(dialect)),
            RUN_ITEM.c.claim_token == sa.bindparam("token"),
            sa.or_(RUN_ITEM.c.status == SENDING, RUN_ITEM.c.status == UNKNOWN),
        )
        .order_by(RUN_ITEM.c.id)  # everyone locks in one order: nobody waits in a circle
        .with_for_update()
    )


def _settle_from(result: sa.FromClause, **values: Any) -> sa.Update:
    settled: dict[str, Any] = {column.name: result.c[column.name] for column in SETTLED[1:]}
    return (
        RUN_ITEM.update()
        .where(RUN_ITEM.c.id == result.c.id)
        .values(
            **(settled | values),
            claim_token=sa.case((result.c.status == PENDING, None), else_=RUN_ITEM.c.claim_token),
            settled_at=utc_now(),
        )
    )


def _settle_on_postgresql() -> sa.Update:
    rows = sa.func.json_to_recordset(sa.cast(sa.bindparam("results", type_=sa.Text), sa.JSON))
    result = rows.table_valued(*SETTLED, name="result").render_derived(with_types=True)
    return _settle_from(result, due_at=sa.func.timezone("UTC", result.c.due_at))


@lru_cache(maxsize=MOST_SETTLED)
def settle_on_sqlite(count: int) -> str:
    """Gives `count` items their new values: a row of parameters each, in the order of `SETTLED`."""
    row = f"({', '.join('?' * len(SETTLED))})"
    named = ", ".join(f"column{number} AS {column.name}" for number, column in enumerate(SETTLED, 1))
    rows = sa.text(f"SELECT {named} FROM (VALUES {', '.join([row] * count)})")  # noqa: S608  # no input in it
    result = rows.columns(*SETTLED).subquery("result")
    return str(_settle_from(result).compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))


def rows_of(connection: Connection, statements: Mapping[str, sa.Executable], **values: Any) -> list[Any]:
    """The rows of a statement, by dialect; of SQLite they are lists, and booleans are numbers."""
    result = connection.execute(statements[connection.dialect.name], values)
    if connection.dialect.name == "postgresql":
        return list(result.all())
    return orjson.loads(result.scalar_one())


def _at_once(rows: sa.Select[Any]) -> sa.Select[Any]:
    """On SQLite: the rows as one JSON text."""
    inner = rows.subquery()
    return sa.select(sa.func.json_group_array(sa.func.json_array(*inner.c)))


CLAIM = {"postgresql": _claim(_due(RUN_ITEM.c.id)), "sqlite": _at_once(_due(*CLAIMED))}
"""Moves `most` pending items of `run` and `of_action`, from `first` to `last`, to sending under `token`.

On SQLite, where the transaction locks all, it only reads them, and `MARK` moves them.
"""

MARK = (
    RUN_ITEM.update()
    .where(RUN_ITEM.c.id.in_(_ids("sqlite")))
    .values(status=SENDING, claim_token=sa.bindparam("token"), claimed_at=utc_now(), latency_ms=None)
)
"""Moves those of `ids` to sending under `token`."""

CANDIDATES = _due(RUN_ITEM.c.id, RUN_ITEM.c.limit_keys)
"""Id and limit keys of up to `most` pending items that `CLAIM` would take, in the order of their ids."""

CLAIM_CHOSEN = {dialect: _claim(_chosen(dialect)) for dialect in DIALECTS}
"""By dialect: moves those of `ids` that are pending to sending under `token`."""

RELEASE = _release()
"""Makes what of a slice was to wait and is due by now claimable: `run`, `first`, `last`."""

HELD = {"postgresql": _held("postgresql"), "sqlite": _at_once(_held("sqlite"))}
"""By dialect: id and status of those of `ids` that `token` holds, or held when they became unknown."""

LOCK = (
    sa.select(RUN_ITEM.c.id)
    .where(RUN_ITEM.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(RUN_ITEM.c.id)
    .with_for_update()
)
"""Locks items in the order in which everyone does."""

SETTLE_ON_POSTGRESQL = _settle_on_postgresql()
"""Gives the items of `results`, a JSON list of mappings, their new values."""
