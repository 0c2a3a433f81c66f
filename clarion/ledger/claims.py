"""Claiming and settling run items: the only statements that move an item after planning.

A claim is one atomic UPDATE that moves `pending -> sending` under the worker's token. A settle changes an
item only while that token still holds it; once the lease ran out and the item was called unknown, the same
token may still turn unknown into the truth, and nobody else's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.fallback import NextStep
from clarion.ledger.database import Database, utc_now
from clarion.ledger.fallbacks import first_free
from clarion.ledger.item_statements import (
    CANDIDATES,
    CLAIM,
    CLAIM_CHOSEN,
    HELD,
    LOCK,
    MARK,
    MOST_SETTLED,
    PENDING,
    RELEASE,
    RELEASED_AT_ONCE,
    SETTLE_ON_POSTGRESQL,
    SETTLED,
    overdue,
    rows_of,
    settle_on_sqlite,
)
from clarion.ledger.runs import count_changes
from clarion.ledger.tables import ATTEMPT, RUN, RUN_ITEM


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The items of one action of a run between two ids, both included."""

    action: str
    first_id: int
    last_id: int


class ClaimedItem(NamedTuple):
    """What the sender needs of an item that it has claimed."""

    id: int
    row: int
    segment: str
    action: str
    recipient: str
    item: str
    step: int
    epoch: int
    attempts: int
    in_doubt: bool = False
    fallback: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of a claimed item.

    `status` is succeeded, failed, unknown, skipped, or pending to be tried again from `due_at` on.
    `outcome` names the call in the attempt log where another try follows; None where no call was made.
    `in_doubt` tells that a call under the same idempotency key is still without a definite answer.
    `fallback` is what a failed item is tried with instead, in order: the first that reaches nobody else's
    recipient counts, and is then what it has `fallen_back_to`.
    """

    item: ClaimedItem
    status: str
    attempts: int
    epoch: int
    reason: str | None = None
    due_at: datetime | None = None
    status_code: int | None = None
    invocation_id: str | None = None
    error_code: str | None = None
    error: str | None = None
    latency_ms: float | None = None
    outcome: str | None = None
    idempotency_key: str = ""
    in_doubt: bool = False
    fallback: tuple[NextStep, ...] = ()
    fallen_back_to: NextStep | None = None


def claim(connection: Connection, *, run_id: int, part: Slice, token: str, most: int) -> list[ClaimedItem]:
    """Moves up to `most` due items of a slice to sending, under `token`; the caller counts them.

    Of a run whose plan is not finished it claims nothing.

    Args:
        connection: An open write transaction.
        run_id: The run.
        part: Where to look.
        token: The worker's.
        most: At least 1.
    """
    where = _looked_at(run_id, part)
    items = _claim(connection, where, token=token, most=most)
    if len(items) < most and connection.execute(RELEASE, where).rowcount:
        items += _claim(connection, where, token=token, most=most - len(items))
    return items


def _claim(connection: Connection, where: dict[str, Any], *, token: str, most: int) -> list[ClaimedItem]:
    named = {**where, "most": most}
    if connection.dialect.name == "postgresql":
        return [ClaimedItem._make(row) for row in rows_of(connection, CLAIM, **named, token=token)]
    rows = rows_of(connection, CLAIM, **named)
    if rows:
        connection.execute(MARK, {"ids": _json([row[0] for row in rows]), "token": token})
    return [ClaimedItem._make(row) for row in rows]


def due_items(connection: Connection, *, run_id: int, part: Slice, most: int) -> list[tuple[int, str]]:
    """Id and limit keys (empty where it has none) of what `claim` would take, in the order of the ids."""
    where = _looked_at(run_id, part)
    rows = connection.execute(CANDIDATES, {**where, "most": most}).all()
    if len(rows) < most and connection.execute(RELEASE, where).rowcount:
        rows = connection.execute(CANDIDATES, {**where, "most": most}).all()
    return [(item_id, limit_keys or "") for item_id, limit_keys in rows]


def claim_chosen(connection: Connection, *, ids: Sequence[int], token: str) -> list[ClaimedItem]:
    """Moves those of the items that are still pending to sending, under `token`; the caller counts them."""
    chosen = {"ids": _json(ids), "token": token}
    rows = connection.execute(CLAIM_CHOSEN[connection.dialect.name], chosen)
    return [ClaimedItem._make(row) for row in rows]


def _looked_at(run_id: int, part: Slice) -> dict[str, Any]:
    return {"run": run_id, "of_action": part.action, "first": part.first_id, "last": part.last_id}


def settle(connection: Connection, *, run_id: int, token: str, results: Sequence[Settlement]) -> Counter[str]:
    """Records what became of claimed items, and the calls that another try follows.

    Args:
        connection: An open write transaction.
        run_id: The run.
        token: The worker's.
        results: At most one an item.

    Returns:
        The changes of the run's counters. What this token no longer holds has not changed.
    """
    held = _held(connection, token=token, ids=[result.item.id for result in results])
    valid = [
        result
        for result in results
        if held.get(result.item.id) == "sending"
        or (held.get(result.item.id) == "unknown" and result.status in {"succeeded", "failed"})
    ]
    if not valid:
        return Counter()
    # What comes late, to an item that was unknown by then, is recorded; the run may have ended on it.
    valid = [
        _fallen_back(connection, run_id, result)
        if result.fallback and held[result.item.id] == "sending"
        else result
        for result in valid
    ]
    _store(connection, [_settled_values(result) for result in valid])
    attempts = [_attempt_values(run_id, result) for result in valid if result.outcome is not None]
    if attempts:
        connection.execute(_LOG_ATTEMPT, attempts)
    changes = Counter(result.status for result in valid)
    changes.subtract(Counter(held[result.item.id] for result in valid))
    return changes


def _store(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Gives items what was settled of them: values in the order of `SETTLED`."""
    if connection.dialect.name == "postgresql":
        named = [dict(zip(_SETTLED_NAMES, row, strict=True)) for row in rows]
        connection.execute(SETTLE_ON_POSTGRESQL, {"results": _json(named)})
        return
    for start in range(0, len(rows), MOST_SETTLED):
        some = rows[start : start + MOST_SETTLED]
        connection.exec_driver_sql(settle_on_sqlite(len(some)), tuple(chain.from_iterable(some)))


_SETTLED_NAMES = tuple(column.name for column in SETTLED)


def _fallen_back(connection: Connection, run_id: int, result: Settlement) -> Settlement:
    """The item at the first of its next steps that is free, with all tries before it; else as it failed."""
    step = first_free(
        connection, run_id=run_id, item_id=result.item.id, steps=result.fallback, record=result.item.fallback
    )
    if step is None:
        return result
    return replace(
        result,
        status="pending",
        reason=None,
        attempts=0,
        epoch=0,
        outcome=result.reason if result.idempotency_key else None,
        fallen_back_to=step,
    )


def lock_items(connection: Connection, ids: Sequence[int]) -> None:
    """Locks items that several tokens of one process settle in one transaction.

    Token by token they would be locked out of order, and someone who ends both leases waits in a circle.
    """
    connection.execute(LOCK, {"ids": ids})


def _held(connection: Connection, *, token: str, ids: Sequence[int]) -> dict[int, str]:
    return dict(rows_of(connection, HELD, ids=_json(ids), token=token))


_LOG_ATTEMPT = ATTEMPT.insert().values(attempted_at=utc_now())


def _json(rows: Sequence[Any]) -> str:
    return orjson.dumps(rows).decode()


def _settled_values(result: Settlement) -> tuple[Any, ...]:
    """The values of `SETTLED`."""
    due_at, current = result.due_at, result.fallen_back_to or result.item
    return (
        result.item.id,
        result.status,
        result.reason,
        result.attempts,
        result.epoch,
        due_at and due_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        result.status_code,
        _stored(result.invocation_id),
        _stored(result.error_code),
        _stored(result.error),
        result.latency_ms,
        result.in_doubt,
        current.step,
        current.action,
        current.recipient,
    )


def _stored(text: str | None) -> str | None:
    """What came back from outside, as the databases can hold it: without NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if text else text


def _attempt_values(run_id: int, result: Settlement) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "run_item_id": result.item.id,
        "step": result.item.step,
        "action": result.item.action,
        "recipient": result.item.recipient,
        "idempotency_key": result.idempotency_key,
        "invocation_id": _stored(result.invocation_id),
        "outcome": result.outcome,
        "status_code": result.status_code,
        "error_code": _stored(result.error_code),
        "error": _stored(result.error),
        "latency_ms": result.latency_ms,
    }


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What is left: how much is pending, and when the first of it is due (None: at once)."""

    pending: int
    due_at: datetime | None
    now: datetime

    @property
    def due_in_seconds(self) -> float:
        """Seconds until something is due, 0 where something is."""
        return 0.0 if self.due_at is None else max(0.0, (self.due_at - self.now).total_seconds())


def open_work(connection: Connection, *, run_id: int, part: Slice | None = None) -> OpenWork:
    """What of a slice, or of the whole run, is pending."""
    where = [RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status == PENDING]
    if part is not None:
        where += [RUN_ITEM.c.action == part.action, RUN_ITEM.c.id.between(part.first_id, part.last_id)]
    at_once = sa.select(RUN_ITEM.c.id).where(*where, RUN_ITEM.c.due_at.is_(None))
    first = sa.select(sa.func.min(RUN_ITEM.c.due_at)).where(*where, RUN_ITEM.c.due_at.is_not(None))
    now = connection.execute(sa.select(utc_now())).scalar_one()
    if connection.execute(at_once.limit(1)).first() is not None:
        due_at = None
    else:
        due_at = connection.execute(first).scalar_one()
    if part is None:  # the counter knows, where a million items may wait
        pending = sa.select(RUN.c.pending).where(RUN.c.id == run_id)
    else:
        counts = [sa.select(sa.func.count()).where(*where, only).scalar_subquery() for only in _TIMED]
        pending = sa.select(counts[0] + counts[1])
    return OpenWork(pending=connection.execute(pending).scalar_one(), due_at=due_at, now=now)


_TIMED = (RUN_ITEM.c.due_at.is_(None), RUN_ITEM.c.due_at.is_not(None))
"""Each of these has an index of its own."""


def release_due(database: Database, run_id: int) -> int:
    """Makes what of a run was to wait and is due by now claimable, at most 10,000 items; how many."""
    due = sa.select(RUN_ITEM.c.id).where(overdue(run_id)).order_by(RUN_ITEM.c.due_at)
    with database.read() as connection:
        if connection.execute(due.limit(1)).first() is None:
            return 0
    some = due.limit(RELEASED_AT_ONCE).with_for_update(skip_locked=True)
    with database.write() as connection:
        released = RUN_ITEM.update().where(RUN_ITEM.c.id.in_(some)).values(due_at=None)
        return connection.execute(released).rowcount


def next_slice(connection: Connection, *, run_id: int, action: str, after_id: int, size: int) -> Slice | None:
    """The next items of an action that may leave at once, at most `size`; None where there are no more.

    What was to wait is among them once `release_due` has found it due.
    """
    ids = connection.scalars(
        sa.select(RUN_ITEM.c.id)
        .where(
            RUN_ITEM.c.run_id == run_id,
            RUN_ITEM.c.action == action,
            RUN_ITEM.c.status == PENDING,
            RUN_ITEM.c.due_at.is_(None),
            RUN_ITEM.c.id > after_id,
        )
        .order_by(RUN_ITEM.c.id)
        .limit(size)
    ).all()
    return Slice(action=action, first_id=ids[0], last_id=ids[-1]) if ids else None


def expire(database: Database, run_id: int, *, reason: str) -> int:
    """Ends what is still pending; how many.

    It is skipped where nothing was ever sent for it, unknown where a call was never answered, else failed.
    """
    of_run = (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.status == "pending")
    with database.write() as connection:
        return end_pending(connection, run_id, of_run, reason=reason)


def end_pending(connection: Connection, run_id: int, which: sa.ColumnElement[bool], *, reason: str) -> int:
    """Ends pending items of a run as `expire` does, in an open write transaction; how many."""
    untouched = (RUN_ITEM.c.attempts == 0) & (RUN_ITEM.c.epoch == 0) & (RUN_ITEM.c.step == 0)
    # Whatever call there was, another try was to follow it: the attempt log has it, and its latency.
    ended = RUN_ITEM.update().values(reason=reason, due_at=None, settled_at=utc_now(), latency_ms=None)
    ends = {"unknown": RUN_ITEM.c.in_doubt, "skipped": untouched, "failed": sa.true()}
    changes = {
        status: connection.execute(ended.where(which, of_status).values(status=status)).rowcount
        for status, of_status in ends.items()  # in this order: each takes what is left
    }
    total = sum(changes.values())
    count_changes(connection, run_id, {**changes, "pending": -total})
    return total
