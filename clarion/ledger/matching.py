"""Finding for each of some events the call that it is about, by the rules of `clarion.attribution`."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.attribution import (
    Call,
    Clue,
    Reference,
    Rule,
    by_invocation,
    by_recipient,
    by_reference,
    parse_reference,
)
from clarion.ledger.calls_made import (
    ContactedItem,
    contacted_items,
    items_of_invocations,
    items_of_recipients,
)
from clarion.ledger.item_statements import SENDING
from clarion.ledger.runs import REACTIONS
from clarion.ledger.snapshots import Campaigns
from clarion.ledger.tables import RUN_ITEM
from clarion.reactions import reaction_parts
from clarion.rendering import job_scope
from clarion.senders import sender_of

RECEIPTS = ("action-call-succeeded", "action-call-failed", "action-call-info")
"""Types of events that tell what became of a message."""

PATIENCE = timedelta(seconds=5)
"""For so long an event waits that names a call which nobody knows, while some are being made: results are
committed at least every second, and a provider may be faster."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """The call that an event is about, by which rule; `waits` tells that it is too early to say."""

    event: Row[Any]
    rule: Rule | None = None
    call: Call | None = None
    item: ContactedItem | None = None
    waits: bool = False

    @property
    def is_receipt(self) -> bool:
        """Whether it tells what became of a message."""
        return self.event.type in RECEIPTS


def match_events(
    connection: Connection, events: Sequence[Row[Any]], *, now: datetime, campaigns: Campaigns
) -> list[Match]:
    """The matches of events, in their order.

    Args:
        connection: An open transaction.
        events: Rows of the table of events.
        now: By the database's clock.
        campaigns: The runs' snapshots.
    """
    # Before anything is looked up: what is settled after this is found, or it is still being sent.
    busy = sa.select(RUN_ITEM.c.id).where(RUN_ITEM.c.status == SENDING).limit(1)
    calling = connection.execute(busy).first() is not None
    clues = {event.id: _clue(event) for event in events}
    named = _named(connection, clues.values())
    matches = {event.id: _by_name(event, clues[event.id], named) for event in events}
    open_still = [event for event in events if matches[event.id].call is None and clues[event.id].recipient]
    reached = _reached(connection, [clues[event.id] for event in open_still])
    for event in open_still:
        matches[event.id] = _by_recipient(event, clues[event.id], reached, campaigns)
    return [_in_time(matches[event.id], clues[event.id], calling=calling, now=now) for event in events]


def _clue(event: Row[Any]) -> Clue:
    return Clue(
        received_at=event.received_at,
        is_receipt=event.type in RECEIPTS,
        recipient=event.recipient,
        sender=event.sender,
        invocation_id=event.invocation_id,
        related_id=event.related_id,
        client_ref=event.client_ref,
    )


@dataclass(frozen=True, slots=True)
class _Named:
    """The items that events name, and their calls by the provider's ids."""

    items: Mapping[int, ContactedItem]
    calls: Mapping[str, Sequence[Call]]


def _named(connection: Connection, clues: Collection[Clue]) -> _Named:
    """What the events name, by a provider's id or by ours."""
    ids = {each for clue in clues for each in (clue.invocation_id, clue.related_id) if each}
    references = [parse_reference(clue.client_ref) for clue in clues if clue.client_ref]
    wanted = {each.item_id for each in references if each} | items_of_invocations(connection, ids)
    items = contacted_items(connection, wanted)
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in (call for item in items.values() for call in item.calls):
        if call.invocation_id:
            calls[call.invocation_id].append(call)
    return _Named(items, calls)


def _by_name(event: Row[Any], clue: Clue, named: _Named) -> Match:
    ids: tuple[tuple[Rule, str | None], ...] = (
        ("invocation-id", clue.invocation_id),
        ("quoted-message", clue.related_id),
    )
    for rule, invocation_id in ids:
        call = (
            by_invocation(named.calls.get(invocation_id, ()), invocation_id, clue) if invocation_id else None
        )
        if call is not None:
            return Match(event=event, rule=rule, call=call, item=named.items[call.item_id])
    reference = parse_reference(clue.client_ref)
    if reference is not None and _is_ours(reference, named.items):
        item = named.items[reference.item_id]
        return Match(
            event=event, rule="client-ref", call=by_reference(item.calls, reference, clue), item=item
        )
    return Match(event=event)


def _is_ours(reference: Reference, items: Mapping[int, ContactedItem]) -> bool:
    """Whether a reference is of an item of this ledger; another installation gives the same numbers."""
    item = items.get(reference.item_id)
    return item is not None and item.row.uid == reference.run_uid


def _reached(connection: Connection, clues: Sequence[Clue]) -> dict[str, list[tuple[Call, ContactedItem]]]:
    """The calls to the recipients of events, by their address."""
    if not clues:
        return {}
    addresses = {clue.recipient for clue in clues if clue.recipient}
    since = min(clue.received_at for clue in clues)
    items = contacted_items(connection, items_of_recipients(connection, addresses, since=since))
    by_address: dict[str, list[tuple[Call, ContactedItem]]] = {}
    for item in items.values():
        for call in item.calls:
            by_address.setdefault(call.address, []).append((call, item))
    return by_address


def _by_recipient(
    event: Row[Any], clue: Clue, reached: dict[str, list[tuple[Call, ContactedItem]]], campaigns: Campaigns
) -> Match:
    here = reached.get(clue.recipient or "", [])
    items = {item.row.id: item for _, item in here}

    def sender(call: Call) -> str | None:
        return _sender(items[call.item_id], call, campaigns)

    call = by_recipient((call for call, _ in here), clue, sender)
    if call is None:
        return Match(event=event)
    return Match(event=event, rule="recipient", call=call, item=items[call.item_id])


def _sender(item: ContactedItem, call: Call, campaigns: Campaigns) -> str | None:
    """The address that a call was sent from, by the snapshot of its run."""
    row, campaign = item.row, campaigns(item.row.uid)
    if campaign is None:
        return None
    content, event = orjson.loads(row.item), {}
    if row.kind == REACTIONS:
        sending, content, event = reaction_parts(campaign, row.segment, content)
    else:
        sending = campaign.segment(row.segment).at_step(call.step)
    scope = {
        "item": content,
        "event": event,
        "recipient": row.recipient if call.step == row.step else call.address,
        "job": job_scope(campaign),
        "run": {
            "id": row.uid,
            "name": row.run_name,
            "start_at": (row.start_at or row.created_at).isoformat(),
        },
        "run_item": {"id": f"{row.uid}-{row.id}", "row": row.row, "segment": row.segment},
    }
    return sender_of(campaign, sending, scope)


def _in_time(match: Match, clue: Clue, *, calling: bool, now: datetime) -> Match:
    """A match, unless it is too early for it."""
    item = match.item
    if item is not None and match.is_receipt and item.row.status == "sending":
        return Match(event=match.event, item=item, waits=True)
    named = clue.invocation_id if clue.is_receipt else clue.related_id
    by_name = match.rule in {"invocation-id", "quoted-message", "client-ref"}
    early = calling and now < clue.received_at + PATIENCE
    return Match(event=match.event, waits=True) if named and not by_name and early else match
