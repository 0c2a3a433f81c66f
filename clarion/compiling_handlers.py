"""Compiling handlers: what each asks of an event, and what it does about it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from clarion.campaign import CompiledHandler, CompiledSegment, Problems
from clarion.compiling_segments import Actions, compile_sending, named_action, only
from clarion.compiling_texts import compile_condition, compile_optional
from clarion.errors import InputErrors, JobError
from clarion.models.handlers import BUILT_IN_TEXTS, Handler
from clarion.models.job import Job, Segment

EVENT_ATTRIBUTES = (
    "id", "type", "occurred_at", "received_at", "recipient", "sender", "invocation_id", "related_id",
    "client_ref", "name", "status", "error_code", "error", "text", "value", "currency", "endpoint",
    "attributed_by", "action", "src_ctx", "data",
)  # fmt: skip
"""What conditions and templates of handlers see as `event`."""

RUN_ITEM_ATTRIBUTES = (
    "id", "row", "segment", "recipient", "status", "reason", "action", "attempts", "delivery",
    "delivery_status", "delivery_code",
)  # fmt: skip
"""What conditions of handlers see as `run_item`: the item that the event is about."""

EVENT: Mapping[str, Sequence[str]] = MappingProxyType({"event": EVENT_ATTRIBUTES})
_CONDITION: Mapping[str, Sequence[str]] = MappingProxyType({**EVENT, "run_item": RUN_ITEM_ATTRIBUTES})
_CONDITION_SCOPES = ("event", "item", "run_item", "job")
_OWN_SCOPES = ("event", "item", "job", "run", "recipient")
"""Of what is rendered while the event is handled: there is no run item of the reaction yet."""


def compile_handler(handler: Handler, *, job: Job, actions: Actions, where: str) -> CompiledHandler:
    """The handler with its condition and templates compiled, once for each segment whose parameters differ.

    Raises:
        InputError: The condition or a template has mistakes, the action is none, or what it asks for is not
            there; all of them at once.
    """
    problems = Problems()
    rule = handler.recipient
    compiled = CompiledHandler(
        handler=handler,
        condition=problems.attempt(
            compile_condition,
            handler.condition,
            where=f"{where}.condition",
            scopes=_CONDITION_SCOPES,
            more=_CONDITION,
        ),
        sending=problems.attempt(_sendings, handler, job=job, actions=actions, where=where),
        recipient=problems.attempt(_own, rule and rule.value, where=f"{where}.recipient.value"),
        region=problems.attempt(_own, rule and rule.region, where=f"{where}.recipient.region"),
        texts=_texts(handler, problems=problems, where=where),
    )
    problems.attempt(_check_channel, handler, job=job, where=where)
    if handler.windows == "respect" and not (job.windows or job.holidays):
        problems.attempt(_refuse_windows, where=f"{where}.windows")
    problems.check()
    return compiled


def _refuse_windows(*, where: str) -> NoReturn:
    raise JobError("goes with windows or holidays of the job", where=where)


def _own(source: Any, *, where: str) -> Any:
    return compile_optional(source, where=where, scopes=_OWN_SCOPES, more=EVENT)


def _texts(handler: Handler, *, problems: Problems, where: str) -> dict[str, Any]:
    given = getattr(handler, handler.kind)
    at = f"{where}.{handler.kind}"
    texts = {
        field: problems.attempt(_own, getattr(given, field), where=f"{at}.{field}")
        for field in BUILT_IN_TEXTS.get(handler.kind, ())
    }
    return {field: text for field, text in texts.items() if text is not None}


def _sendings(handler: Handler, *, job: Job, actions: Actions, where: str) -> Mapping[str, CompiledSegment]:
    """What the action sends, by segment: it answers with the parameters that the segment was sent with."""
    if handler.action is None:
        return {}
    action = named_action(handler.action, job=job, where=where)
    declared = {parameter.name for parameter in action.parameters}
    made: list[tuple[dict[str, Any], CompiledSegment]] = []
    found: dict[str, CompiledSegment] = {}
    for segment in job.segments:
        parameters = only(_parameters_of(segment, handler.action), declared) | handler.parameters
        known = next((sending for given, sending in made if given == parameters), None)
        if known is None:
            known = _sending(handler, parameters, job=job, actions=actions, where=where)
            made.append((parameters, known))
        found[segment.name] = known
    return found


def _parameters_of(segment: Segment, action: str) -> dict[str, Any]:
    """What the segment gives: of its fallback steps the one with the action, where its own is another."""
    steps = [step for step in segment.fallback if step.action == action]
    if segment.action == action or not steps:
        return segment.parameters
    return segment.parameters | steps[0].parameters


def _sending(
    handler: Handler, parameters: dict[str, Any], *, job: Job, actions: Actions, where: str
) -> CompiledSegment:
    whole = Segment(
        name=handler.name,
        action=str(handler.action),
        parameters=parameters,
        template=handler.template,
    )
    return compile_sending(whole, job=job, actions=actions, where=where, more=EVENT)


def _check_channel(handler: Handler, *, job: Job, where: str) -> None:
    """Who is unsubscribed of a channel must have been reached by one."""
    if handler.unsubscribe is None or handler.unsubscribe.scope != "channel":
        return
    steps = [
        (step.action, f"segments[{i}].fallback[{n}]")
        for i, each in enumerate(job.segments)
        for n, step in enumerate(each.fallback)
    ]
    named = [(each.action, f"segments[{i}]") for i, each in enumerate(job.segments)]
    problems = [
        JobError(
            f"the action {name!r} (of {place}) has no channel",
            where=f"{where}.unsubscribe.scope",
            expected="a channel at that action, or the scope everything or job",
        )
        for name, place in (*named, *steps)
        if (action := job.actions.get(name)) is not None and action.channel is None
    ]
    if problems:
        raise problems[0] if len(problems) == 1 else InputErrors(problems)
