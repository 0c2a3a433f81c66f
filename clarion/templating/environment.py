"""One sandboxed Jinja2 environment for text and one for HTML.

What differs from Jinja's own `ImmutableSandboxedEnvironment`:

* `a.b` and `a["b"]` are the attribute of a mapping and nothing else. No Python attribute is reachable but
  those of `loop`, and only `range`, two functions of `loop` and those that make links can be called at all
  (`syntax.py`).
* null and an absent attribute are both *missing*. What is missing may only be asked about (`is defined`) or
  replaced (`default`); an attribute of something missing is missing as well.
* Operators, loops and ranges are bounded.
* `set` at the top level exports nothing: all texts of one payload share a context, and none sees another's
  variables.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import StrictUndefined, Undefined, UndefinedError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext, markup_join, str_join
from jinja2.runtime import missing as absent
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context, pass_eval_context

from clarion.errors import RenderError
from clarion.templating.filters import FILTERS, TESTS
from clarion.templating.limits import MAX_BITS, MAX_SIZE, MAX_STEPS, bounded, gathered, to_text
from clarion.templating.links import LINK_FILTERS

LOOP_ATTRIBUTES = frozenset(
    {
        "changed",
        "cycle",
        "first",
        "index",
        "index0",
        "last",
        "length",
        "nextitem",
        "previtem",
        "revindex",
        "revindex0",
    }
)
_SEQUENCES = (str, list, tuple, range)


class MissingError(UndefinedError):
    """Something missing was used as if it were there."""

    def __init__(self, owner: Any, name: Any) -> None:
        super().__init__(f"{name!r} is missing")
        self.owner = owner
        """What does not have it; `absent` where the scope itself is missing."""
        self.name = name


class Missing(StrictUndefined):
    """An attribute that is not there, or null."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        """Jinja's own reason; where it knows no better than "undefined", an error that knows the owner."""
        if self._undefined_hint:
            return self._undefined_hint
        raise MissingError(self._undefined_obj, self._undefined_name)


class RenderContext(Context):
    """The scopes of one render. Unlike its parent it copies nothing: it is made for each message."""

    def __init__(self, environment: "TemplateEnvironment", scope: Mapping[str, Any]) -> None:
        self.environment = environment
        self.eval_ctx = environment.eval_context
        self.scope = scope
        self.steps_left = MAX_STEPS

    def resolve_or_missing(self, key: str) -> Any:
        """The scope of this name; `range` is the one name that is no scope."""
        value = self.scope.get(key)
        if value is not None:
            return value
        return bounded_range if key == "range" else absent


class TemplateCodeGenerator(CodeGenerator):
    """Jinja's compiler, with results that keep their type."""

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        """The value itself of a text that is one expression; no syntax makes this node otherwise."""
        self.newline(node)
        self.write("yield ")
        self.visit(node.node, frame)

    def pop_assign_tracking(self, frame: Frame) -> None:  # noqa: ARG002 - the parent exports through it
        """Forget the names that were set instead of exporting them to the context."""
        self._assign_stack.pop()


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2 as templates of jobs and actions see it.

    Args:
        html: Whether values are escaped.
    """

    code_generator_class = TemplateCodeGenerator
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *, html: bool) -> None:
        super().__init__(
            autoescape=html, undefined=Missing, keep_trailing_newline=True, finalize=to_text, cache_size=0
        )
        self.filters = dict(FILTERS) | INTERNAL_FILTERS
        self.tests = dict(TESTS)
        self.globals = {"range": bounded_range}
        self.eval_context = EvalContext(self)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`."""
        if type(obj) is dict:
            value = obj.get(attribute)
            return Missing(None, obj, attribute) if value is None else value
        if isinstance(obj, LoopContext) and attribute in LOOP_ATTRIBUTES:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`."""
        if isinstance(obj, Undefined):
            return obj
        value = None
        if isinstance(obj, Mapping):
            value = obj.get(argument)
        elif isinstance(obj, _SEQUENCES) and isinstance(argument, int):
            value = obj[argument] if -len(obj) <= argument < len(obj) else None
        return Missing(None, obj, argument) if value is None else value

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic whose result may be much larger than its operands."""
        if operator == "*":
            _check_repetition(left, right)
            _check_repetition(right, left)
        elif operator == "**":
            _check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            raise RenderError("% does not format text")
        return bounded(super().call_binop(context, operator, left, right))


def _check_repetition(left: Any, right: Any) -> None:
    if isinstance(left, str | list | tuple) and isinstance(right, int) and len(left) * right > MAX_SIZE:
        raise RenderError(f"the result gets larger than {MAX_SIZE} characters")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > MAX_BITS:
        raise RenderError("a number gets too large")


def bounded_range(*bounds: int) -> range:
    """Python's `range` of no more numbers than a loop may take."""
    numbers = range(*bounds)
    if len(numbers) > MAX_STEPS:
        raise RenderError(f"a range has more than {MAX_STEPS} numbers")
    return numbers


@pass_context
def counted(context: RenderContext, values: Iterable[Any]) -> Iterator[Any]:
    """The rounds of a loop, counted over all loops of a render."""
    for value in values:
        context.steps_left -= 1
        if context.steps_left < 0:
            raise RenderError(f"the loops take more than {MAX_STEPS} rounds")
        yield value


@pass_eval_context
def concatenated(eval_context: EvalContext, first: Any, *rest: Any) -> str:
    """What `~` means: the values as text, one after another."""
    texts = gathered(to_text(value) for value in (first, *rest))
    return markup_join(texts) if eval_context.autoescape else str_join(texts)


COUNTED, CONCATENATED, BOUNDED = "(for)", "(~)", "([])"
INTERNAL_FILTERS = {COUNTED: counted, CONCATENATED: concatenated, BOUNDED: bounded, **LINK_FILTERS}
"""What the compiler puts around loops, `~` and list literals, and in the place of the calls that make links.
No template can spell their names."""

ENVIRONMENTS = MappingProxyType({html: TemplateEnvironment(html=html) for html in (False, True)})
