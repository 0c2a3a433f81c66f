"""Unsubscribing whoever a message went to."""

from collections.abc import Mapping
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.ledger.answer_tables import EVENT
from clarion.ledger.clicks import BY_LINK
from clarion.ledger.events import store_events
from clarion.ledger.suppressions import suppress
from clarion.ledger.tables import ATTEMPT, RUN, RUN_ITEM
from clarion.receiving.incoming import IncomingEvent
from clarion.suppression import EVERYTHING, of_event, scope_of

ENDPOINT = "unsubscribe"
WHO = "recipient"


def unsubscribe(
    connection: Connection, *, run_uid: str, run_item_id: int, step: int, scope: str, one_click: bool
) -> bool:
    """Suppresses the recipient of a message, and stores an `unsubscribe` event: once, however often asked.

    Args:
        connection: An open write transaction.
        run_uid: The run's.
        run_item_id: Its run item.
        step: Which step of the item sent the message.
        scope: everything, channel or job; a channel that the action does not name is everything.
        one_click: Whether the mail program asked and not the page.

    Returns:
        False where there is no such message in this ledger, or its recipient was forgotten.
    """
    sent = _message(connection, run_item_id, step)
    if sent is None or sent.uid != run_uid or not sent.recipient:  # empty in the log of calls
        return False
    from_what = _scope(sent, scope)
    event = IncomingEvent(
        type="unsubscribe",
        provider_event_id=f"{run_uid}-{run_item_id}.{step}.{from_what}",
        recipient=sent.recipient,
        data={"scope": from_what, "one_click": one_click},
    )
    uid = _stored(connection, event, sent=sent, run_item_id=run_item_id)
    reason = of_event("one-click unsubscribe" if one_click else "unsubscribe page", uid)
    suppress(connection, sent.recipient, scope=from_what, reason=reason, who=WHO)
    return True


def _stored(connection: Connection, event: IncomingEvent, *, sent: Row[Any], run_item_id: int) -> str:
    """Stores the event unless it is there; its uid."""
    new = store_events(connection, ENDPOINT, [event])
    attributed = {
        "run_id": sent.run_id,
        "run_item_id": run_item_id,
        "attributed_by": BY_LINK,
        "action": sent.action,
        "src_ctx": sent.segment,
        "occurred_at": EVENT.c.received_at,
    }
    connection.execute(EVENT.update().where(EVENT.c.id.in_(new)).values(attributed))
    same = (EVENT.c.endpoint == ENDPOINT, EVENT.c.provider_event_id == event.provider_event_id)
    return connection.execute(sa.select(EVENT.c.uid).where(*same)).scalar_one()


def _message(connection: Connection, run_item_id: int, step: int) -> Row[Any] | None:
    """Run, job, recipient and action of a step of an item."""
    of_run = (RUN.c.uid, RUN.c.job_name, RUN.c.job, RUN_ITEM.c.run_id, RUN_ITEM.c.segment)
    now = (
        sa.select(*of_run, RUN_ITEM.c.recipient, RUN_ITEM.c.action)
        .join(RUN, RUN.c.id == RUN_ITEM.c.run_id)
        .where(RUN_ITEM.c.id == run_item_id)
    )
    found = connection.execute(now.where(RUN_ITEM.c.step == step)).one_or_none()
    if found is not None:
        return found
    before = (
        sa.select(*of_run, ATTEMPT.c.recipient, ATTEMPT.c.action)
        .join(RUN_ITEM, RUN_ITEM.c.id == ATTEMPT.c.run_item_id)
        .join(RUN, RUN.c.id == RUN_ITEM.c.run_id)
        .where(ATTEMPT.c.run_item_id == run_item_id, ATTEMPT.c.step == step)
        .order_by(ATTEMPT.c.id.desc())
        .limit(1)
    )
    return connection.execute(before).one_or_none()


def _scope(sent: Row[Any], scope: str) -> str:
    if scope == "job":
        return scope_of(job=sent.job_name)
    action: Mapping[str, Any] = orjson.loads(sent.job).get("actions", {}).get(sent.action) or {}
    channel = action.get("channel")
    return scope_of(channel=channel) if scope == "channel" and channel else EVERYTHING
