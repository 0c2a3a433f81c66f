"""Messages that arrived although another try was to follow them: their items are not sent again."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.attribution import Call
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.tables import ATTEMPT, RUN_ITEM
from clarion.receipts import BY_RECEIPT, Delivery

OPEN = frozenset({"pending", "unknown"})
"""Statuses that an earlier call ends which arrived: with any other, nothing more is sent by itself."""

NO_DELIVERY = dict.fromkeys(
    ("delivery", "delivery_status", "delivery_code", "delivery_reason", "delivered_at")
)
"""What an item knows of the delivery of a call that was not made yet."""

_TOLD = sa.exists().where(EVENT.c.run_item_id == RUN_ITEM.c.id, EVENT.c.type == "action-call-succeeded")

HAS_ARRIVED = sa.or_(RUN_ITEM.c.delivery.is_not_distinct_from("succeeded"), _TOLD)
"""Whether a receipt of any call of an item says success: nobody gets the message again."""


def delivery_values(said: Delivery) -> dict[str, Any]:
    """What an item keeps of its delivery."""
    return {
        "delivery": said.kind,
        "delivery_status": said.status,
        "delivery_code": said.code,
        "delivery_reason": said.reason,
        "delivered_at": said.occurred_at,
    }


def end_by_arrival(
    connection: Connection, item: Row[Any], *, call: Call, said: Delivery, invocation_id: str | None
) -> None:
    """Makes an earlier call the item's last one again, and the item succeeded by its receipt.

    What else comes of that call counts from now on; what comes of the calls after it does not any more.

    Args:
        connection: The transaction that locked the item.
        item: Pending or unknown; the caller counts it.
        call: The one that arrived; the attempt log has it.
        said: The last word of its receipts.
        invocation_id: The call's by its receipts, where its answer did not tell.
    """
    made = connection.execute(ATTEMPT.select().where(ATTEMPT.c.id == call.attempt_id)).one()
    connection.execute(
        RUN_ITEM.update().where(RUN_ITEM.c.id == item.id).values(
            status="succeeded", reason=BY_RECEIPT, step=call.step, action=call.action,
            epoch=call.epoch, recipient=made.recipient, attempts=max(1, item.attempts), in_doubt=False,
            claim_token=None, due_at=None, claimed_at=call.sent_at, settled_at=made.attempted_at,
            status_code=made.status_code, latency_ms=made.latency_ms,
            invocation_id=call.invocation_id or invocation_id, error_code=None, error=None,
            **delivery_values(said),
        )
    )  # fmt: skip
