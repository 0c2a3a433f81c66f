"""Claiming and settling run items: the only statements that move an item after planning.

A claim is one atomic UPDATE that moves `pending -> sending` under the worker's token. A settle changes an
item only while that token still holds it; once the lease ran out and the item was called unknown, the same
token may still turn unknown into the truth, and nobody else's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.errors import RunConflictError
from clarion.ledger.database import Database, utc_now
from clarion.ledger.item_statements import CLAIM, HELD, LOCK, PENDING, SETTLE, due_now
from clarion.ledger.runs import count_changes
from clarion.ledger.tables import ATTEMPT, ENDED_STATUSES, RUN, RUN_ITEM


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The items of one action of a run between two ids, both included."""

    action: str
    first_id: int
    last_id: int


@dataclass(frozen=True, slots=True)
class ClaimedItem:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What becomes of a claimed item.

    `status` is succeeded, failed, unknown, skipped, or pending to be tried again from `due_at` on.
    `outcome` names the call in the attempt log where another try follows; None where no call was made.
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


def _due_in(run_id: int, part: Slice) -> sa.ColumnElement[bool]:
    return sa.and_(
        RUN_ITEM.c.run_id == run_id,
        RUN_ITEM.c.action == part.action,
        RUN_ITEM.c.status == PENDING,
        RUN_ITEM.c.id.between(part.first_id, part.last_id),
    )


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
    rows = connection.execute(
        CLAIM,
        {
            "run": run_id,
            "of_action": part.action,
            "first": part.first_id,
            "last": part.last_id,
            "most": most,
            "token": token,
        },
    )
    return [ClaimedItem(*row) for row in rows]


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
    values = [_settled_values(result) for result in valid]
    connection.execute(SETTLE[connection.dialect.name], {"results": _json(values)})
    attempts = [_attempt_values(run_id, result) for result in valid if result.outcome is not None]
    if attempts:
        connection.execute(_LOG_ATTEMPT, attempts)
    changes = Counter(result.status for result in valid)
    changes.subtract(Counter(held[result.item.id] for result in valid))
    return changes


def lock_items(connection: Connection, ids: Sequence[int]) -> None:
    """Locks items that several tokens of one process settle in one transaction.

    Token by token they would be locked out of order, and someone who ends both leases waits in a circle.
    """
    connection.execute(LOCK, {"ids": ids})


def _held(connection: Connection, *, token: str, ids: Sequence[int]) -> dict[int, str]:
    rows = connection.execute(
        HELD[connection.dialect.name], {"results": _json([{"id": each} for each in ids]), "token": token}
    )
    return {row.id: row.status for row in rows}


_LOG_ATTEMPT = ATTEMPT.insert().values(attempted_at=utc_now())


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def _settled_values(result: Settlement) -> dict[str, Any]:
    due_at = result.due_at
    return {
        "id": result.item.id,
        "status": result.status,
        "reason": result.reason,
        "attempts": result.attempts,
        "epoch": result.epoch,
        "due_at": due_at and due_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        "status_code": result.status_code,
        "invocation_id": _stored(result.invocation_id),
        "error_code": _stored(result.error_code),
        "error": _stored(result.error),
        "latency_ms": result.latency_ms,
    }


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
    where = (
        [RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status == "pending"]
        if part is None
        else [_due_in(run_id, part)]
    )
    at_once = sa.func.sum(sa.case((RUN_ITEM.c.due_at.is_(None), 1), else_=0))
    pending, undated, due_at, now = connection.execute(
        sa.select(
            sa.func.count(), sa.func.coalesce(at_once, 0), sa.func.min(RUN_ITEM.c.due_at), utc_now()
        ).where(*where)
    ).one()
    return OpenWork(pending=pending, due_at=None if undated else due_at, now=now)


def next_slice(connection: Connection, *, run_id: int, action: str, after_id: int, size: int) -> Slice | None:
    """The next items of an action that are due, at most `size` of them; None where there are no more."""
    ids = connection.scalars(
        sa.select(RUN_ITEM.c.id)
        .where(
            RUN_ITEM.c.run_id == run_id,
            RUN_ITEM.c.action == action,
            RUN_ITEM.c.status == "pending",
            RUN_ITEM.c.id > after_id,
            due_now(),
        )
        .order_by(RUN_ITEM.c.id)
        .limit(size)
    ).all()
    return Slice(action=action, first_id=ids[0], last_id=ids[-1]) if ids else None


def expire(database: Database, run_id: int, *, reason: str) -> int:
    """Ends what is still pending, skipped where nothing was ever sent for it, else failed; how many."""
    of_run = (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.status == "pending")
    untouched = (RUN_ITEM.c.attempts == 0) & (RUN_ITEM.c.epoch == 0)
    with database.write() as connection:
        # Whatever call there was, another try was to follow it: the attempt log has it, and its latency.
        ended = RUN_ITEM.update().values(reason=reason, due_at=None, settled_at=utc_now(), latency_ms=None)
        skipped = connection.execute(ended.where(of_run, untouched).values(status="skipped")).rowcount
        failed = connection.execute(ended.where(of_run, ~untouched).values(status="failed")).rowcount
        changes = {"pending": -skipped - failed, "skipped": skipped, "failed": failed}
        count_changes(connection, run_id, changes)
    return skipped + failed


def _text(column: sa.ColumnElement[int]) -> sa.ColumnElement[str]:
    return sa.cast(column, sa.String)


_RUN_UID = sa.select(RUN.c.uid).where(RUN.c.id == RUN_ITEM.c.run_id).scalar_subquery()

_KEY = _RUN_UID + "-" + _text(RUN_ITEM.c.id) + "." + _text(RUN_ITEM.c.step) + "." + _text(RUN_ITEM.c.epoch)
"""The idempotency key of an item's last call, as the sender makes it."""


def retry_items(database: Database, run_id: int, *, reasons: Sequence[str] = ()) -> int:
    """Puts failed items back to pending with all their tries before them; how many.

    The answer was definite, so the next call carries a new idempotency key. The call that failed stays in
    the attempt log.
    """
    chosen = (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.status == "failed")
    if reasons:
        chosen &= RUN_ITEM.c.reason.in_(reasons)
    with database.write() as connection:
        _log_last_calls(connection, chosen)
        again = RUN_ITEM.update().where(chosen).values(
            status="pending", reason=None, attempts=0, epoch=RUN_ITEM.c.epoch + 1, due_at=None,
            claim_token=None, settled_at=None, status_code=None, error_code=None, error=None, latency_ms=None,
        )  # fmt: skip
        count = connection.execute(again).rowcount
        count_changes(connection, run_id, {"failed": -count, "pending": count})
        if count:
            _reopen(connection, run_id)
    return count


Resolution = Literal["resend", "failed", "succeeded"]

RESOLVED = "resolved"
"""The reason of what a person settled by hand."""


def resolve_unknown(database: Database, run_id: int, resolution: Resolution) -> int:
    """Settles what is unknown as a person says; how many items.

    A resend carries the same idempotency key: a provider that did get the call does not do it again, where it
    knows such keys. It counts as another try.

    Raises:
        RunConflictError: The run was stopped: nothing is sent of it any more.
    """
    chosen = (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.status == "unknown")
    status = "pending" if resolution == "resend" else resolution
    with database.write() as connection:
        run = connection.execute(sa.select(RUN.c.uid, RUN.c.status).where(RUN.c.id == run_id)).one()
        if resolution == "resend":
            if run.status == "stopped":
                raise RunConflictError(f"run {run.uid} is stopped", expected="--unknown succeeded or failed")
            _log_last_calls(connection, chosen)
            values: dict[str, Any] = {"reason": None, "due_at": None, "settled_at": None, "latency_ms": None}
            # Something may have been sent for it: never again is it called skipped.
            values["attempts"] = sa.case((RUN_ITEM.c.attempts == 0, 1), else_=RUN_ITEM.c.attempts)
        else:
            values = {"reason": RESOLVED}
        resolved = RUN_ITEM.update().where(chosen).values(status=status, claim_token=None, **values)
        count = connection.execute(resolved).rowcount
        count_changes(connection, run_id, {"unknown": -count, status: count})
        if count and status == "pending" and run.status in ENDED_STATUSES:
            _reopen(connection, run_id)
        unresolved = (RUN.c.id == run_id) & (RUN.c.status == "unresolved") & (RUN.c.unknown == 0)
        connection.execute(RUN.update().where(unresolved).values(status="completed"))
    return count


def _log_last_calls(connection: Connection, chosen: sa.ColumnElement[bool]) -> None:
    """Keeps the last call of items that are tried again; what was settled without one has no latency."""
    columns = (
        "run_id", "step", "action", "recipient", "invocation_id", "status_code", "error_code", "error",
        "latency_ms",
    )  # fmt: skip
    calls = sa.select(
        RUN_ITEM.c.id,
        *(RUN_ITEM.c[name] for name in columns),
        _KEY,
        RUN_ITEM.c.reason,
        RUN_ITEM.c.settled_at,
    ).where(chosen, RUN_ITEM.c.latency_ms.is_not(None))
    connection.execute(
        ATTEMPT.insert().from_select(
            ["run_item_id", *columns, "idempotency_key", "outcome", "attempted_at"], calls.with_for_update()
        )
    )


def _reopen(connection: Connection, run_id: int) -> None:
    """Makes a run that had ended one that can be resumed."""
    reopened = {"status": "interrupted", "control": "run", "ended_at": None}
    connection.execute(RUN.update().where(RUN.c.id == run_id).values(**reopened))
