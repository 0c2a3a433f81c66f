"""Compiling a job: every condition parsed, every template compiled, every mistake found at once."""

from collections.abc import Callable, Sequence
from functools import partial

from clarion.campaign import Campaign, CompiledAction, Problems
from clarion.compiling_handlers import compile_handler
from clarion.compiling_receipts import compile_receipt, of_receipt
from clarion.compiling_segments import compile_segment
from clarion.compiling_texts import (
    ACTION_SCOPES,
    ITEM_SCOPES,
    LIMIT_SCOPES,
    compile_condition,
    compile_optional,
    compile_template,
)
from clarion.errors import JobError, RenderError, path_text
from clarion.models.action import Action
from clarion.models.job import Job, ListSource
from clarion.templating import Compiled, check_header_name
from clarion.timing import Timing, compile_timing

SAVED_ACTION_PREFIX = "http-action/"


def resolve_actions(job: Job, *, load: Callable[[str], Action]) -> Job:
    """The job with every saved action that it names taken in, so that a run's snapshot is whole.

    Args:
        job: The job.
        load: Loads `http-action/NAME`; raises InputError where there is none.
    """
    steps = [step for segment in job.segments for step in segment.fallback]
    reactions = {handler.action for handler in job.events if handler.action is not None}
    named = {each.action for each in (*job.segments, *steps)} | reactions
    named -= job.actions.keys()
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
        recipient=problems.attempt(compile_template, rule.value, where="recipient.value", scopes=ITEM_SCOPES),
        region=problems.attempt(compile_optional, rule.region, where="recipient.region", scopes=ITEM_SCOPES),
        segments=tuple(
            problems.attempt(compile_segment, segment, job=job, actions=actions, where=f"segments[{index}]")
            for index, segment in enumerate(job.segments)
        ),
        actions=actions,
        handlers=tuple(
            problems.attempt(compile_handler, handler, job=job, actions=actions, where=f"events[{index}]")
            for index, handler in enumerate(job.events)
        ),
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
    template = partial(problems.attempt, compile_optional, scopes=ACTION_SCOPES, parameters=declared)
    answered = partial(
        problems.attempt, compile_optional, scopes=(*ACTION_SCOPES, "response"), parameters=declared
    )
    condition = partial(problems.attempt, compile_condition, scopes=("response",))
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
        error_code=answered(_of_answer(response.error.code), where=f"{policy}.error.code"),
        error_reason=answered(_of_answer(response.error.reason), where=f"{policy}.error.reason"),
        sender=problems.attempt(
            compile_optional,
            action.sender or _usual_sender(declared),
            where=f"{where}.sender",
            scopes=LIMIT_SCOPES,
            parameters=declared,
        ),
        receipt=problems.attempt(compile_receipt, response, where=policy),
        limit_keys=tuple(
            problems.attempt(
                compile_optional,
                limit.key,
                where=f"{where}.limits[{index}].key",
                scopes=LIMIT_SCOPES,
                parameters=declared,
            )
            for index, limit in enumerate(action.limits)
        ),
    )
    problems.check()
    return compiled


def _of_answer(error: str | None) -> str | None:
    """A template of `response.error`, unless it is for receipts."""
    return None if of_receipt(error) else error


def _usual_sender(declared: Sequence[str]) -> str | None:
    """The parameter that an action most likely sends from."""
    name = next((name for name in ("sender", "from") if name in declared), None)
    return None if name is None else f"{{{{ parameters[{name!r}] }}}}"


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


def _compile_timing(job: Job) -> Timing | None:
    return compile_timing(
        job,
        send_at=compile_optional(job.send_at, where="send_at", scopes=ITEM_SCOPES),
        timezone=compile_optional(job.timezone, where="timezone", scopes=ITEM_SCOPES),
    )


def _compile_exclude(source: ListSource, *, index: int) -> Compiled | None:
    where = f"recipients.exclude[{index}].recipient"
    return compile_optional(source.recipient, where=where, scopes=("item", "job"))
