"""What a template may consist of, what it refers to, and the bounds put around it before it is compiled."""

import math
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables
from jinja2.visitor import NodeTransformer

from clarion.errors import TemplateError, nearest
from clarion.templating.environment import BOUNDED, CONCATENATED, COUNTED
from clarion.templating.filters import FILTERS, TESTS
from clarion.templating.links import FUNCTIONS, NEEDED_SCOPE, check_link_call, is_link_call, link_filter

SCOPES = ("item", "recipient", "parameters", "template", "job", "run", "run_item", "response", "event")
"""Every scope that there is; all are mappings but `recipient`, which is text."""

_TEXT_SCOPE = "recipient"
_RESERVED = frozenset({*SCOPES, *FUNCTIONS, "loop", "range", "self"})

_REFUSED = {
    nodes.AssignBlock: "{% set name %}...{% endset %}",
    nodes.Block: "block",
    nodes.CallBlock: "call",
    nodes.Extends: "extends",
    nodes.FilterBlock: "{% filter %}",
    nodes.FromImport: "import",
    nodes.Import: "import",
    nodes.Include: "include",
    nodes.Macro: "macro",
    nodes.NSRef: "setting an attribute",
    nodes.ScopedEvalContextModifier: "autoescape",
}
_ALLOWED = (
    nodes.Add,
    nodes.And,
    nodes.Assign,
    nodes.Call,
    nodes.Compare,
    nodes.Concat,
    nodes.CondExpr,
    nodes.Const,
    nodes.Dict,
    nodes.Div,
    nodes.Filter,
    nodes.FloorDiv,
    nodes.For,
    nodes.Getattr,
    nodes.Getitem,
    nodes.If,
    nodes.Keyword,
    nodes.List,
    nodes.Mod,
    nodes.Mul,
    nodes.Name,
    nodes.Neg,
    nodes.Not,
    nodes.Operand,
    nodes.Or,
    nodes.Output,
    nodes.Pair,
    nodes.Pos,
    nodes.Pow,
    nodes.Slice,
    nodes.Sub,
    nodes.Template,
    nodes.TemplateData,
    nodes.Test,
    nodes.Tuple,
    nodes.With,
)
_CLOSED = nodes.For | nodes.With
# Filters that take the name of a filter or test as an argument, and which argument that is.
_NAMING_FILTERS = {
    "map": (0, FILTERS, "filter"),
    "reject": (0, TESTS, "test"),
    "rejectattr": (1, TESTS, "test"),
    "select": (0, TESTS, "test"),
    "selectattr": (1, TESTS, "test"),
}

_GUARDS = frozenset({"default", "d", "defined", "undefined", "none"})
"""Filters and tests of something that may be missing."""


def check(tree: nodes.Template, *, scopes: Collection[str]) -> None:
    """Refuse what a template cannot have.

    Raises:
        TemplateError: With the line, and the nearest valid name.
    """
    for node in _walk(tree):
        _check_node(node, scopes)
    called = {id(node.node) for node in tree.find_all(nodes.Call)}
    for name in tree.find_all(nodes.Name):
        if name.name in FUNCTIONS and id(name) not in called:
            _refuse(name, f"{name.name!r} is a function", expected=f"{name.name}(...)")
    unknown = find_undeclared_variables(tree) - {*scopes, "range", *FUNCTIONS}
    stored = {store.name for store in _stores(tree, everywhere=True)}
    for node in _out_of_reach(tree, unknown):
        _refuse_name(node, scopes, is_set=node.name in stored)


def references(tree: nodes.Template, *, scopes: Collection[str]) -> frozenset[tuple[str, str]]:
    """The attributes of scopes that the template names, like `("item", "First Name")`."""
    return frozenset(_named(tree, scopes))


def guarded(tree: nodes.Template, *, scopes: Collection[str]) -> frozenset[tuple[str, str]]:
    """Those of the references that may be missing: the template gives them a default, or asks for them.

    Whoever asks once (`{% if item.x is defined %}`) may use it anywhere in the same text.
    """
    asked = [node for node in tree.find_all((nodes.Filter, nodes.Test)) if node.name in _GUARDS]
    attributes = {found for node in asked if node.node for found in _named(node.node, scopes)}
    return frozenset(attributes | set(_looked_for(tree, scopes)))


def _named(node: nodes.Node, scopes: Collection[str]) -> Iterator[tuple[str, str]]:
    for each in _walk(node):
        if (
            isinstance(each, nodes.Getattr | nodes.Getitem)
            and isinstance(each.node, nodes.Name)
            and each.node.name in scopes
            and isinstance(attribute := _attribute(each), str)
        ):
            yield each.node.name, attribute


def _looked_for(tree: nodes.Template, scopes: Collection[str]) -> Iterator[tuple[str, str]]:
    """The attributes of `"First Name" in item`."""
    for compare in tree.find_all(nodes.Compare):
        for operand in compare.ops:
            scope = operand.expr
            if (
                operand.op in {"in", "notin"}
                and isinstance(scope, nodes.Name)
                and scope.name in scopes
                and isinstance(compare.expr, nodes.Const)
                and isinstance(compare.expr.value, str)
            ):
                yield scope.name, compare.expr.value


def used_scopes(tree: nodes.Template, *, scopes: Collection[str]) -> frozenset[str]:
    """The scopes that the template needs."""
    return frozenset(node.name for node in tree.find_all(nodes.Name) if node.name in scopes)


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)


def _out_of_reach(node: nodes.Node, unknown: Collection[str]) -> Iterator[nodes.Name]:
    """The uses of unknown names that no `set` can reach.

    What is set in one branch of an `if` is unknown to Jinja after it, but may be there when it is rendered;
    what is set within a loop or a `with` never leaves it.
    """
    if isinstance(node, nodes.Template | _CLOSED):
        unknown = set(unknown) - {store.name for store in _stores(node, everywhere=False)}
    if isinstance(node, nodes.Name) and node.ctx == "load" and node.name in unknown:
        yield node
    for child in node.iter_child_nodes():
        yield from _out_of_reach(child, unknown)


def _stores(node: nodes.Node, *, everywhere: bool) -> Iterator[nodes.Name]:
    """What is set under a node; not within the loops and `with`s under it, unless everywhere."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Name) and child.ctx != "load":
            yield child
        if everywhere or not isinstance(child, _CLOSED):
            yield from _stores(child, everywhere=everywhere)


def _check_node(node: nodes.Node, scopes: Collection[str]) -> None:
    if not isinstance(node, _ALLOWED):
        _refuse(node, f"templates have no {_REFUSED.get(type(node), type(node).__name__.lower())}")
    if isinstance(node, nodes.Name) and node.ctx != "load" and node.name in _RESERVED:
        _refuse(node, f"{node.name!r} cannot be set: the name is taken")
    if isinstance(node, nodes.Name) and node.name == "self":
        _refuse_name(node, scopes)
    if isinstance(node, nodes.For) and node.recursive:
        _refuse(node, "templates have no recursive loops")
    if isinstance(node, nodes.Const) and isinstance(node.value, float) and not math.isfinite(node.value):
        _refuse(node, "a number is too large")
    if isinstance(node, nodes.Call):
        _check_call(node, scopes)
    elif isinstance(node, nodes.Filter):
        _check_known(node, node.name, FILTERS, "filter")
        _check_named(node)
    elif isinstance(node, nodes.Test):
        _check_known(node, node.name, TESTS, "test")
    elif isinstance(node, nodes.Getattr | nodes.Getitem):
        _check_attribute(node, scopes)


def _check_call(node: nodes.Call, scopes: Collection[str]) -> None:
    function = node.node
    if is_link_call(node):
        if NEEDED_SCOPE not in scopes:
            _refuse(node, "there is no run item here that a link could belong to", expected="it in a message")
        check_link_call(node)
        return
    if isinstance(function, nodes.Name) and function.name == "range":
        return
    if isinstance(function, nodes.Getattr):
        owner, name = function.node, function.attr
        if isinstance(owner, nodes.Name) and owner.name == "loop" and name in {"cycle", "changed"}:
            return
        expected = f"a filter: {{{{ value | {name} }}}}" if name in FILTERS else "a filter"
        _refuse(node, f"values have no methods to call, and so no {name}()", expected=expected)
    name = f"{function.name}()" if isinstance(function, nodes.Name) else "the result of an expression"
    _refuse(node, f"templates do not call {name}", expected="range(...), or a filter: {{ value | upper }}")


def _check_named(node: nodes.Filter) -> None:
    index, known, kind = _NAMING_FILTERS.get(node.name, (0, {}, ""))
    if not kind or len(node.args) <= index:
        return
    argument = node.args[index]
    if not isinstance(argument, nodes.Const):
        _refuse(node, f"{node.name} takes the name of a {kind} as it is, not an expression")
    _check_known(node, str(argument.value), known, kind)


def _check_known(node: nodes.Node, name: str, known: Collection[str], kind: str) -> None:
    if name not in known:
        _refuse(node, f"there is no {kind} {name!r}", near=nearest(name, known))


def _check_attribute(node: nodes.Getattr | nodes.Getitem, scopes: Collection[str]) -> None:
    owner, attribute = node.node, _attribute(node)
    of_text = isinstance(owner, nodes.Name) and owner.name == _TEXT_SCOPE and _TEXT_SCOPE in scopes
    if of_text and isinstance(attribute, str):
        _refuse(node, f"{_TEXT_SCOPE} is text and has no {attribute!r}")


def _attribute(node: nodes.Getattr | nodes.Getitem) -> Any:
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) else None


def _refuse_name(node: nodes.Name, scopes: Collection[str], *, is_set: bool = False) -> NoReturn:
    if is_set:
        _refuse(node, f"{node.name!r} is set within a loop or a with, and not known outside of it")
    expected = f"one of {', '.join(scope for scope in SCOPES if scope in scopes)}"
    if node.name in SCOPES:
        _refuse(node, f"{node.name!r} is not known here", expected=expected)
    _refuse(node, f"the name {node.name!r} is not known", expected=expected, near=nearest(node.name, scopes))


def _refuse(
    node: nodes.Node, problem: str, *, expected: str | None = None, near: str | None = None
) -> NoReturn:
    raise TemplateError(f"line {node.lineno}: {problem}", expected=expected, nearest=near)


class _Bounds(NodeTransformer):
    """Puts the internal filters around what could grow without end."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Count the rounds."""
        self.generic_visit(node)
        node.iter = _filtered(node.iter, COUNTED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Join by Clarion's rule of what is text, and measure."""
        self.generic_visit(node)
        return _filtered(node.nodes[0], CONCATENATED, node.nodes[1:])

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Measure a list that holds more than literals."""
        self.generic_visit(node)
        return node if _literal(node) else _filtered(node, BOUNDED)

    visit_Dict = visit_List  # noqa: N815 - Jinja's name

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Have an internal filter make the links."""
        if not is_link_call(node):
            return self.generic_visit(node)
        name, value, args = link_filter(node)
        self.generic_visit(node)
        return _filtered(node.args[0] if node.args else value, name, args)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Measure a tuple, unless it is what a loop or `set` assigns to."""
        self.generic_visit(node)
        return node if node.ctx != "load" or _literal(node) else _filtered(node, BOUNDED)


def bound(tree: nodes.Template) -> nodes.Template:
    """The template with its loops counted, its lists and texts measured, its links made by filters.

    Changes the tree.
    """
    return _Bounds().visit(tree)


def _literal(node: nodes.Node) -> bool:
    return all(isinstance(child, nodes.Const) for child in node.iter_child_nodes())


def _filtered(node: nodes.Node, name: str, args: list[nodes.Expr] | None = None) -> nodes.Filter:
    wrapped = nodes.Filter(node, name, args or [], [], None, None, lineno=node.lineno)
    wrapped.environment = node.environment
    return wrapped
