"""A job made ready to run: every condition parsed, every template compiled, every mistake found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

from clarion.conditions import Condition, parse
from clarion.errors import InputError, InputErrors, JobError, RenderError, TemplateError, nearest, path_text
from clarion.models.action import Action
from clarion.models.job import Job, ListSource, Segment
from clarion.templating import Compiled, check_header_name, compile_value

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

    @cached_property
    def header_names(self) -> frozenset[str]:
        """The names of the action's own headers, in lower case."""
        return frozenset(name.lower() for name in self.headers)

    @cached_property
    def extensions(self) -> dict[str, Any]:
        """The time-outs of its requests, as httpx knows them; shared by all of them."""
        kinds = ("connect", "read", "write", "pool")
        return {"timeout": dict.fromkeys(kinds, self.action.timeout_seconds)}

    def values(self, segment: CompiledSegment, scope: Mapping[str, Any]) -> dict[str, Any]:
        """The action's parameters for one item: the segment's values, else the defaults, in their types.

        Raises:
            RenderError: A value does not render or is not of the declared type.
        """
        values: dict[str, Any] = {}
        for parameter in self.action.parameters:
            template = segment.parameters.get(parameter.name)
            try:
                values[parameter.name] = parameter.typed(None if template is None else template.render(scope))
            except ValueError as exc:
                raise RenderError(f"parameters.{parameter.name}: {exc}") from None
        return values


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
        """Holds the recipient and the conditions against the attributes that the lists have.

        Raises:
            ConditionError: A condition names an attribute that no list has.
            TemplateError: The recipient does.
            InputErrors: Several do.
        """
        problems = _Problems()
        problems.attempt(_check_recipient, self.recipient, columns)
        for index, segment in enumerate(self.segments):
            if segment.condition is not None:
                where = f"segments[{index}].condition"
                problems.attempt(_located, where, partial(segment.condition.check, {"item": columns}))
        problems.check()


def _check_recipient(template: Compiled, columns: list[str]) -> None:
    for scope, name in sorted(template.references):
        if scope == "item" and name not in columns:
            raise TemplateError(
                f"no list has the attribute {name!r}", where=template.where, nearest=nearest(name, columns)
            )


def resolve_actions(job: Job, *, load: Callable[[str], Action]) -> Job:
    """The job with every saved action that its segments name taken in, so that a run's snapshot is whole.

    Args:
        job: The job.
        load: Loads `http-action/NAME`; raises InputError where there is none.
    """
    named = {segment.action for segment in job.segments} - job.actions.keys()
    saved = {name: load(name) for name in sorted(named) if name.startswith(SAVED_ACTION_PREFIX)}
    return job.model_copy(update={"actions": {**job.actions, **saved}})


class _Problems:
    """Mistakes found while building goes on, so that a person sees all of them."""

    def __init__(self) -> None:
        self._found: list[InputError] = []

    def attempt(self, build: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What `build` gives; None where it finds a mistake."""
        try:
            return build(*args, **options)
        except InputErrors as exc:
            self._found += exc.problems
        except InputError as exc:
            self._found.append(exc)
        return None

    def check(self) -> None:
        """Raises the one mistake, or InputErrors with all of them."""
        if self._found:
            raise self._found[0] if len(self._found) == 1 else InputErrors(self._found)


def compile_job(job: Job) -> Campaign:
    """The campaign of a job whose saved actions are resolved.

    Raises:
        InputError: A template or condition does not parse, or a segment names no action; all of them at once.
    """
    problems = _Problems()
    rule = job.recipient
    campaign = Campaign(
        job=job,
        recipient=problems.attempt(_template, rule.value, where="recipient.value", scopes=_ITEM),
        region=problems.attempt(_optional, rule.region, where="recipient.region", scopes=_ITEM),
        segments=tuple(
            problems.attempt(_compile_segment, segment, job=job, where=f"segments[{index}]")
            for index, segment in enumerate(job.segments)
        ),
        actions={
            name: problems.attempt(compile_action, action, name=name, where=path_text(("actions", name)))
            for name, action in job.actions.items()
        },
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
    problems = _Problems()
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


def _compile_segment(segment: Segment, *, job: Job, where: str) -> CompiledSegment:
    action = job.actions.get(segment.action)
    if action is None:
        raise JobError(
            f"no action is named {segment.action!r}",
            where=f"{where}.action",
            expected=f"one of {', '.join(job.actions) or '(the job has none)'}, or http-action/NAME",
            nearest=nearest(segment.action, job.actions),
        )
    problems = _Problems()
    problems.attempt(_check_parameters, segment, action=action, where=f"{where}.parameters")
    declared = [parameter.name for parameter in action.parameters]
    text_scopes = (*_SEGMENT, "parameters")
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
        texts={
            name: problems.attempt(
                _template,
                text.text or "",
                where=f"{where}.template.{name}",
                scopes=text_scopes,
                parameters=declared,
                html=text.is_html(name),
            )
            for name, text in segment.template.items()
        },
    )
    problems.check()
    _check_constants(compiled, action=action)
    return compiled


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
    condition = _located(where, partial(parse, source, scopes=scopes))
    _located(where, partial(condition.check, ATTRIBUTES))
    return condition


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
