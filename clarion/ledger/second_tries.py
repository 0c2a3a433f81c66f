"""What a person asks to be tried again, or settles by hand."""

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.errors import RunConflictError
from clarion.ledger.arrivals import HAS_ARRIVED, NO_DELIVERY
from clarion.ledger.database import Database
from clarion.ledger.runs import count_changes
from clarion.ledger.tables import ATTEMPT, ENDED_STATUSES, RUN, RUN_ITEM


def _text(column: sa.ColumnElement[int]) -> sa.ColumnElement[str]:
    return sa.cast(column, sa.String)


_KNOWN = RUN_ITEM.c.recipient.is_not(None)
"""Whoever was forgotten is never sent to again."""

_RUN_UID = sa.select(RUN.c.uid).where(RUN.c.id == RUN_ITEM.c.run_id).scalar_subquery()

_KEY = _RUN_UID + "-" + _text(RUN_ITEM.c.id) + "." + _text(RUN_ITEM.c.step) + "." + _text(RUN_ITEM.c.epoch)
"""The idempotency key of an item's last call, as the sender makes it."""


def retry_items(database: Database, run_id: int, *, reasons: Sequence[str] = ()) -> int:
    """Puts failed items back to pending with all their tries before them; how many.

    The answer was definite, so the next call carries a new idempotency key. The call that failed stays in
    the attempt log. What a receipt says has arrived stays failed, whatever the answer was.
    """
    chosen = (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.status == "failed") & _KNOWN & ~HAS_ARRIVED
    if reasons:
        chosen &= RUN_ITEM.c.reason.in_(reasons)
    with database.write() as connection:
        log_last_calls(connection, chosen)
        again = RUN_ITEM.update().where(chosen).values(
            status="pending", reason=None, attempts=0, epoch=RUN_ITEM.c.epoch + 1, due_at=None,
            claim_token=None, settled_at=None, status_code=None, error_code=None, error=None, latency_ms=None,
            in_doubt=False, **NO_DELIVERY,
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
            chosen &= _KNOWN
            if run.status == "stopped":
                raise RunConflictError(f"run {run.uid} is stopped", expected="--unknown succeeded or failed")
            log_last_calls(connection, chosen)
            values: dict[str, Any] = {"reason": None, "due_at": None, "settled_at": None, "latency_ms": None}
            # Something may have been sent for it: never again is it called skipped.
            values["attempts"] = sa.case((RUN_ITEM.c.attempts == 0, 1), else_=RUN_ITEM.c.attempts)
            values["in_doubt"] = True
        else:
            values = {"reason": RESOLVED, "in_doubt": False}
        resolved = RUN_ITEM.update().where(chosen).values(status=status, claim_token=None, **values)
        count = connection.execute(resolved).rowcount
        count_changes(connection, run_id, {"unknown": -count, status: count})
        if count and status == "pending" and run.status in ENDED_STATUSES:
            _reopen(connection, run_id)
        unresolved = (RUN.c.id == run_id) & (RUN.c.status == "unresolved") & (RUN.c.unknown == 0)
        connection.execute(RUN.update().where(unresolved).values(status="completed"))
    return count


def log_last_calls(connection: Connection, chosen: sa.ColumnElement[bool]) -> None:
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
