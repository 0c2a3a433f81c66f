"""Which run item an event belongs to, and what of it a receipt tells. docs/attribution.md has the rules.

What is found in a transaction that only reads is written in a short one that looks again: an item may have
been claimed meanwhile. An event whose item has changed waits for the next time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.attribution import listens_until
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import Database, utc_now
from clarion.ledger.deliveries import Receipt, is_as_found, lock_called, record_receipts
from clarion.ledger.matching import Match, match_events
from clarion.ledger.runs import REACTIONS
from clarion.ledger.snapshots import Campaigns, campaigns_of
from clarion.ledger.suppressed_answers import suppress_answered
from clarion.ledger.tables import RUN, RUN_ITEM
from clarion.ledger.workers import reap_workers
from clarion.reactions import item_of
from clarion.receipts import PLAIN, CompiledReceipt, Delivery, read_receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributedEvent:
    """A stored event with the run item that it belongs to; all that begins with `run_` is None where none is.

    `type` is final: a receipt's is action-call-succeeded, -failed or -info. `data` is the raw event, `item`
    the attributes of the run item, `job_name` its run's job. An answer to a reaction belongs to the run item
    of the reaction; `root_run_id`, `root_run_uid` and `root_item_id` are the campaign's run and run item
    behind it (of all others they are the same as the run's own). `listening` tells whether the run still
    handled what comes back when the event came.
    """

    id: int
    uid: str
    type: str
    endpoint: str
    provider_event_id: str | None
    occurred_at: datetime | None
    received_at: datetime
    recipient: str | None
    sender: str | None
    invocation_id: str | None
    related_id: str | None
    client_ref: str | None
    name: str | None
    status: str | None
    error_code: str | None
    error: str | None
    text: str | None
    value: float | None
    currency: str | None
    data: Any
    attributed_by: str | None = None
    action: str | None = None
    src_ctx: str | None = None
    run_id: int | None = None
    run_uid: str | None = None
    run_kind: str | None = None
    run_item_id: int | None = None
    row: int | None = None
    segment: str | None = None
    job_name: str | None = None
    item: dict[str, Any] | None = None
    item_recipient: str | None = None
    root_run_id: int | None = None
    root_run_uid: str | None = None
    root_item_id: int | None = None
    listening: bool = False


def attribute_batch(database: Database, *, limit: int) -> list[AttributedEvent]:
    """Attributes the oldest events in state `received`, and tells their items what their receipts say.

    It commits by itself and changes no event's `state`: whoever handles them does. Called again before that,
    it gives the same events again, and changes nothing. A receipt whose call is still being made is left out
    until its result is in the ledger: an empty list does not mean that nothing is `received` any more.

    Args:
        database: The ledger.
        limit: Most events to return.

    Returns:
        At most `limit` events in the order of their ids; those that belong to nothing too.
    """
    ready: list[int] = []
    waiting: set[str] = set()
    after = 0
    while len(ready) < limit:
        page = _received(database, after, limit - len(ready))
        if not page:
            break
        after = page[-1].id
        ready += _attribute(database, page, waiting)
    with database.read() as connection:
        return read_events(connection, ready)


_BY_OWN_RULES = frozenset({"click", "conversion", "unsubscribe"})
"""What is attributed when it is stored: by its link, or within the days that its job gives conversions."""

_RECEIVED = sa.select(EVENT.c.id).where(EVENT.c.state == sa.literal_column("'received'", sa.Text))


def _received(database: Database, after: int, most: int) -> Sequence[Row[Any]]:
    query = EVENT.select().where(
        EVENT.c.id.in_(_RECEIVED.where(EVENT.c.id > after).order_by(EVENT.c.id).limit(most))
    )
    with database.read() as connection:
        return connection.execute(query.order_by(EVENT.c.id)).all()


def _attribute(database: Database, page: Sequence[Row[Any]], waiting: set[str]) -> list[int]:
    """Attributes those of a page that are not yet; the ids of all that need not wait.

    Args:
        database: The ledger.
        page: Events in the order of their ids.
        waiting: The recipients who have an answer that waits; what they answered later waits too.
    """
    new = [event for event in page if event.run_id is None and event.type not in _BY_OWN_RULES]
    campaigns = campaigns_of(database)
    with database.read() as connection:
        now = connection.execute(sa.select(utc_now())).scalar_one()
        matches = match_events(connection, new, now=now, campaigns=campaigns) if new else []
    _end_dead_calls(database, matches)
    waits = {match.event.id for match in matches if match.waits}
    found = [match for match in matches if match.call is not None and match.event.id not in waits]
    if found:
        with database.write() as connection:
            waits |= record(connection, found, campaigns)
    receipts = {match.event.id for match in matches if match.is_receipt}
    ready: list[int] = []
    for event in page:
        if event.id in receipts:
            ready += [] if event.id in waits else [event.id]
        elif event.id in waits or event.recipient in waiting:
            waiting.update([event.recipient] if event.recipient else [])
        else:
            ready.append(event.id)
    return ready


def _end_dead_calls(database: Database, matches: Sequence[Match]) -> None:
    """Calls whose process is gone are without an answer: then their receipts are one."""
    runs = {match.item.row.run_id for match in matches if match.waits and match.item is not None}
    for run_id in sorted(runs):
        reap_workers(database, run_id)


def record(
    connection: Connection, matches: Sequence[Match], campaigns: Campaigns, *, by: str | None = None
) -> set[int]:
    """Writes what events belong to, and what their receipts say.

    Args:
        connection: An open write transaction.
        matches: Each with its call.
        campaigns: The runs' snapshots.
        by: What the events say they are attributed by, in place of the rules.

    Returns:
        The ids of the receipts that have to wait: their calls are being made, or have changed.
    """
    read = {match.event.id: _read(match, campaigns) for match in matches if match.is_receipt}
    telling = [match for match in matches if match.event.id in read and _tells(match, read[match.event.id])]
    rows = lock_called(connection, [match.call for match in telling if match.call])
    waits = {
        match.event.id
        for match in telling
        if match.call and not is_as_found(rows[match.call.item_id], match.call)
    }
    settled = [match for match in matches if match.event.id not in waits]
    if settled:
        values = [_values(match, read.get(match.event.id), by=by) for match in settled]
        connection.execute(_ATTRIBUTE, values)
    receipts = [
        Receipt(
            call=match.call,
            said=read[match.event.id],
            reading=_receipt_of(match, campaigns).reading,
            names_call=match.rule != "recipient",
            came_at=match.event.received_at,
            invocation_id=match.event.invocation_id,
        )
        for match in telling
        if match.call and match.event.id not in waits
    ]
    if receipts:
        record_receipts(connection, receipts, rows, campaigns)
    suppress_answered(connection, settled, read)
    return waits


def _tells(match: Match, said: Delivery) -> bool:
    """Whether a receipt may change its item: one of the last call, or of any call that arrived."""
    return match.call is not None and (match.call.is_last or said.kind == "succeeded")


def _receipt_of(match: Match, campaigns: Campaigns) -> CompiledReceipt:
    """How the action of a match's call reads receipts."""
    assert match.call is not None  # noqa: S101  # only matches with a call are recorded
    assert match.item is not None  # noqa: S101  # the same
    campaign = campaigns(match.item.row.uid)
    return PLAIN if campaign is None else campaign.actions[match.call.action].receipt


def _read(match: Match, campaigns: Campaigns) -> Delivery:
    event = match.event
    return read_receipt(
        _receipt_of(match, campaigns),
        orjson.loads(event.data),
        status=event.status,
        code=event.error_code,
        reason=event.error,
        occurred_at=event.occurred_at,
    )


_CHANGED = (
    "run_id", "run_item_id", "attributed_by", "action", "src_ctx", "type", "status", "error_code", "error",
    "recipient",
)  # fmt: skip

_ATTRIBUTE = (
    EVENT.update()
    .where(EVENT.c.id == sa.bindparam("the_event"), EVENT.c.run_id.is_(None))
    .values({name: sa.bindparam(f"its_{name}") for name in _CHANGED})
)


def _values(match: Match, said: Delivery | None, *, by: str | None) -> dict[str, Any]:
    event, call, item = match.event, match.call, match.item
    assert call is not None  # noqa: S101  # only matches with a call are recorded
    assert item is not None  # noqa: S101  # the same
    values = {
        "run_id": call.run_id,
        "run_item_id": call.item_id,
        "attributed_by": by or match.rule,
        "action": call.action,
        "src_ctx": item.row.segment,
        "type": event.type if said is None else f"action-call-{said.kind}",
        "status": event.status if said is None else said.status,
        "error_code": event.error_code if said is None else said.code,
        "error": event.error if said is None else said.reason,
        "recipient": event.recipient or call.address or None,
    }
    return {"the_event": event.id, **{f"its_{name}": value for name, value in values.items()}}


_OF_RUN = (
    RUN.c.uid.label("run_uid"), RUN.c.kind.label("run_kind"), RUN.c.job_name, RUN.c.parent_id, RUN.c.against,
    RUN.c.end_at, RUN.c.ended_at,
)  # fmt: skip
_OF_ITEM = (
    RUN_ITEM.c.row, RUN_ITEM.c.segment, RUN_ITEM.c.item, RUN_ITEM.c.recipient.label("item_recipient"),
)  # fmt: skip
_OF_EVENT = tuple(column for column in EVENT.c if column.name not in {"state", "handled_at"})


class _Root(NamedTuple):
    """The campaign's run and item behind those that an event belongs to."""

    run_id: int | None
    run_uid: str | None
    item_id: int | None


def read_events(connection: Connection, ids: Sequence[int]) -> list[AttributedEvent]:
    """Events by their ids, in the order of these."""
    joined = EVENT.outerjoin(RUN_ITEM, RUN_ITEM.c.id == EVENT.c.run_item_id).outerjoin(
        RUN, RUN.c.id == EVENT.c.run_id
    )
    query = sa.select(*_OF_EVENT, *_OF_RUN, *_OF_ITEM).select_from(joined)
    rows = connection.execute(query.where(EVENT.c.id.in_(ids)).order_by(EVENT.c.id)).all() if ids else []
    roots = _roots(connection, rows)
    return [_event(row, roots[row.id]) for row in rows]


def _event(row: Row[Any], root: _Root) -> AttributedEvent:
    until = listens_until(end_at=row.end_at, ended_at=row.ended_at, rehearsal=row.against is not None)
    values = {name: value for name, value in row._asdict().items() if name not in _OWN_TO_RUNS}
    values["data"] = orjson.loads(row.data)
    values["item"] = None if row.item is None else item_of(orjson.loads(row.item))
    return AttributedEvent(
        **values,
        listening=row.run_id is not None and (until is None or row.received_at <= until),
        root_run_id=root.run_id,
        root_run_uid=root.run_uid,
        root_item_id=root.item_id,
    )


_OWN_TO_RUNS = frozenset({"parent_id", "against", "end_at", "ended_at"})


def _roots(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, _Root]:
    """The root of each event. A reaction's row is the event that it answers: one goes back by these."""
    roots = {row.id: _Root(row.run_id, row.run_uid, row.run_item_id) for row in rows}
    answered = {row.id: row.row for row in rows if row.run_kind == REACTIONS}
    while answered:
        query = (
            sa.select(EVENT.c.id, EVENT.c.run_item_id, EVENT.c.run_id, RUN.c.uid, RUN.c.kind, RUN_ITEM.c.row)
            .join_from(EVENT, RUN, RUN.c.id == EVENT.c.run_id)
            .outerjoin(RUN_ITEM, RUN_ITEM.c.id == EVENT.c.run_item_id)
            .where(EVENT.c.id.in_(sorted(set(answered.values()))))
        )
        before = {row.id: row for row in connection.execute(query)}
        steps = [(event_id, before[row]) for event_id, row in answered.items() if row in before]
        roots |= {event_id: _Root(row.run_id, row.uid, row.run_item_id) for event_id, row in steps}
        answered = {event_id: row.row for event_id, row in steps if row.kind == REACTIONS}
    return roots
