"""Channel failover: what an item that failed for good is tried with next, and for whom.

The plan finds the recipients of all steps, so that a run works on its snapshot and the exclude lists are
asked once. They are kept with the item as JSON: for each step its recipient, the reason why it is passed
over, and what its action's limits go by: `[["ann@example.com", null, null], [null, "excluded", null]]`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from clarion.campaign import Campaign, CompiledSegment, CompiledStep
from clarion.errors import RecipientError, RenderError
from clarion.limit_keys import limit_keys
from clarion.models.job import FallbackCause
from clarion.recipients import normalise
from clarion.suppression import SUPPRESSED, Scopes, held_by

INVALID = "invalid-recipient"
EXCLUDED = "excluded"
TEMPLATE_ERROR = "template-error"


class Prospect(NamedTuple):
    """A fallback step of one item: whom it reaches, or the `reason` why it is passed over."""

    recipient: str | None
    reason: str | None = None
    limit_keys: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """A step that an item may be tried with; nobody else of the run has its `dedupe_key`."""

    step: int
    action: str
    recipient: str
    dedupe_key: str
    limit_keys: str | None = None


def dedupe_key(campaign: Campaign, segment: str, recipient: str) -> str:
    """What nobody else of a run may have: the recipient, under `matching: all` within the segment."""
    return recipient if campaign.job.matching == "first" else f"{segment}\x1f{recipient}"


def planned_steps(campaign: Campaign, segment: CompiledSegment, scope: Mapping[str, Any]) -> str | None:
    """The fallback steps of one item, as the ledger keeps them; None where its segment has none.

    Args:
        campaign: The compiled job.
        segment: The item's.
        scope: What the item's recipient was rendered with, and `recipient`, which a step without one has too.
    """
    return _dumped([_prospect(campaign, step, scope) for step in segment.fallback])


def _prospect(campaign: Campaign, step: CompiledStep, scope: Mapping[str, Any]) -> Prospect:
    try:
        recipient = _reached(step, scope)
    except (RenderError, RecipientError):
        return Prospect(None, INVALID)
    action = campaign.actions[step.sending.action]
    if not action.limit_keys:
        return Prospect(recipient)
    try:
        keys = limit_keys(action, step.sending, {**scope, "recipient": recipient})
    except RenderError:
        return Prospect(recipient, TEMPLATE_ERROR)
    return Prospect(recipient, None, keys)


def _reached(step: CompiledStep, scope: Mapping[str, Any]) -> str:
    if step.recipient is None:
        return scope["recipient"]
    region = None
    if step.region is not None:
        with suppress(RenderError):  # without a country only international numbers can be read
            value = step.region.render(scope)
            region = None if value is None else str(value)
    return normalise(step.recipient.render(scope), kind=step.kind, region=region)


def without_excluded(
    records: Sequence[str | None], found: Callable[[Sequence[str]], Collection[str]]
) -> list[str | None]:
    """The records of several items, with the steps passed over whose recipients are excluded.

    Args:
        records: As `planned_steps` made them.
        found: Those of some recipients that an exclude list names.
    """
    loaded = [_loaded(record) for record in records]
    excluded = found([each.recipient for steps in loaded for each in steps if each.recipient is not None])
    return [
        _dumped([each._replace(reason=EXCLUDED) if each.recipient in excluded else each for each in steps])
        for steps in loaded
    ]


def without_suppressed(campaign: Campaign, segment: str, record: str | None, scopes: Scopes) -> str | None:
    """The record of an item, with the steps passed over whose recipients their channels may not reach.

    Args:
        campaign: The compiled job.
        segment: The item's.
        record: As `planned_steps` made it.
        scopes: The suppressions of the recipients.
    """
    prospects = _loaded(record)
    steps = campaign.segment(segment).fallback if prospects else ()
    return _dumped(
        [
            each._replace(reason=SUPPRESSED)
            if each.reason is None and is_held(campaign, scopes, each.recipient, action=step.sending.action)
            else each
            for step, each in zip(steps, prospects, strict=True)
        ]
    )


def step_recipients(records: Sequence[str | None]) -> list[str]:
    """Everybody whom the steps of several items reach."""
    return [each.recipient for record in records for each in _loaded(record) if each.recipient is not None]


def is_held(campaign: Campaign, scopes: Scopes, recipient: str | None, *, action: str | None) -> bool:
    """Whether a suppression keeps a message of a job's action from a recipient."""
    channel = campaign.actions[action].action.channel if action is not None else None
    return bool(held_by(scopes, recipient, job=campaign.job.name, channel=channel))


def passed_over(record: str | None, step: int, reason: str) -> str | None:
    """The record with the reason why a step was passed over."""
    return _dumped(
        [
            each._replace(reason=reason) if number == step else each
            for number, each in enumerate(_loaded(record), 1)
        ]
    )


def goes_on(campaign: Campaign, segment: str, cause: FallbackCause) -> bool:
    """Whether the items of a segment go on with their next step after something has happened to them."""
    return any(cause in each.fallback_on for each in campaign.job.segments if each.name == segment)


def next_steps(campaign: Campaign, *, segment: str, step: int, record: str | None) -> tuple[NextStep, ...]:
    """What an item can be tried with after `step`, in order.

    Args:
        campaign: The compiled job.
        segment: The item's.
        step: The one that it is at, 0 for the segment's own action.
        record: Its steps, as it was planned with them.
    """
    prospects = _loaded(record)
    steps = campaign.segment(segment).fallback if prospects else ()
    return tuple(
        NextStep(
            step=number,
            action=each.sending.action,
            recipient=prospect.recipient,
            dedupe_key=dedupe_key(campaign, segment, prospect.recipient),
            limit_keys=prospect.limit_keys,
        )
        for number, (each, prospect) in enumerate(zip(steps, prospects, strict=True), 1)
        if number > step and prospect.recipient is not None and prospect.reason is None
    )


def _loaded(record: str | None) -> list[Prospect]:
    return [Prospect(*each) for each in orjson.loads(record)] if record else []


def _dumped(steps: Sequence[Prospect]) -> str | None:
    return orjson.dumps([list(each) for each in steps]).decode() if steps else None
