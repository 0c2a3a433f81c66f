"""Attributing an event by hand, where no rule finds its run item."""

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.attribution import Reference, parse_reference
from clarion.errors import InputError, RunConflictError
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.attribution import AttributedEvent, read_events, record
from clarion.ledger.calls_made import contacted_items
from clarion.ledger.database import Database
from clarion.ledger.matching import Match
from clarion.ledger.snapshots import campaigns_of
from clarion.ledger.tables import RUN, RUN_ITEM

BY_HAND = "hand:"
NEAR_EVENTS = 5


def attribute_by_hand(database: Database, event: str, run_item: str, *, who: str) -> AttributedEvent:
    """Attributes an event to a run item, as if a rule had: its receipt counts, its handlers are asked.

    A second time it changes nothing. What handlers have done about it is not done again.

    Args:
        database: The ledger.
        event: The event's id, or the beginning of it.
        run_item: The item's id, as `clarion events` and templates have it.
        who: Who says so; `attributed_by` keeps it.

    Raises:
        InputError: There is no such event or run item, or nothing was ever sent for the item.
        RunConflictError: The event belongs to another run item, or the item is being sent.
    """
    reference = parse_reference(run_item)
    if reference is None:
        raise InputError(
            f"{run_item!r} is no id of a run item", where="RUN_ITEM", expected="one as 4f0c9d1a2b3c4d5e-17"
        )
    campaigns = campaigns_of(database)
    with database.write() as connection:
        found = _event(connection, event)
        item_id = _item(connection, reference, run_item)
        if found.run_item_id not in {None, item_id}:
            raise RunConflictError(
                f"the event {found.uid} belongs to another run item",
                where="EVENT",
                expected="one that belongs to none",
            )
        if found.run_item_id is None:
            match = _match(connection, found, item_id, run_item)
            if record(connection, [match], campaigns, by=f"{BY_HAND}{who}"):
                raise RunConflictError(
                    f"{run_item} is being sent", where="RUN_ITEM", expected="to be asked again in a moment"
                )
            again = EVENT.update().where(EVENT.c.id == found.id).values(state="received", handled_at=None)
            connection.execute(again)
        return read_events(connection, [found.id])[0]


def _event(connection: Connection, event: str) -> Row[tuple[object, ...]]:
    rows = connection.execute(
        EVENT.select().where(EVENT.c.uid.startswith(event, autoescape=True)).limit(NEAR_EVENTS)
    ).all()
    if not event.strip() or not rows:
        raise InputError(
            f"there is no event {event!r}", where="EVENT", expected="an id of `clarion events --unattributed`"
        )
    if len(rows) > 1:
        names = ", ".join(row.uid for row in rows)
        raise InputError(
            f"{event!r} is the beginning of several events", where="EVENT", expected=f"one of {names}"
        )
    return rows[0]


def _item(connection: Connection, reference: Reference, text: str) -> int:
    query = (
        sa.select(RUN_ITEM.c.id)
        .join_from(RUN_ITEM, RUN, RUN.c.id == RUN_ITEM.c.run_id)
        .where(RUN_ITEM.c.id == reference.item_id, RUN.c.uid == reference.run_uid)
    )
    found = connection.scalar(query)
    if found is None:
        raise InputError(
            f"there is no run item {text!r}", where="RUN_ITEM", expected="an id of `clarion events`"
        )
    return found


def _match(connection: Connection, event: Row[tuple[object, ...]], item_id: int, text: str) -> Match:
    item = contacted_items(connection, [item_id]).get(item_id)
    if item is None:
        raise InputError(f"nothing was sent for {text}", where="RUN_ITEM", expected="one that was sent to")
    last = max(item.calls, key=lambda call: (call.address == event.recipient, call.is_last, call.sent_at))
    return Match(event=event, call=last, item=item)
