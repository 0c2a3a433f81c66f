"""Compiling a job: every condition parsed, every template compiled, every mistake found at once."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from clarion.attributes import check_texts
from clarion.campaign import Campaign, CompiledAction, CompiledSegment, CompiledStep, Problems, located
from clarion.conditions import Condition, parse
from clarion.errors import JobError, RenderError, TemplateError, nearest, path_text
from clarion.models.action import Action
from clarion.models.job import FallbackStep, Job, ListSource, Segment
from clarion.templating import Compiled, check_header_name, compile_value
from clarion.timing import Timing, compile_timing

V = TypeVar("V")

SAVED_ACTION_PREFIX = "http-action/"

ATTRIBUTES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "job": ("name", "description", "tags"),
        "run": ("id", "name", "start_at"),
        "run_item": ("id", "row", "segment"),
        "response": ("status_code", "headers", "body"),
    }
)
"""What the scopes hold that are the same for every item."""

_ITEM = ("item", "job", "run")
_SEGMENT = (*_ITEM, "recipient", "run_item")
_ACTION = (*_SEGMENT, "parameters", "template")
_LIMIT = (*_ITEM, "recipient", "parameters")


def resolve_actions(job: Job, *, load: Callable[[str], Action]) -> Job:
    """The job with every saved action that it names taken in, so that a run's snapshot is whole.

    Args:
        job: The job.
        load: Loads `http-action/NAME`; raises InputError where there is none.
    """
    steps = [step for segment in job.segments for step in segment.fallback]
    named = {each.action for each in (*job.segments, *steps)} - job.actions.keys()
    saved = {name: load(name) for name in sorted(named) if name.startswith(SAVED_ACTION_PREFIX)}
    return job.model_copy(update={"actions": {**job.actions, **saved}})


def compile_job(job: Job) -> Campaign:
    """The campaign of a job whose saved actions are resolved.

    Raises:
        InputError: A template or condition does not parse, or a segment names no action; all of them at once.
    """
    problems = Problems()
    rule = job.recipient
    actions = {
        name: problems.attempt(compile_action, action, name=name, where=path_text(("actions", name)))
        for name, action in job.actions.items()
    }
    campaign = Campaign(
        job=job,
        recipient=problems.attempt(_template, rule.value, where="recipient.value", scopes=_ITEM),
        region=problems.attempt(_optional, rule.region, where="recipient.region", scopes=_ITEM),
        segments=tuple(
            problems.attempt(_compile_segment, segment, job=job, actions=actions, where=f"segments[{index}]")
            for index, segment in enumerate(job.segments)
        ),
        actions=actions,
        timing=problems.attempt(_compile_timing, job),
        exclude_recipients=tuple(
            problems.attempt(_compile_exclude, source, index=index)
            for index, source in enumerate(job.recipients.exclude)
        ),
    )
    problems.check()
    return campaign


def compile_action(action: Action, *, name: str, where: str) -> CompiledAction:
    """The action with its templates and conditions compiled.

    Raises:
        TemplateError: A template does not parse, or names a parameter that the action does not have.
        ConditionError: A condition does not parse.
        JobError: A header's name is none.
        InputErrors: Several of these.
    """
    command, response = action.command, action.response
    kind = next((kind for kind in ("payload", "form", "body") if getattr(command, kind) is not None), "none")
    at, policy = f"{where}.command", f"{where}.response"
    problems = Problems()
    declared = [parameter.name for parameter in action.parameters]
    template = partial(problems.attempt, _optional, scopes=_ACTION, parameters=declared)
    answered = partial(problems.attempt, _optional, scopes=(*_ACTION, "response"), parameters=declared)
    condition = partial(problems.attempt, _condition, scopes=("response",))
    problems.attempt(_check_headers, action, where=where)
    compiled = CompiledAction(
        name=name,
        action=action,
        url=template(command.url, where=f"{at}.url"),
        headers={
            header: template(text, where=f"{at}.headers.{header}") for header, text in command.headers.items()
        },
        body_kind=kind,
        body=template(getattr(command, kind, None), where=f"{at}.{kind}"),
        success=condition(response.success_condition, where=f"{policy}.success_condition"),
        retry=condition(response.retry_condition, where=f"{policy}.retry_condition"),
        invocation_id=answered(response.invocation_id, where=f"{policy}.invocation_id"),
        error_code=answered(response.error.code, where=f"{policy}.error.code"),
        error_reason=answered(response.error.reason, where=f"{policy}.error.reason"),
        limit_keys=tuple(
            problems.attempt(
                _optional,
                limit.key,
                where=f"{where}.limits[{index}].key",
                scopes=_LIMIT,
                parameters=declared,
            )
            for index, limit in enumerate(action.limits)
        ),
    )
    problems.check()
    return compiled


def _check_headers(action: Action, *, where: str) -> None:
    """The names of headers are such, and none stands twice in another case."""
    seen: set[str] = set()
    named = [(name, f"{where}.command.headers") for name in action.command.headers]
    for name, place in [*named, (action.idempotency_header, f"{where}.idempotency_header")]:
        if name is None:
            continue
        try:
            check_header_name(name, where=place)
        except RenderError:
            raise JobError(f"{name!r} is no name of a header", where=place) from None
        if name.lower() in seen and place.endswith("headers"):
            raise JobError(f"the header {name!r} stands twice", where=place)
        seen.add(name.lower())


_Actions = Mapping[str, CompiledAction | None]
"""The actions of a job; None in the place of one that has mistakes of its own."""


def _compile_segment(segment: Segment, *, job: Job, actions: _Actions, where: str) -> CompiledSegment:
    """The segment with its fallback steps."""
    problems = Problems()
    sending = problems.attempt(_compile_sending, segment, job=job, actions=actions, where=where)
    steps = tuple(
        problems.attempt(
            _compile_step, segment, step, job=job, actions=actions, where=f"{where}.fallback[{index}]"
        )
        for index, step in enumerate(segment.fallback)
    )
    problems.check()
    return replace(sending, fallback=steps)


def _compile_step(
    segment: Segment, step: FallbackStep, *, job: Job, actions: _Actions, where: str
) -> CompiledStep:
    """A fallback step, which has the segment's parameters and texts unless it gives its own.

    Of the segment's own it has those that its action takes: texts for the first channel do not render for it.
    """
    action = actions.get(step.action)
    declared = {parameter.name for parameter in action.action.parameters} if action else set()
    asked = action.texts_asked_for(segment.template) if action else frozenset()
    whole = segment.model_copy(
        update={
            "condition": None,
            "action": step.action,
            "parameters": _only(segment.parameters, declared) | step.parameters,
            "template": _only(segment.template, asked) | step.template,
        }
    )
    rule, problems = step.recipient, Problems()
    compiled = CompiledStep(
        sending=problems.attempt(_compile_sending, whole, job=job, actions=actions, where=where),
        recipient=problems.attempt(
            _optional, rule and rule.value, where=f"{where}.recipient.value", scopes=_ITEM
        ),
        kind=rule.type if rule else job.recipient.type,
        region=problems.attempt(
            _optional, rule and rule.region, where=f"{where}.recipient.region", scopes=_ITEM
        ),
    )
    problems.check()
    return compiled


def _only(values: Mapping[str, V], names: Collection[str]) -> dict[str, V]:
    return {name: value for name, value in values.items() if name in names}


def _compile_sending(segment: Segment, *, job: Job, actions: _Actions, where: str) -> CompiledSegment:
    """What a segment, or a step of it, sends: its action's parameters and texts.

    Raises:
        InputError: A template or the condition has mistakes, or what the action asks for is not there.
    """
    action = _named_action(segment, job=job, where=where)
    problems = Problems()
    problems.attempt(_check_parameters, segment, action=action, where=f"{where}.parameters")
    compiled = CompiledSegment(
        name=segment.name,
        action=segment.action,
        condition=problems.attempt(
            _condition, segment.condition, where=f"{where}.condition", scopes=("item", "job")
        ),
        parameters={
            name: problems.attempt(_template, value, where=f"{where}.parameters.{name}", scopes=_SEGMENT)
            for name, value in segment.parameters.items()
        },
        texts=_compile_texts(segment, action=action, problems=problems, where=where),
    )
    compiled_action = actions.get(segment.action)
    if compiled_action is not None:
        problems.attempt(
            check_texts,
            compiled_action.templates(),
            compiled.texts,
            action=segment.action,
            where=f"{where}.template",
        )
    problems.check()
    _check_constants(compiled, action=action)
    return compiled


def _named_action(segment: Segment, *, job: Job, where: str) -> Action:
    """The action that a segment names. Raises JobError where there is none."""
    action = job.actions.get(segment.action)
    if action is not None:
        return action
    raise JobError(
        f"no action is named {segment.action!r}",
        where=f"{where}.action",
        expected=f"one of {', '.join(job.actions) or '(the job has none)'}, or http-action/NAME",
        nearest=nearest(segment.action, job.actions),
    )


def _compile_texts(
    segment: Segment, *, action: Action, problems: Problems, where: str
) -> dict[str, Compiled]:
    declared = [parameter.name for parameter in action.parameters]
    return {
        name: problems.attempt(
            _template,
            text.text or "",
            where=f"{where}.template.{name}",
            scopes=(*_SEGMENT, "parameters"),
            parameters=declared,
            html=text.is_html(name),
        )
        for name, text in segment.template.items()
    }


def _check_constants(segment: CompiledSegment, *, action: Action) -> None:
    """A parameter without a template in it is of its type now, or never."""
    for parameter in action.parameters:
        template = segment.parameters.get(parameter.name)
        if template is not None and template.constant:
            try:
                parameter.typed(template.render({}))
            except ValueError as exc:
                raise JobError(str(exc), where=template.where) from None


def _check_parameters(segment: Segment, *, action: Action, where: str) -> None:
    """A segment gives what the action asks for, and nothing that it does not know."""
    declared = {parameter.name: parameter for parameter in action.parameters}
    for name in segment.parameters:
        if name not in declared:
            raise JobError(
                f"the action {segment.action!r} has no parameter {name!r}",
                where=f"{where}.{name}",
                expected=f"one of {', '.join(declared)}" if declared else "no parameters",
                nearest=nearest(name, declared),
            )
    for name, parameter in declared.items():
        if name not in segment.parameters and parameter.default is None:
            raise JobError(f"the action {segment.action!r} needs the parameter {name!r}", where=where)


def _compile_timing(job: Job) -> Timing | None:
    return compile_timing(
        job,
        send_at=_optional(job.send_at, where="send_at", scopes=_ITEM),
        timezone=_optional(job.timezone, where="timezone", scopes=_ITEM),
    )


def _compile_exclude(source: ListSource, *, index: int) -> Compiled | None:
    where = f"recipients.exclude[{index}].recipient"
    return _optional(source.recipient, where=where, scopes=("item", "job"))


def _optional(source: Any, *, where: str, scopes: Sequence[str], parameters: Sequence[str] = ()) -> Any:
    return None if source is None else _template(source, where=where, scopes=scopes, parameters=parameters)


def _template(
    source: Any, *, where: str, scopes: Sequence[str], parameters: Sequence[str] = (), html: bool = False
) -> Compiled:
    """The value compiled, and held against the attributes that are known before there is any item."""
    compiled = compile_value(source, where=where, scopes=scopes, html=html)
    known = {**ATTRIBUTES, "parameters": parameters}
    for scope, name in sorted(compiled.references):
        if scope in known and name not in known[scope]:
            raise TemplateError(
                f"{scope} has no {name!r}",
                where=where,
                expected=f"one of {', '.join(known[scope])}"
                if known[scope]
                else f"no {scope}: there are none",
                nearest=nearest(name, known[scope]),
            )
    return compiled


def _condition(source: str | None, *, where: str, scopes: Sequence[str]) -> Condition | None:
    if source is None:
        return None
    condition = located(where, partial(parse, source, scopes=scopes))
    located(where, partial(condition.check, ATTRIBUTES))
    return condition
