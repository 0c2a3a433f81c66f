"""Compiling segments and their fallback steps: what is sent to whom, and with what."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from clarion.attributes import check_texts
from clarion.campaign import CompiledAction, CompiledSegment, CompiledStep, Problems
from clarion.compiling_texts import (
    ITEM_SCOPES,
    NOTHING,
    SEGMENT_SCOPES,
    compile_condition,
    compile_optional,
    compile_template,
)
from clarion.errors import JobError, nearest
from clarion.models.action import Action
from clarion.models.job import FallbackStep, Job, Segment
from clarion.templating import Compiled

V = TypeVar("V")

Actions = Mapping[str, CompiledAction | None]
"""The actions of a job; None in the place of one that has mistakes of its own."""


def compile_segment(segment: Segment, *, job: Job, actions: Actions, where: str) -> CompiledSegment:
    """The segment with its fallback steps."""
    problems = Problems()
    sending = problems.attempt(compile_sending, segment, job=job, actions=actions, where=where)
    steps = tuple(
        problems.attempt(
            _compile_step, segment, step, job=job, actions=actions, where=f"{where}.fallback[{index}]"
        )
        for index, step in enumerate(segment.fallback)
    )
    problems.check()
    return replace(sending, fallback=steps)


def _compile_step(
    segment: Segment, step: FallbackStep, *, job: Job, actions: Actions, where: str
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
            "parameters": only(segment.parameters, declared) | step.parameters,
            "template": only(segment.template, asked) | step.template,
        }
    )
    rule, problems = step.recipient, Problems()
    compiled = CompiledStep(
        sending=problems.attempt(compile_sending, whole, job=job, actions=actions, where=where),
        recipient=problems.attempt(
            compile_optional, rule and rule.value, where=f"{where}.recipient.value", scopes=ITEM_SCOPES
        ),
        kind=rule.type if rule else job.recipient.type,
        region=problems.attempt(
            compile_optional, rule and rule.region, where=f"{where}.recipient.region", scopes=ITEM_SCOPES
        ),
    )
    problems.check()
    return compiled


def only(values: Mapping[str, V], names: Collection[str]) -> dict[str, V]:
    """Those of the values that have one of the names."""
    return {name: value for name, value in values.items() if name in names}


def compile_sending(
    segment: Segment,
    *,
    job: Job,
    actions: Actions,
    where: str,
    more: Mapping[str, Sequence[str]] = NOTHING,
) -> CompiledSegment:
    """What a segment, a step of it, or a handler sends: its action's parameters and texts.

    Args:
        segment: What is given for the action; a handler's is made up.
        job: The job.
        actions: Its actions, compiled.
        where: Its path in the file.
        more: Further scopes that its templates may use, with their attributes.

    Raises:
        InputError: A template or the condition has mistakes, or what the action asks for is not there.
    """
    action = named_action(segment.action, job=job, where=where)
    problems = Problems()
    problems.attempt(_check_parameters, segment, action=action, where=f"{where}.parameters")
    scopes = (*SEGMENT_SCOPES, *more)
    compiled = CompiledSegment(
        name=segment.name,
        action=segment.action,
        condition=problems.attempt(
            compile_condition, segment.condition, where=f"{where}.condition", scopes=("item", "job")
        ),
        parameters={
            name: problems.attempt(
                compile_template, value, where=f"{where}.parameters.{name}", scopes=scopes, more=more
            )
            for name, value in segment.parameters.items()
        },
        texts=_compile_texts(segment, action=action, problems=problems, where=where, more=more),
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


def named_action(name: str, *, job: Job, where: str) -> Action:
    """The action of a name. Raises JobError where there is none."""
    action = job.actions.get(name)
    if action is not None:
        return action
    raise JobError(
        f"no action is named {name!r}",
        where=f"{where}.action",
        expected=f"one of {', '.join(job.actions) or '(the job has none)'}, or http-action/NAME",
        nearest=nearest(name, job.actions),
    )


def _compile_texts(
    segment: Segment,
    *,
    action: Action,
    problems: Problems,
    where: str,
    more: Mapping[str, Sequence[str]],
) -> dict[str, Compiled]:
    declared = [parameter.name for parameter in action.parameters]
    return {
        name: problems.attempt(
            compile_template,
            text.text or "",
            where=f"{where}.template.{name}",
            scopes=(*SEGMENT_SCOPES, *more, "parameters"),
            parameters=declared,
            html=text.is_html(name),
            more=more,
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
