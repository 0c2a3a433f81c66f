"""Telling run items what their receipts say: delivery, calls that nobody had answered, the next step.

The statements of everyone who changes items hold here too: items are locked in the order of their ids, runs
are counted in theirs. An item that is being sent is its worker's alone: its receipts wait.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.attribution import Call
from clarion.campaign import Campaign
from clarion.fallback import NextStep, goes_on, next_steps
from clarion.ledger.arrivals import NO_DELIVERY, OPEN, delivery_values, end_by_arrival
from clarion.ledger.database import Database
from clarion.ledger.fallbacks import first_free
from clarion.ledger.runs import REACTIONS, count_changes, status_values
from clarion.ledger.snapshots import Campaigns
from clarion.ledger.tables import ATTEMPT, RUN, RUN_ITEM
from clarion.receipts import BY_RECEIPT, UNDELIVERED, Delivery, Reading, Standing, last_word, told

NEXT_STEPS = "messages that were not delivered go on with their next step"
"""The reason of a run that had ended and has something to send again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a receipt says of a call of an item.

    `names_call` tells one that names its call from one that was matched by its recipient. `came_at` is when
    we got it, `invocation_id` the call's by the receipt.
    """

    call: Call
    said: Delivery
    reading: Reading
    names_call: bool
    came_at: datetime
    invocation_id: str | None = None


def lock_called(connection: Connection, calls: Sequence[Call]) -> dict[int, Row[Any]]:
    """Locks the items of calls, and gives them by id.

    Args:
        connection: An open write transaction.
        calls: Of the items.
    """
    query = (
        sa.select(RUN_ITEM, *_RUN)
        .join_from(RUN_ITEM, RUN, RUN.c.id == RUN_ITEM.c.run_id)
        .where(RUN_ITEM.c.id.in_(sorted({call.item_id for call in calls})))
        .order_by(RUN_ITEM.c.id)
        .with_for_update(of=RUN_ITEM)
    )
    return {row.id: row for row in connection.execute(query)}


def is_as_found(row: Row[Any], call: Call) -> bool:
    """Whether a locked item is not being sent, and its last call is still one that was found to be."""
    return row.status != "sending" and (not call.is_last or (call.step, call.epoch) == (row.step, row.epoch))


_RUN = (
    RUN.c.uid, RUN.c.kind, RUN.c.control, RUN.c.status.label("run_status"), RUN.c.send_until,
)  # fmt: skip


def record_receipts(
    connection: Connection, receipts: Sequence[Receipt], rows: dict[int, Row[Any]], campaigns: Campaigns
) -> None:
    """Brings items to where their receipts put them, and counts what that changes.

    An earlier call that arrived ends an item that is to be sent again, or of which nobody knows. Of an item
    that has ended, its last call alone counts.

    Args:
        connection: The transaction that locked the items.
        receipts: Of last calls, and successes of earlier ones.
        rows: What `lock_called` gave.
        campaigns: The runs' snapshots.
    """
    by_item: dict[int, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        by_item[receipt.call.item_id].append(receipt)
    changes: dict[int, Counter[str]] = defaultdict(Counter)
    values: list[dict[str, Any]] = []
    undelivered: list[tuple[dict[str, Any], Row[Any], Receipt]] = []
    for item_id in sorted(by_item):
        row = rows[item_id]
        arrived = [each for each in by_item[item_id] if not each.call.is_last]
        if arrived and row.status in OPEN:
            _end_by(connection, row, arrived)
            changes[row.run_id].update({"succeeded": 1})
            changes[row.run_id].subtract({row.status: 1})
            continue
        said = [each for each in by_item[item_id] if each.call.is_last]
        if not said:
            continue
        before = after = _standing(row)
        for each in said:
            after = told(after, each.said, each.reading, names_call=each.names_call)
        values.append(_values(row, after, said))
        changes[row.run_id].update({after.status: 1})
        changes[row.run_id].subtract({before.status: 1})
        if _failed_to_arrive(after):
            undelivered.append((values[-1], row, said[-1]))
    if values:
        connection.execute(_TELL, values)
    for now, row, receipt in undelivered:
        step = _next_step(connection, row, receipt, campaigns(row.uid))
        if step is not None:
            _begin_step(connection, now, row, step)
            changes[row.run_id].update({"pending": 1})
            changes[row.run_id].subtract({now["its_status"]: 1})
    _count(connection, changes)


def _end_by(connection: Connection, row: Row[Any], arrived: Sequence[Receipt]) -> None:
    """Ends an item by the first of its earlier calls that arrived; by all that is said of that one."""
    call = arrived[0].call
    of_call = [each for each in arrived if each.call == call]
    said = last_word((each.said for each in of_call), of_call[0].reading)
    assert said is not None  # noqa: S101  # of at least one
    known = next((each.invocation_id for each in of_call if each.invocation_id), None)
    end_by_arrival(connection, row, call=call, said=said, invocation_id=known)


def _standing(row: Row[Any]) -> Standing:
    delivery = row.delivery and Delivery(
        kind=row.delivery,
        status=row.delivery_status,
        occurred_at=row.delivered_at,
        code=row.delivery_code,
        reason=row.delivery_reason,
    )
    return Standing(status=row.status, reason=row.reason, in_doubt=row.in_doubt, delivery=delivery or None)


_TELL = (
    RUN_ITEM.update()
    .where(RUN_ITEM.c.id == sa.bindparam("the_item"))
    .values(
        {
            name: sa.bindparam(f"its_{name}")
            for name in (
                "status", "reason", "in_doubt", "delivery", "delivery_status", "delivery_code",
                "delivery_reason", "delivered_at", "invocation_id", "error_code", "error", "claim_token",
                "due_at",
            )
        }
    )
)  # fmt: skip


def _values(row: Row[Any], after: Standing, said: Sequence[Receipt]) -> dict[str, Any]:
    delivery = after.delivery
    assert delivery is not None  # noqa: S101  # a receipt said something
    settled = after.reason in {BY_RECEIPT, UNDELIVERED}
    failed = settled and after.status == "failed"
    known = next((each.invocation_id for each in said if each.invocation_id), None)
    values = {
        "status": after.status,
        "reason": after.reason,
        "in_doubt": after.in_doubt,
        **delivery_values(delivery),
        "invocation_id": row.invocation_id or known,
        "error_code": (delivery.code if failed else None) if settled else row.error_code,
        "error": (delivery.reason if failed else None) if settled else row.error,
        "claim_token": None if settled else row.claim_token,
        "due_at": None if settled else row.due_at,
    }
    return {"the_item": row.id, **{f"its_{name}": value for name, value in values.items()}}


def _failed_to_arrive(standing: Standing) -> bool:
    """Whether an item may go on with its next step."""
    delivery = standing.delivery
    settled = standing.status == "succeeded" or standing.reason == UNDELIVERED
    return settled and delivery is not None and delivery.kind == "failed"


def _next_step(
    connection: Connection, row: Row[Any], receipt: Receipt, campaign: Campaign | None
) -> NextStep | None:
    """What an item that was not delivered goes on with, where it may and there is still time."""
    if (
        campaign is None
        or row.fallback is None
        or row.kind == REACTIONS
        or row.control == "stop"
        or row.run_status == "stopped"
    ):
        return None
    segment = next(each for each in campaign.job.segments if each.name == row.segment)
    late = receipt.came_at > row.claimed_at + timedelta(seconds=segment.fallback_within_seconds)
    over = row.send_until is not None and receipt.came_at >= row.send_until
    if late or over or _has_gone_on(connection, row) or not goes_on(campaign, row.segment, "undelivered"):
        return None
    steps = next_steps(campaign, segment=row.segment, step=row.step, record=row.fallback)
    return first_free(connection, run_id=row.run_id, item_id=row.id, steps=steps, record=row.fallback)


def _has_gone_on(connection: Connection, row: Row[Any]) -> bool:
    """Whether later steps were called already: an earlier one arrived then, and is the last again."""
    later = (ATTEMPT.c.run_item_id == row.id) & (ATTEMPT.c.step > row.step)
    return connection.scalar(sa.select(ATTEMPT.c.id).where(later).limit(1)) is not None


def _begin_step(connection: Connection, now: dict[str, Any], row: Row[Any], step: NextStep) -> None:
    """Makes an item pending at a step, with all tries before it; what did not arrive stays in the log."""
    connection.execute(
        ATTEMPT.insert().values(
            run_id=row.run_id, run_item_id=row.id, step=row.step, action=row.action, recipient=row.recipient,
            idempotency_key=f"{row.uid}-{row.id}.{row.step}.{row.epoch}",
            invocation_id=now["its_invocation_id"], outcome=UNDELIVERED, status_code=row.status_code,
            error_code=now["its_delivery_code"], error=now["its_delivery_reason"], latency_ms=row.latency_ms,
            attempted_at=row.settled_at,
        )
    )  # fmt: skip
    connection.execute(
        RUN_ITEM.update().where(RUN_ITEM.c.id == row.id).values(
            status="pending", reason=None, step=step.step, action=step.action, recipient=step.recipient,
            attempts=0, epoch=0, due_at=None, in_doubt=False, claim_token=None, settled_at=None,
            status_code=None, invocation_id=None, error_code=None, error=None, latency_ms=None,
            **NO_DELIVERY,
        )
    )  # fmt: skip


def _count(connection: Connection, changes: dict[int, Counter[str]]) -> None:
    """Counts by run, and gives those that have ended the status that they have now."""
    for run_id in sorted(changes):
        changed = {counter: change for counter, change in changes[run_id].items() if change}
        if not changed:
            continue
        count_changes(connection, run_id, changed)
        ended = (RUN.c.id == run_id) & RUN.c.status.in_(("completed", "unresolved"))
        connection.execute(RUN.update().where(ended, RUN.c.pending > 0).values(**REOPENED))
        resolved = ended & (RUN.c.status == "unresolved") & (RUN.c.unknown == 0)
        connection.execute(RUN.update().where(resolved).values(status="completed"))
        connection.execute(RUN.update().where(RUN.c.id == run_id, _DONE).values(**_ENDED))


REOPENED = {"status": "interrupted", "reason": NEXT_STEPS, "control": "run", "ended_at": None}

GOES_ON = (RUN.c.status == "interrupted") & (RUN.c.reason == NEXT_STEPS)
"""Runs that had ended, have something to send again, and wait for somebody to take them up."""

_DONE = (
    sa.or_(GOES_ON, (RUN.c.kind == REACTIONS) & (RUN.c.status == "running"))
    & (RUN.c.control == "run")
    & (RUN.c.pending + RUN.c.sending == 0)
)
"""Runs that nobody takes up any more, because nothing is left to be sent of them."""

_ENDED = status_values("completed") | {
    "status": sa.case((RUN.c.unknown > 0, "unresolved"), else_="completed")
}


def reopen_left(database: Database) -> None:
    """Opens the runs that came to their end at the very moment when an item of them began its next step."""
    left = RUN.c.status.in_(("completed", "unresolved")) & (RUN.c.pending > 0)
    with database.read() as connection:
        if connection.execute(sa.select(RUN.c.id).where(left).limit(1)).first() is None:
            return
    with database.write() as connection:
        connection.execute(RUN.update().where(left).values(**REOPENED))
