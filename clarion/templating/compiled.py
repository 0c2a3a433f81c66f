"""Templates compiled once, rendered for each recipient."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jinja2 import Template, TemplateSyntaxError, nodes

from clarion.errors import TemplateError
from clarion.templating.environment import ENVIRONMENTS, RenderContext, TemplateEnvironment
from clarion.templating.limits import MAX_DEPTH, MAX_SIZE, checked_text, to_json, to_text
from clarion.templating.reasons import render_error
from clarion.templating.syntax import bound, check, guarded, references, used_scopes

_OPENINGS = ("{{", "{%", "{#")
# A carriage return would become a line feed in Jinja's lexer. One of these takes its place meanwhile: all are
# blanks to the lexer, and no text has all of them.
_STAND_INS = "\x1c\x1d\x1e\x1f"

_Renderer = Callable[[RenderContext], Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """A value with its templates compiled, ready to be rendered in any thread."""

    where: str
    """The path of the value, as errors tell it."""
    references: frozenset[tuple[str, str]]
    """The attributes that the templates name: `("item", "First Name")`. What is looked up by an expression
    (`item[parameters.column]`), or by passing a whole scope on, is not among them; `scopes` tells that."""
    required: Mapping[tuple[str, str], str]
    """Those of the references without which nothing renders, as no default is given and nobody asks whether
    they are there: to the path of the text that names them."""
    scopes: frozenset[str]
    """The scopes that the templates use in any way."""
    constant: bool
    """Whether there is no template in it at all."""
    environment: TemplateEnvironment
    renderer: _Renderer

    def render(self, scope: Mapping[str, Any]) -> Any:
        """The value for one recipient: JSON values only, in new lists and mappings.

        Args:
            scope: By the names of scopes; all of them plain dicts of JSON values, `recipient` a text.

        Raises:
            RenderError: With where and why; nothing else is raised, whatever the scope holds.
        """
        return self.renderer(RenderContext(self.environment, scope))

    def render_text(self, scope: Mapping[str, Any]) -> str:
        """The value for one recipient as text: for URLs, headers and message texts.

        Raises:
            RenderError: As `render`; also where the value is none.
        """
        value = self.render(scope)
        if isinstance(value, str):
            return value
        try:
            return to_text(value)
        except Exception as error:
            raise render_error(error, where=self.where, scope=scope) from error


def compile_text(source: str, *, where: str, scopes: Collection[str], html: bool = False) -> Compiled:
    """Compile one template; a text that is one `{{ expression }}` keeps its type in `render`.

    Args:
        source: The template.
        where: Its path in the file, for errors.
        scopes: The scopes it may use, of `SCOPES`.
        html: Whether values are escaped for HTML; such a template always gives text.

    Raises:
        TemplateError: It does not parse, or names something that does not exist.
    """
    return compile_value(source, where=where, scopes=scopes, html=html)


def compile_value(value: Any, *, where: str, scopes: Collection[str], html: bool = False) -> Compiled:
    """Compile every text within a JSON value; the names in mappings are no templates.

    Args:
        value: Text, number, bool, None, or lists and mappings of these.
        where: Its path in the file; errors tell the path of the text within it.
        scopes: The scopes it may use, of `SCOPES`.
        html: As in `compile_text`.

    Raises:
        TemplateError: A text does not parse or names something that does not exist; a mapping's name holds a
            template; or it is no JSON value.
    """
    compiler = _Compiler(scopes=scopes, environment=ENVIRONMENTS[html])
    renderer, constant = compiler.compile(value, where, 0)
    return Compiled(
        where=where,
        references=frozenset(compiler.references),
        required=MappingProxyType(compiler.required),
        scopes=frozenset(compiler.used),
        constant=constant,
        environment=compiler.environment,
        renderer=renderer,
    )


class _Compiler:
    """Makes one tree of closures of a value, and collects what its templates refer to."""

    def __init__(self, *, scopes: Collection[str], environment: TemplateEnvironment) -> None:
        self.scopes = scopes
        self.environment = environment
        self.references: set[tuple[str, str]] = set()
        self.required: dict[tuple[str, str], str] = {}
        self.used: set[str] = set()

    def compile(self, value: Any, where: str, depth: int) -> tuple[_Renderer, bool]:
        """The renderer of a value, and whether it is constant."""
        if depth > MAX_DEPTH:
            raise TemplateError(f"nested deeper than {MAX_DEPTH} levels", where=where)
        if isinstance(value, str):
            return self._text(str(value), where)
        if isinstance(value, Mapping):
            return self._mapping(value, where, depth)
        if isinstance(value, list | tuple):
            return self._list(value, where, depth)
        return _constant(_plain(value, where))

    def _mapping(self, value: Mapping[Any, Any], where: str, depth: int) -> tuple[_Renderer, bool]:
        parts = {}
        for key, nested in value.items():
            if not isinstance(key, str):
                raise TemplateError(
                    f"the name {key!r} is not text", where=where, expected=f"it in quotes: '{key}'"
                )
            if any(opening in key for opening in _OPENINGS):
                raise TemplateError(
                    f"the name {key!r} holds a template", where=where, expected="a fixed name"
                )
            parts[key] = self.compile(nested, where + _step(key), depth + 1)
        names = tuple((key, renderer) for key, (renderer, _) in parts.items())

        def render(context: RenderContext) -> dict[str, Any]:
            return {key: renderer(context) for key, renderer in names}

        return render, all(constant for _, constant in parts.values())

    def _list(self, value: Iterable[Any], where: str, depth: int) -> tuple[_Renderer, bool]:
        parts = [self.compile(nested, f"{where}[{index}]", depth + 1) for index, nested in enumerate(value)]
        renderers = tuple(renderer for renderer, _ in parts)

        def render(context: RenderContext) -> list[Any]:
            return [renderer(context) for renderer in renderers]

        return render, all(constant for _, constant in parts)

    def _text(self, source: str, where: str) -> tuple[_Renderer, bool]:
        source = _plain(source, where)
        if not any(opening in source for opening in _OPENINGS):
            return _constant(source)
        try:
            tree = _parsed(source, self.environment)
            check(tree, scopes=self.scopes)
            named = references(tree, scopes=self.scopes)
            self.references |= named
            required = sorted(named - guarded(tree, scopes=self.scopes))
            self.required = dict.fromkeys(required, where) | self.required
            self.used |= used_scopes(tree, scopes=self.scopes)
            return _renderer(tree, self.environment, where), False
        except TemplateError as error:
            raise error.at(where) from None
        except TemplateSyntaxError as error:
            raise TemplateError(f"line {error.lineno}: {_sentence(error)}", where=where) from None
        except RecursionError:
            raise TemplateError("the template is nested too deeply", where=where) from None
        except (SyntaxError, ValueError, MemoryError, OverflowError):
            # What Jinja accepts and Python then does not: 20 nested loops, numbers of thousands of digits.
            raise TemplateError("the template is too complex to compile", where=where) from None


def _parsed(source: str, environment: TemplateEnvironment) -> nodes.Template:
    """The template's tree, with every text in it as it was written, carriage returns included."""
    if "\r" not in source:
        return environment.parse(source)
    stand_in = next((char for char in _STAND_INS if char not in source), None)
    if stand_in is None:
        raise TemplateError("the text holds control characters")
    tree = environment.parse(source.replace("\r", stand_in))
    for data in tree.find_all(nodes.TemplateData):
        data.data = data.data.replace(stand_in, "\r")
    for const in tree.find_all(nodes.Const):
        if isinstance(const.value, str):
            const.value = const.value.replace(stand_in, "\r")
    return tree


def _only_expression(tree: nodes.Template) -> nodes.Expr | None:
    """The expression, where the text is one `{{ expression }}` and nothing else."""
    if len(tree.body) != 1 or not isinstance(output := tree.body[0], nodes.Output):
        return None
    expression, *more = output.nodes
    return None if more or isinstance(expression, nodes.TemplateData) else expression


def _renderer(tree: nodes.Template, environment: TemplateEnvironment, where: str) -> _Renderer:
    expression = None if environment.autoescape else _only_expression(tree)
    native = expression is not None
    if native:
        tree.body = [nodes.ExprStmt(expression, lineno=1)]
    code = environment.compile(bound(tree), filename=f"<{where}>")
    root = Template.from_code(environment, code, {}).root_render_func

    def render(context: RenderContext) -> Any:
        try:
            return to_json(next(root(context))) if native else checked_text(root(context))
        except Exception as error:  # whatever an item holds, it ends this item and not the run
            raise render_error(error, where=where, scope=context.scope) from error

    return render if expression is None else _looked_up(expression, render)


def _looked_up(expression: nodes.Expr, render: _Renderer) -> _Renderer:
    """A renderer that finds a plain text itself where the expression is `recipient` or `item.name`.

    Most values of a payload are such, and this takes 0.3 us where `render` takes 1. Whatever is not found, or
    is anything but a short ASCII text, is left to `render`.
    """
    name = None
    if isinstance(expression, nodes.Getattr):
        expression, name = expression.node, expression.attr
    elif isinstance(expression, nodes.Getitem) and isinstance(expression.arg, nodes.Const):
        expression, name = expression.node, expression.arg.value
    if not isinstance(expression, nodes.Name):
        return render
    scope = expression.name

    def look_up(context: RenderContext) -> Any:
        value = context.scope.get(scope)
        if name is not None:
            value = value.get(name) if type(value) is dict else None
        plain = type(value) is str and value.isascii() and len(value) <= MAX_SIZE
        return value if plain else render(context)

    return look_up


def _constant(value: Any) -> tuple[_Renderer, bool]:
    def render(context: RenderContext) -> Any:  # noqa: ARG001 - every renderer takes it
        return value

    return render, True


def _plain(value: Any, where: str) -> Any:
    """A constant without what a file's reader adds to it (how a number was spelled)."""
    try:
        return to_json(value)
    except Exception as error:  # noqa: BLE001 - whatever a Python caller passes
        raise TemplateError(str(error), where=where) from None


def _step(key: str) -> str:
    return f".{key}" if key.replace("-", "_").isidentifier() else f"[{key!r}]"


def _sentence(error: TemplateSyntaxError) -> str:
    return (error.message or "the template does not parse").rstrip(".")
