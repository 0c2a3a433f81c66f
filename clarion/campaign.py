"""A job made ready to run, and the mistakes of it that a person is told of."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from clarion.attributes import check_items
from clarion.conditions import Condition
from clarion.errors import InputError, InputErrors, RenderError, TemplateError, nearest
from clarion.links.making import LinkMaker, preview_links
from clarion.models.action import Action
from clarion.models.handlers import Handler
from clarion.models.job import Job
from clarion.receipts import PLAIN, CompiledReceipt
from clarion.recipients import Kind
from clarion.templating import Compiled
from clarion.timing import Timing


class Problems:
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


def located(where: str, build: Callable[[], Any]) -> Any:
    """What `build` gives; a mistake that it finds is told with its place in the file."""
    try:
        return build()
    except InputError as exc:
        raise type(exc)(
            f"{exc.where}: {exc.problem}" if exc.where else exc.problem,
            where=where,
            expected=exc.expected,
            nearest=exc.nearest,
        ) from None


@dataclass(frozen=True, kw_only=True)
class CompiledSegment:
    """A segment with its condition and templates compiled."""

    name: str
    action: str
    condition: Condition | None
    parameters: Mapping[str, Compiled]
    texts: Mapping[str, Compiled]
    fallback: tuple["CompiledStep", ...] = ()

    def at_step(self, step: int) -> "CompiledSegment":
        """The segment as a step of it sends: 0 by itself, from 1 on by its fallback steps."""
        return self.fallback[step - 1].sending if step else self

    def templates(self) -> Iterator[Compiled]:
        """Everything that is rendered for an item of the segment before the action's own templates."""
        yield from self.parameters.values()
        yield from self.texts.values()


@dataclass(frozen=True, kw_only=True)
class CompiledStep:
    """A fallback step: the segment as the step sends it, and its recipient; None for the item's own."""

    sending: CompiledSegment
    recipient: Compiled | None
    kind: Kind
    region: Compiled | None

    def templates(self) -> Iterator[Compiled]:
        """Everything that is rendered for an item of the step before the action's own templates."""
        yield from (each for each in (self.recipient, self.region) if each is not None)
        yield from self.sending.templates()


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
    limit_keys: tuple[Compiled | None, ...] = ()
    sender: Compiled | None = None
    """What recipients see as from; None where the action does not say."""
    receipt: CompiledReceipt = PLAIN

    @cached_property
    def header_names(self) -> frozenset[str]:
        """The names of the action's own headers, in lower case."""
        return frozenset(name.lower() for name in self.headers)

    @cached_property
    def extensions(self) -> dict[str, Any]:
        """The time-outs of its requests, as httpx knows them; shared by all of them."""
        kinds = ("connect", "read", "write", "pool")
        return {"timeout": dict.fromkeys(kinds, self.action.timeout_seconds)}

    @cached_property
    def body_depths(self) -> tuple[int, int]:
        """How far `success` and `retry` look into the answer's body: -1 not at all, 0 at it as a whole."""
        asked = [each.depth(("response", "body")) if each else -1 for each in (self.success, self.retry)]
        return asked[0], asked[1]

    def templates(self) -> Iterator[Compiled]:
        """Everything that is rendered for a call and its answer."""
        answers = (self.invocation_id, self.error_code, self.error_reason)
        for each in (self.url, *self.headers.values(), self.body, *answers, *self.limit_keys, self.sender):
            if each is not None:
                yield each

    def texts_asked_for(self, names: Iterable[str]) -> frozenset[str]:
        """The message texts that the action may use; all of them where it looks one up by a name."""
        named = {name for each in self.templates() for scope, name in each.references if scope == "template"}
        looked_up = any("template" in each.scopes and not each.references for each in self.templates())
        return frozenset(name for name in names if looked_up or name in named)

    def values(
        self, segment: CompiledSegment, scope: Mapping[str, Any], *, names: Collection[str] | None = None
    ) -> dict[str, Any]:
        """The action's parameters for one item: the segment's values, else the defaults, in their types.

        Args:
            segment: The segment.
            scope: What the values are rendered with.
            names: Only these parameters; None for all of them.

        Raises:
            RenderError: A value does not render or is not of the declared type.
        """
        values: dict[str, Any] = {}
        for parameter in self.action.parameters:
            if names is not None and parameter.name not in names:
                continue
            template = segment.parameters.get(parameter.name)
            try:
                values[parameter.name] = parameter.typed(None if template is None else template.render(scope))
            except ValueError as exc:
                raise RenderError(f"parameters.{parameter.name}: {exc}") from None
        return values


@dataclass(frozen=True, kw_only=True)
class CompiledHandler:
    """A handler with its condition and templates compiled.

    `sending` is what its action sends, by the segment of the item that the event is about, whose parameters
    it inherits; `texts` are the templates of a built-in reaction, by field.
    """

    handler: Handler
    condition: Condition
    sending: Mapping[str, CompiledSegment]
    recipient: Compiled | None
    region: Compiled | None
    texts: Mapping[str, Compiled]

    @property
    def name(self) -> str:
        """The handler's name."""
        return self.handler.name

    def templates(self) -> Iterator[Compiled]:
        """Everything of its own that is rendered for an event."""
        yield from (each for each in (self.recipient, self.region) if each is not None)
        yield from self.texts.values()
        for each in self.sending.values():
            yield from each.templates()


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A compiled job."""

    job: Job
    recipient: Compiled
    region: Compiled | None
    segments: tuple[CompiledSegment, ...]
    actions: Mapping[str, CompiledAction]
    exclude_recipients: tuple[Compiled | None, ...]
    timing: Timing | None = None
    handlers: tuple[CompiledHandler, ...] = ()

    def segment(self, name: str) -> CompiledSegment:
        """The segment of that name."""
        return next(segment for segment in self.segments if segment.name == name)

    def handler(self, name: str) -> CompiledHandler:
        """The handler of that name."""
        return next(handler for handler in self.handlers if handler.name == name)

    @cached_property
    def used_actions(self) -> frozenset[str]:
        """The actions of the segments, of their fallback steps and of the handlers."""
        steps = [step.sending for segment in self.segments for step in segment.fallback]
        reactions = {each.handler.action for each in self.handlers if each.handler.action is not None}
        return frozenset(reactions.union(each.action for each in (*self.segments, *steps)))

    @cached_property
    def preview_links(self) -> LinkMaker | None:
        """What makes links like those of a run, which lead nowhere; None where the messages have none."""
        return preview_links(self.job)

    def check_attributes(self, columns: list[str]) -> None:
        """Holds the templates and the conditions against the attributes that the lists have.

        A template may name one that no list has where it gives a default or asks for it; the recipient and
        the actions that no segment uses are apart from that: the one never may, the others always.

        Raises:
            ConditionError: A condition names an attribute that no list has.
            TemplateError: A template does.
            InputErrors: Several do.
        """
        problems = Problems()
        problems.attempt(_check_recipient, self.recipient, columns)
        problems.attempt(check_items, self._templates(), columns)
        for index, segment in enumerate(self.segments):
            if segment.condition is not None:
                where = f"segments[{index}].condition"
                problems.attempt(located, where, partial(segment.condition.check, {"item": columns}))
        for index, each in enumerate(self.handlers):
            where = f"events[{index}].condition"
            problems.attempt(located, where, partial(each.condition.check, {"item": columns}))
        problems.check()

    def _templates(self) -> Iterator[Compiled]:
        """What is rendered for items, but for their recipient."""
        if self.region is not None:
            yield self.region
        if self.timing is not None:
            yield from self.timing.templates()
        for segment in self.segments:
            yield from segment.templates()
            for step in segment.fallback:
                yield from step.templates()
        for handler in self.handlers:
            yield from handler.templates()
        for name in sorted(self.used_actions):
            yield from self.actions[name].templates()


def _check_recipient(template: Compiled, columns: list[str]) -> None:
    for scope, name in sorted(template.references):
        if scope == "item" and name not in columns:
            raise TemplateError(
                f"no list has the attribute {name!r}", where=template.where, nearest=nearest(name, columns)
            )
