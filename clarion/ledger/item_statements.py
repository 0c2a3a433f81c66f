"""The statements of claiming and settling, put together once.

Every message passes them, so each is as short as it was measured to get, at 40 items a transaction on SQLite:

* Built once. Built anew each time, a claim takes 600 us more than the 250 of SQLite.
* Statuses are written out. As parameters, SQLite would parse the statement anew each time it is run, because
  its partial indexes may serve one value and not another: 90 us.
* A claim looks at nothing but what may leave at once, which has no `due_at`; the index `run_item_due` has
  that alone. What was to wait is brought to that state, in bulk, when its time has come. With 300,000 items
  held and a thousand due among them, each claim would else step over the held ones, for 75 ms.
* Results travel as one JSON text, so that one statement settles them all: 10 us an item instead of 16, and
  one wait for the interpreter's lock, which the sender's thread holds most of the time, instead of one each.
"""

from typing import Any

import sqlalchemy as sa

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

_SETTLED = (
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
    ids = sa.select(_results(dialect).c.id)
    return (
        sa.select(RUN_ITEM.c.id)
        .where(RUN_ITEM.c.id.in_(ids), RUN_ITEM.c.status == PENDING, RUN_ITEM.c.due_at.is_(None))
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


def _results(dialect: str, *columns: sa.ColumnClause[Any]) -> sa.FromClause:
    """The rows of the parameter `results`, a JSON list of mappings: `id`, and the columns."""
    columns = (sa.column("id", sa.BigInteger), *columns)
    text = sa.bindparam("results", type_=sa.Text)
    if dialect == "postgresql":
        rows = sa.func.json_to_recordset(sa.cast(text, sa.JSON))
        return rows.table_valued(*columns, name="result").render_derived(with_types=True)
    value = sa.func.json_each(text).table_valued("value").c.value
    fields = [sa.func.json_extract(value, sa.literal_column(f"'$.{column.name}'")) for column in columns]
    named = [field.label(column.name) for field, column in zip(fields, columns, strict=True)]
    return sa.select(*named).subquery("result")


def _held(dialect: str) -> sa.Executable:
    result = _results(dialect)
    return (
        sa.select(RUN_ITEM.c.id, RUN_ITEM.c.status)
        .where(
            RUN_ITEM.c.id.in_(sa.select(result.c.id)),
            RUN_ITEM.c.claim_token == sa.bindparam("token"),
            sa.or_(RUN_ITEM.c.status == SENDING, RUN_ITEM.c.status == UNKNOWN),
        )
        .order_by(RUN_ITEM.c.id)  # everyone locks in one order: nobody waits in a circle
        .with_for_update()
    )


def _settle(dialect: str) -> sa.Executable:
    result = _results(dialect, *_SETTLED)
    values: dict[str, Any] = {column.name: result.c[column.name] for column in _SETTLED}
    if dialect == "postgresql":
        values["due_at"] = sa.func.timezone("UTC", result.c.due_at)
    return (
        RUN_ITEM.update()
        .where(RUN_ITEM.c.id == result.c.id)
        .values(
            **values,
            claim_token=sa.case((result.c.status == PENDING, None), else_=RUN_ITEM.c.claim_token),
            settled_at=utc_now(),
        )
    )


CLAIM = _claim(_due(RUN_ITEM.c.id))
"""Moves `most` pending items of `run` and `of_action`, from `first` to `last`, to sending under `token`."""

CANDIDATES = _due(RUN_ITEM.c.id, RUN_ITEM.c.limit_keys)
"""Id and limit keys of up to `most` pending items that `CLAIM` would take, in the order of their ids."""

CLAIM_CHOSEN = {dialect: _claim(_chosen(dialect)) for dialect in DIALECTS}
"""By dialect: moves those of `results` that are pending to sending under `token`."""

RELEASE = _release()
"""Makes what of a slice was to wait and is due by now claimable: `run`, `first`, `last`."""

HELD = {dialect: _held(dialect) for dialect in DIALECTS}
"""By dialect: id and status of those of `results` that `token` holds, or held when they became unknown."""

LOCK = (
    sa.select(RUN_ITEM.c.id)
    .where(RUN_ITEM.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(RUN_ITEM.c.id)
    .with_for_update()
)
"""Locks items in the order in which everyone does."""

SETTLE = {dialect: _settle(dialect) for dialect in DIALECTS}
"""By dialect: gives the items of `results` their new values; `due_at` is text, in UTC."""
