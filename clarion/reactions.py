"""What a handler's reaction to one event is: whom it reaches, when, and with what."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from clarion.addresses import address_of
from clarion.campaign import Campaign, CompiledHandler, CompiledSegment
from clarion.errors import RecipientError, RenderError
from clarion.fallback import INVALID, TEMPLATE_ERROR
from clarion.handlers import Occurrence
from clarion.limit_keys import limit_keys
from clarion.planning import PlannedItem, item_json
from clarion.recipients import normalise
from clarion.rendering import job_scope
from clarion.timing import Timing

REACTION = "@reaction"
"""The attribute of a reaction's item that holds what it answers: no template and no condition sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a built-in reaction does: its values, rendered; or the `error` that keeps it from being done."""

    values: Mapping[str, Any]
    error: str | None = None


def planned_reaction(
    campaign: Campaign,
    handler: CompiledHandler,
    occurrence: Occurrence,
    *,
    event_id: int,
    run: Mapping[str, Any],
    now: datetime,
) -> PlannedItem:
    """The run item of a reaction that is an action: pending, or skipped with the reason.

    Its row is the event's, its segment the handler. The item is the one that the event is about; beside it
    stands what of the event the handler's templates ask for.

    Args:
        campaign: The compiled job.
        handler: One whose reaction is an action.
        occurrence: What it reacts to.
        event_id: The event's key in the ledger.
        run: What templates see as `run`.
        now: When the event is handled.
    """
    sending = handler.sending[occurrence.run_item["segment"]]
    planned = PlannedItem(
        event_id,
        handler.name,
        None,
        f"{event_id}:{handler.name}",
        _item_json(sending, occurrence),
        "pending",
        None,
        sending.action,
        None,
    )
    scope = own_scope(campaign, occurrence, run=run)
    try:
        scope["recipient"] = _recipient(handler, occurrence, scope)
    except (RenderError, RecipientError) as exc:
        return planned._replace(status="skipped", reason=INVALID, error=exc.message)
    planned = planned._replace(recipient=scope["recipient"])
    try:
        planned = planned._replace(limit_keys=limit_keys(campaign.actions[sending.action], sending, scope))
    except RenderError as exc:
        return planned._replace(status="skipped", reason=TEMPLATE_ERROR, error=exc.message)
    respects = handler.handler.windows == "respect" and campaign.timing is not None
    return _timed(planned, campaign.timing, scope, now=now) if respects else planned


def rendered_change(
    campaign: Campaign, handler: CompiledHandler, occurrence: Occurrence, *, run: Mapping[str, Any]
) -> Change:
    """The templates of a built-in reaction, rendered. Takes what `planned_reaction` takes."""
    scope = own_scope(campaign, occurrence, run=run)
    try:
        return Change(values={field: text.render(scope) for field, text in handler.texts.items()})
    except RenderError as exc:
        return Change(values={}, error=exc.message)


def own_scope(campaign: Campaign, occurrence: Occurrence, *, run: Mapping[str, Any]) -> dict[str, Any]:
    """What a handler's own templates see; `recipient` is who answered."""
    return {
        "event": occurrence.event,
        "item": occurrence.item,
        "job": job_scope(campaign),
        "run": run,
        "recipient": who_answered(occurrence),
    }


def who_answered(occurrence: Occurrence) -> str | None:
    """Whom a reaction goes to: who answered, spelled as the item has them where it is the item's recipient.

    Somebody who was sent a message of an earlier step may answer when the item has another recipient by now.
    """
    answered, reached = occurrence.event["recipient"], occurrence.run_item["recipient"]
    if answered is None or (reached is not None and address_of(reached) == address_of(answered)):
        return reached
    return answered


def _recipient(handler: CompiledHandler, occurrence: Occurrence, scope: Mapping[str, Any]) -> str:
    rule = handler.handler.recipient
    if rule is None or handler.recipient is None:
        answered = who_answered(occurrence)
        if answered is None:
            raise RecipientError("nobody knows who answered")
        return answered
    region = None if handler.region is None else handler.region.render(scope)
    value = handler.recipient.render(scope)
    return normalise(value, kind=rule.type, region=None if region is None else str(region))


def _timed(
    planned: PlannedItem, timing: Timing | None, scope: Mapping[str, Any], *, now: datetime
) -> PlannedItem:
    """The item within the job's windows; its own time was that of the campaign's message."""
    assert timing is not None  # noqa: S101  # only asked for where there is one
    when = replace(timing, send_at=None).of_item(scope, now=now, start_at=now, send_until=None)
    if when.reason is not None:
        return planned._replace(status="skipped", reason=when.reason)
    return planned._replace(due_at=when.due_at, timezone=when.zone)


def _item_json(sending: CompiledSegment, occurrence: Occurrence, /) -> str:
    reaction: dict[str, Any] = {"segment": occurrence.run_item["segment"]}
    asked = [each for each in sending.templates() if "event" in each.scopes]
    if asked:
        named = [{name for of, name in each.references if of == "event"} for each in asked]
        whole = not all(named)  # one looks an attribute up by a name that is only found then
        names = frozenset[str]().union(*named)
        event = occurrence.event
        reaction["event"] = {name: event[name] for name in event if whole or name in names}
    return item_json({**occurrence.item, REACTION: reaction})


def reactions_campaign(campaign: Campaign) -> Campaign:
    """The campaign as the run of its reactions sends it: the handlers that are actions are its segments.

    Windows hold only the items that have a zone: those of handlers that respect them.
    """
    segments = tuple(next(iter(handler.sending.values())) for handler in campaign.handlers if handler.sending)
    timing = campaign.timing
    if timing is not None:
        timing = replace(timing, send_at=None, zoned_only=True)
    handlers = tuple(handler for handler in campaign.handlers if handler.sending)
    return replace(campaign, segments=segments, handlers=handlers, timing=timing)


class ReactionParts(NamedTuple):
    """What a reaction's item is made of: what is sent, the item's attributes, and the event."""

    sending: CompiledSegment
    item: dict[str, Any]
    event: Mapping[str, Any]


def reaction_parts(campaign: Campaign, handler: str, content: Mapping[str, Any]) -> ReactionParts:
    """A reaction's item taken apart.

    Args:
        campaign: As `reactions_campaign` makes it, or the campaign itself.
        handler: The item's segment.
        content: The item as the ledger keeps it.
    """
    reaction = content[REACTION]
    sending = campaign.handler(handler).sending[reaction["segment"]]
    return ReactionParts(sending, item_of(content), reaction.get("event") or {})


def item_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an item without what only a reaction's has."""
    return {name: value for name, value in content.items() if name != REACTION}
