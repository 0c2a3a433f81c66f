"""A job made ready to run: every condition parsed, every template compiled, every mistake found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clarion.conditions import Condition, parse
from clarion.errors import InputError, InputErrors, JobError, RenderError, nearest
from clarion.models.action import Action, Parameter
from clarion.models.job import Job, ListSource, Segment
from clarion.templating import Compiled, compile_text, compile_value

SAVED_ACTION_PREFIX = "http-action/"

_ITEM = ("item", "job", "run")
_SEGMENT = (*_ITEM, "recipient", "run_item")
_ACTION = (*_SEGMENT, "parameters", "template")


@dataclass(frozen=True, kw_only=True)
class CompiledSegment:
    """A segment with its condition and templates compiled."""

    name: str
    action: str
    condition: Condition | None
    parameters: Mapping[str, Compiled]
    texts: Mapping[str, Compiled]


@dataclass(frozen=True, kw_only=True)
class CompiledAction:
    """An action with its templates and conditions compiled; `body_kind` is payload, form, body or none."""

    name: str
    action: Action
    url: Compiled
    headers: Mapping[str, Compiled]
    body_kind: str
    body: Compiled | None
    success: Condition | None
    retry: Condition | None
    invocation_id: Compiled | None
    error_code: Compiled | None
    error_reason: Compiled | None

    def values(self, segment: CompiledSegment, scope: Mapping[str, Any]) -> dict[str, Any]:
        """The action's parameters for one item: the segment's values, else the defaults, in their types.

        Raises:
            RenderError: A value does not render or is not of the declared type.
        """
        given = {name: template.render(scope) for name, template in segment.parameters.items()}
        for parameter in self.action.parameters:
            value = given.get(parameter.name, parameter.default)
            given[parameter.name] = _typed(parameter, value)
        return given


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A compiled job."""

    job: Job
    recipient: Compiled
    region: Compiled | None
    segments: tuple[CompiledSegment, ...]
    actions: Mapping[str, CompiledAction]
    exclude_recipients: tuple[Compiled | None, ...]

    def segment(self, name: str) -> CompiledSegment:
        """The segment of that name."""
        return next(segment for segment in self.segments if segment.name == name)

    def check_attributes(self, columns: list[str]) -> None:
        """Holds the conditions against the attributes that the lists have.

        Raises:
            ConditionError: A condition names an attribute that no list has.
        """
        for index, segment in enumerate(self.segments):
            if segment.condition is not None:
                _located(
                    f"segments[{index}].condition", lambda c=segment.condition: c.check({"item": columns})
                )


def resolve_actions(job: Job, *, load: Callable[[str], Action]) -> Job:
    """The job with every saved action that its segments name taken in, so that a run's snapshot is whole.

    Args:
        job: The job.
        load: Loads `http-action/NAME`; raises InputError where there is none.
    """
    saved = {
        segment.action: load(segment.action)
        for segment in job.segments
        if segment.action.startswith(SAVED_ACTION_PREFIX) and segment.action not in job.actions
    }
    return job.model_copy(update={"actions": {**job.actions, **saved}})


def compile_job(job: Job) -> Campaign:
    """The campaign of a job whose saved actions are resolved.

    Raises:
        InputError: A template or condition does not parse, or a segment names no action; all of them at once.
    """
    problems: list[InputError] = []

    def attempt(build: Callable[[], Any]) -> Any:
        try:
            return build()
        except InputErrors as exc:
            problems.extend(exc.problems)  # type: ignore[arg-type]
        except InputError as exc:
            problems.append(exc)
        return None

    actions = {
        name: attempt(lambda n=name, a=action: compile_action(a, name=n, where=f"actions.{n}"))
        for name, action in job.actions.items()
    }
    segments = [
        attempt(lambda i=index, s=segment: _compile_segment(s, job=job, where=f"segments[{i}]"))
        for index, segment in enumerate(job.segments)
    ]
    rule = job.recipient
    recipient = attempt(lambda: compile_value(rule.value, where="recipient.value", scopes=_ITEM))
    region = attempt(lambda: _optional(rule.region, where="recipient.region", scopes=_ITEM))
    excludes = [
        attempt(lambda i=index, s=source: _compile_exclude(s, index=i))
        for index, source in enumerate(job.recipients.exclude)
    ]
    if problems:
        raise problems[0] if len(problems) == 1 else InputErrors(problems)
    return Campaign(
        job=job,
        recipient=recipient,
        region=region,
        segments=tuple(segments),
        actions=actions,
        exclude_recipients=tuple(excludes),
    )


def compile_action(action: Action, *, name: str, where: str) -> CompiledAction:
    """The action with its templates and conditions compiled.

    Raises:
        TemplateError: A template does not parse.
        ConditionError: A condition does not parse.
    """
    command, response = action.command, action.response
    at = f"{where}.command"
    kind = next((kind for kind in ("payload", "form", "body") if getattr(command, kind) is not None), "none")
    body = None if kind == "none" else getattr(command, kind)
    policy = f"{where}.response"
    answer = (*_ACTION, "response")
    return CompiledAction(
        name=name,
        action=action,
        url=compile_text(command.url, where=f"{at}.url", scopes=_ACTION),
        headers={
            header: compile_text(text, where=f"{at}.headers.{header}", scopes=_ACTION)
            for header, text in command.headers.items()
        },
        body_kind=kind,
        body=None if body is None else compile_value(body, where=f"{at}.{kind}", scopes=_ACTION),
        success=_condition(
            response.success_condition, where=f"{policy}.success_condition", scopes=("response",)
        ),
        retry=_condition(response.retry_condition, where=f"{policy}.retry_condition", scopes=("response",)),
        invocation_id=_optional(response.invocation_id, where=f"{policy}.invocation_id", scopes=answer),
        error_code=_optional(response.error.code, where=f"{policy}.error.code", scopes=answer),
        error_reason=_optional(response.error.reason, where=f"{policy}.error.reason", scopes=answer),
    )


def _compile_segment(segment: Segment, *, job: Job, where: str) -> CompiledSegment:
    action = job.actions.get(segment.action)
    if action is None:
        raise JobError(
            f"no action is named {segment.action!r}",
            where=f"{where}.action",
            expected=f"one of {', '.join(job.actions) or '(the job has none)'}, or http-action/NAME",
            nearest=nearest(segment.action, job.actions),
        )
    _check_parameters(segment, action=action, where=f"{where}.parameters")
    return CompiledSegment(
        name=segment.name,
        action=segment.action,
        condition=_condition(segment.condition, where=f"{where}.condition", scopes=("item", "job")),
        parameters={
            name: compile_value(value, where=f"{where}.parameters.{name}", scopes=_SEGMENT)
            for name, value in segment.parameters.items()
        },
        texts={
            name: compile_text(
                text.text or "",
                where=f"{where}.template.{name}",
                scopes=(*_SEGMENT, "parameters"),
                html=text.is_html(name),
            )
            for name, text in segment.template.items()
        },
    )


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


def _compile_exclude(source: ListSource, *, index: int) -> Compiled | None:
    return _optional(source.recipient, where=f"recipients.exclude[{index}].recipient", scopes=_ITEM)


def _optional(source: str | None, *, where: str, scopes: tuple[str, ...]) -> Compiled | None:
    return None if source is None else compile_value(source, where=where, scopes=scopes)


def _condition(source: str | None, *, where: str, scopes: tuple[str, ...]) -> Condition | None:
    return None if source is None else _located(where, lambda: parse(source, scopes=scopes))


def _located(where: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except InputError as exc:
        raise type(exc)(
            f"{exc.where}: {exc.problem}" if exc.where else exc.problem,
            where=where,
            expected=exc.expected,
            nearest=exc.nearest,
        ) from None


_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def _typed(parameter: Parameter, value: Any) -> Any:
    """`value` in the parameter's declared type."""
    if parameter.type == "string":
        return value if isinstance(value, str) else str(value)
    text = str(value).strip().lower()
    if parameter.type == "boolean":
        if text in _TRUE | _FALSE:
            return text in _TRUE
        raise RenderError(f"parameters.{parameter.name}: {text!r} is no boolean")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise RenderError(f"parameters.{parameter.name}: {text!r} is no number") from None
