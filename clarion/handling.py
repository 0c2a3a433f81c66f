"""Handling a batch of events: which handlers react, what their reactions are, all stored at once."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import orjson
from pydantic import ValidationError

from clarion.campaign import Campaign, CompiledHandler
from clarion.error_text import error_text, logged_error
from clarion.errors import ClarionError
from clarion.handlers import Occurrence, matching_handlers
from clarion.ledger.answering import OutsideReaction
from clarion.ledger.attribution import AttributedEvent
from clarion.ledger.database import Database
from clarion.ledger.outages import is_outage
from clarion.ledger.reaction_writer import NewReaction, store_apart, store_reactions
from clarion.ledger.reactions import give_up, item_facts, runs_by_id, stored_event
from clarion.ledger.runs import REACTIONS, RunRecord
from clarion.ledger.snapshots import campaign_of
from clarion.models.subscribers import Subscriber
from clarion.reactions import Change, item_of, planned_reaction, rendered_change

logger = logging.getLogger(__name__)

RECEIPTS = frozenset({"action-call-succeeded", "action-call-failed", "action-call-info"})
"""What becomes of a message. Of a reaction's own nobody is told: it would be answered for ever."""

_EVENT_FIELDS = (
    "type", "recipient", "sender", "invocation_id", "related_id", "client_ref", "name", "status",
    "error_code", "error", "text", "value", "currency", "endpoint", "attributed_by", "action", "src_ctx",
    "data",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Handled:
    """What a batch came to: how many events are handled by it, and how many reactions there are to them."""

    events: int
    reactions: int


def handle_batch(
    database: Database,
    events: Sequence[AttributedEvent],
    *,
    subscribers: Sequence[Subscriber] = (),
    now: datetime | None = None,
) -> Handled:
    """Handles events: stores the reactions to them, and calls them handled, in one transaction.

    Whatever breaks it off, an event has all its reactions or is still to be handled. What somebody else has
    handled meanwhile is left alone. An event that cannot be handled holds up no other: the batch is halved
    until it is alone, and it is called handled with what went wrong.

    Args:
        database: The ledger.
        events: Attributed, in the order of their ids; those of no run are only called handled.
        subscribers: The installation's, who get events of the types that they asked for.
        now: What conditions see; None for this moment.

    Raises:
        LedgerError: The database is away, as SQLAlchemy's own errors tell too; nothing is given up for it.
    """
    if not events:
        return Handled(0, 0)
    now = now or datetime.now(UTC)
    try:
        new = _reactions_to(database, events, now=now)
        ids = [event.id for event in events]
        return Handled(*store_reactions(database, ids, new, subscribers=subscribers))
    except Exception as exc:
        if is_outage(exc):
            raise
        if len(events) == 1:
            return _handled_alone(database, events[0], subscribers=subscribers, now=now)
    half = len(events) // 2
    parts = [
        handle_batch(database, part, subscribers=subscribers, now=now)
        for part in (events[:half], events[half:])
    ]
    return Handled(sum(part.events for part in parts), sum(part.reactions for part in parts))


def _handled_alone(
    database: Database, event: AttributedEvent, *, subscribers: Sequence[Subscriber], now: datetime
) -> Handled:
    """Handles an event that breaks a batch: each reaction that can be stored is, what cannot has failed."""
    try:
        new = _reactions_to(database, [event], now=now)
        return Handled(*store_apart(database, event, new, subscribers=subscribers))
    except Exception as exc:
        if is_outage(exc):
            raise
        extra = {"event": event.uid}
        logger.error("An event could not be handled: %s", logged_error(exc), extra=extra)  # noqa: TRY400
        return Handled(give_up(database, event.id, error=error_text(exc)), 0)


def _reactions_to(
    database: Database, events: Sequence[AttributedEvent], *, now: datetime
) -> list[NewReaction]:
    """All reactions to a batch, in the order of the events."""
    heard = [event for event in events if _is_heard(event)]
    if not heard:
        return []
    with database.read() as connection:
        runs = runs_by_id(connection, [event.root_run_id for event in heard if event.root_run_id])
    campaigns = {run_id: _with_handlers(database, run) for run_id, run in runs.items()}
    heard = [event for event in heard if campaigns.get(event.root_run_id or 0) is not None]
    with database.read() as connection:
        facts = item_facts(connection, [event.root_item_id for event in heard if event.root_item_id])
    by_run: dict[int, list[AttributedEvent]] = defaultdict(list)
    for event in heard:
        by_run[event.root_run_id or 0].append(event)
    new: list[NewReaction] = []
    for run_id, of_run in by_run.items():
        campaign = campaigns[run_id]
        assert campaign is not None  # noqa: S101  # the others were left out
        new += _reactions_of_run(runs[run_id], campaign, of_run, facts, now=now)
    return sorted(new, key=lambda each: each.event.id)  # stable: the handlers stay in the job's order


def _is_heard(event: AttributedEvent) -> bool:
    """Whether handlers are asked: the event belongs to an item of a run that still listens."""
    if event.root_item_id is None or not event.listening:
        return False
    return event.run_kind != REACTIONS or event.type not in RECEIPTS


def _with_handlers(database: Database, run: RunRecord) -> Campaign | None:
    """The compiled job of a run; None where it has no handlers, or is one that this version cannot read."""
    if not orjson.loads(run.job).get("events"):
        return None
    try:
        return campaign_of(database, run.uid)
    except (ClarionError, ValidationError) as exc:
        logger.error(  # noqa: TRY400  # the text may hold what the job holds
            "The handlers of a run cannot be read, nothing reacts: %s",
            logged_error(exc),
            extra={"run": run.uid},
        )
        return None


def _reactions_of_run(
    run: RunRecord,
    campaign: Campaign,
    events: Sequence[AttributedEvent],
    facts: Mapping[int, Mapping[str, Any]],
    *,
    now: datetime,
) -> list[NewReaction]:
    occurrences = [_occurrence(run, event, facts[event.root_item_id or 0]) for event in events]
    matched = matching_handlers(campaign, occurrences, now=now)
    return [
        _reaction(run, campaign, handler, event, occurrence, now=now)
        for event, occurrence, handlers in zip(events, occurrences, matched, strict=True)
        for handler in handlers
    ]


def _reaction(
    run: RunRecord,
    campaign: Campaign,
    handler: CompiledHandler,
    event: AttributedEvent,
    occurrence: Occurrence,
    *,
    now: datetime,
) -> NewReaction:
    item = change = None
    try:
        if handler.handler.kind == "action":
            item = planned_reaction(
                campaign, handler, occurrence, event_id=event.id, run=run.scope(), now=now
            )
        else:
            change = rendered_change(campaign, handler, occurrence, run=run.scope())
    except Exception as exc:  # noqa: BLE001  # whatever an event holds, it ends this reaction and no other
        extra = {"event": event.uid, "handler": handler.name}
        logger.error("A reaction could not be made: %s", logged_error(exc), extra=extra)  # noqa: TRY400
        change = Change(values={}, error=error_text(exc))
    return NewReaction(
        run=run,
        campaign=campaign,
        handler=handler,
        event=event,
        occurrence=occurrence,
        item=item,
        change=change,
    )


def _occurrence(
    run: RunRecord, event: AttributedEvent | SimpleNamespace, facts: Mapping[str, Any]
) -> Occurrence:
    return Occurrence(
        event=event_scope(event),
        item=item_of(orjson.loads(facts["item"])),
        run_item={**facts, "id": f"{run.uid}-{facts['id']}"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedReaction:
    """An outside reaction with what its templates see. `run` is the campaign's; `uid` the event's."""

    uid: str
    run: RunRecord
    handler: CompiledHandler
    occurrence: Occurrence
    change: Change


def load_reaction(database: Database, reaction: OutsideReaction) -> LoadedReaction:
    """What an outside reaction is to do, from the ledger as it is now: who was forgotten stays so."""
    with database.read() as connection:
        run = runs_by_id(connection, [reaction.run_id])[reaction.run_id]
        facts = item_facts(connection, [reaction.run_item_id])[reaction.run_item_id]
        event = stored_event(connection, reaction.event_id)
    campaign = campaign_of(database, run.uid)
    handler = campaign.handler(reaction.handler)
    occurrence = _occurrence(run, event, facts)
    change = rendered_change(campaign, handler, occurrence, run=run.scope())
    return LoadedReaction(uid=event.uid, run=run, handler=handler, occurrence=occurrence, change=change)


def event_scope(event: AttributedEvent | SimpleNamespace) -> dict[str, Any]:
    """What conditions and templates of handlers see as `event`: JSON values only, times in ISO format."""
    occurred_at = event.occurred_at or event.received_at
    return {
        "id": event.uid,
        "occurred_at": occurred_at.isoformat(),
        "received_at": event.received_at.isoformat(),
        **{name: getattr(event, name) for name in _EVENT_FIELDS},
    }
