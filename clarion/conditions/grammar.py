"""Reads a condition into a tree through a whitelist: what is not listed here is refused by name and place.

Python's own parser reads the source; nothing of it is ever compiled or run.
"""

import ast
from collections.abc import Callable, Collection
from typing import Any

from clarion.conditions.functions import FUNCTIONS, Function
from clarion.conditions.operations import ARITHMETIC, COMPARISONS
from clarion.conditions.source import Source
from clarion.conditions.tree import (
    Arithmetic,
    Attribute,
    Compare,
    Contain,
    Junction,
    Literal,
    Node,
    Not,
    OneOf,
    Read,
)
from clarion.conditions.values import LARGEST_NUMBER, Kind, read_date
from clarion.errors import ConditionError, nearest

ALLOWED = "comparisons, and, or, not, in, + - * / %, attributes, literals and calls of functions"
"""The language in one line, for messages."""

_SIGNS: dict[type[ast.AST], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
}
_REFUSED: dict[type[ast.AST], str] = {
    ast.Await: "await",
    ast.Dict: "a mapping",
    ast.DictComp: "a comprehension",
    ast.FloorDiv: "//",
    ast.GeneratorExp: "a comprehension",
    ast.IfExp: "if ... else",
    ast.JoinedStr: "an f-string",
    ast.Lambda: "lambda",
    ast.List: "a list outside `in`",
    ast.ListComp: "a comprehension",
    ast.NamedExpr: ":=",
    ast.Pow: "**",
    ast.Set: "a set",
    ast.SetComp: "a comprehension",
    ast.Slice: "a slice",
    ast.Starred: "*",
    ast.Tuple: "a tuple outside `in`",
    ast.UAdd: "a plus sign in front",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}
_READ_WITH = {Kind.TEXT: "text(...)", Kind.NUMBER: "number(...)", Kind.DATE: "date(...)"}
_NULLS = {"none", "null", "nan", "nil", "na"}


def read_condition(source: str, *, scopes: Collection[str]) -> Node:
    """The tree of a condition, of kind TRUTH. ConditionError: what is wrong, where, and the nearest name."""
    return _Reader(Source(source), scopes=scopes).condition()


class _Reader:
    def __init__(self, source: Source, *, scopes: Collection[str]) -> None:
        self._source = source
        self._scopes = sorted(scopes)
        self._readers: dict[type[ast.AST], Callable[[Any], Node]] = {
            ast.Attribute: self._attribute,
            ast.BinOp: self._arithmetic,
            ast.BoolOp: self._junction,
            ast.Call: self._call,
            ast.Compare: self._comparison,
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Subscript: self._attribute,
            ast.UnaryOp: self._unary,
        }

    def condition(self) -> Node:
        tree = self._source.tree()
        return self._coerce(self._read(tree), Kind.TRUTH, at=tree)

    def _error(
        self, at: ast.AST, message: str, *, expected: str | None = None, like: str | None = None
    ) -> ConditionError:
        return self._source.error(message, at=at, expected=expected, like=like)

    def _read(self, node: ast.AST) -> Node:
        reader = self._readers.get(type(node))
        if reader is None:
            raise self._construct_error(node, at=node)
        return reader(node)

    def _construct_error(self, construct: ast.AST, *, at: ast.AST) -> ConditionError:
        name = _REFUSED.get(type(construct), type(construct).__name__)
        return self._error(at, f"{name} is not part of a condition", expected=ALLOWED)

    def _coerce(self, node: Node, kind: Kind, *, at: ast.AST) -> Node:
        if node.kind is kind:
            return node
        if node.kind is Kind.ANY:
            return Read(kind, node)
        if kind is Kind.DATE and isinstance(node, Literal) and node.kind is Kind.TEXT:
            return self._date_literal(node, at=at)
        hint = "a comparison, such as item.plan == 'gold'" if kind is Kind.TRUTH else _READ_WITH.get(kind)
        raise self._error(at, f"this is {node.kind.value}, where {kind.value} belongs", expected=hint)

    def _date_literal(self, node: Literal, *, at: ast.AST) -> Literal:
        value = read_date(node.value)
        if value is None:
            raise self._error(at, f"{node.value!r} is not a date", expected="a date such as 2026-01-31")
        return Literal(Kind.DATE, value)

    # Literals and names

    def _constant(self, node: ast.Constant) -> Literal:
        value = node.value
        if isinstance(value, bool):
            return Literal(Kind.TRUTH, value)
        if isinstance(value, str):
            return Literal(Kind.TEXT, value)
        if isinstance(value, int | float):
            return self._number(value, at=node)
        if value is None:
            raise self._null_error(node, "None")
        raise self._error(
            node, f"{value!r} is not part of a condition", expected="a text, a number, True or False"
        )

    def _number(self, value: int | float, *, at: ast.AST) -> Literal:
        if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
            raise self._error(at, "this number is too large", expected="at most 1.7e308")
        return Literal(Kind.NUMBER, value)

    def _null_error(self, node: ast.AST, name: str) -> ConditionError:
        return self._error(node, f"nothing is ever equal to {name}", expected="isnull(...) or notnull(...)")

    def _name(self, node: ast.Name) -> Literal:
        name = node.id
        if name in {"true", "false"}:
            return Literal(Kind.TRUTH, name == "true")
        if name in self._scopes:
            raise self._error(
                node, f"{name!r} stands alone", expected=f"one of its attributes, such as {name}.name"
            )
        if name.lower() in _NULLS:
            raise self._null_error(node, name)
        if name in FUNCTIONS:
            raise self._error(
                node, f"the function {name!r} is not called", expected=FUNCTIONS[name].signature
            )
        raise self._scope_error(node)

    def _scope_error(self, node: ast.Name) -> ConditionError:
        like = nearest(node.id, self._scopes)
        return self._error(
            node, f"unknown name {node.id!r}", expected=f"one of {', '.join(self._scopes)}", like=like
        )

    # Attributes

    def _attribute(self, node: ast.Attribute | ast.Subscript) -> Attribute:
        path: list[str | int] = []
        below: ast.expr = node
        while isinstance(below, ast.Attribute | ast.Subscript):
            path.insert(0, self._step(below))
            below = below.value
        if not isinstance(below, ast.Name):
            raise self._error(
                node, "only scopes have attributes", expected=f"one of {', '.join(self._scopes)}"
            )
        if below.id not in self._scopes:
            raise self._scope_error(below)
        if not isinstance(path[0], str):
            raise self._error(node, f"{below.id} has named attributes", expected=f'{below.id}["name"]')
        return Attribute(below.id, tuple(path))

    def _step(self, node: ast.Attribute | ast.Subscript) -> str | int:
        if isinstance(node, ast.Attribute):
            if node.attr.startswith("__"):
                raise self._error(
                    node,
                    f"{node.attr!r} is no attribute of data",
                    expected=f'["{node.attr}"] for data of that name',
                )
            return node.attr
        key = node.slice
        literal = self._read(key) if isinstance(key, ast.Constant | ast.UnaryOp) else None
        if isinstance(literal, Literal) and type(literal.value) in {str, int}:
            return literal.value
        raise self._error(
            node, "this is no name and no position", expected='a literal, such as ["a b"] or [0]'
        )

    # Operators

    def _junction(self, node: ast.BoolOp) -> Junction:
        operands = tuple(self._coerce(self._read(value), Kind.TRUTH, at=value) for value in node.values)
        return Junction(isinstance(node.op, ast.And), operands)

    def _unary(self, node: ast.UnaryOp) -> Node:
        if isinstance(node.op, ast.Not):
            return Not(self._coerce(self._read(node.operand), Kind.TRUTH, at=node.operand))
        if not isinstance(node.op, ast.USub):
            raise self._construct_error(node.op, at=node)
        operand = self._coerce(self._read(node.operand), Kind.NUMBER, at=node.operand)
        if isinstance(operand, Literal):
            return Literal(Kind.NUMBER, -operand.value)
        return Arithmetic("-", Literal(Kind.NUMBER, 0), operand)

    def _arithmetic(self, node: ast.BinOp) -> Arithmetic:
        sign = _SIGNS.get(type(node.op), "")
        if sign not in ARITHMETIC:
            raise self._construct_error(node.op, at=node)
        left, right = (self._number_operand(operand) for operand in (node.left, node.right))
        return Arithmetic(sign, left, right)

    def _number_operand(self, operand: ast.expr) -> Node:
        node = self._read(operand)
        if node.kind is Kind.DATE:
            raise self._error(
                operand, "dates are not calculated with", expected="days_until(...) or days_since(...)"
            )
        return self._coerce(node, Kind.NUMBER, at=operand)

    def _comparison(self, node: ast.Compare) -> Node:
        sides = [node.left, *node.comparators]
        pairs = tuple(
            self._pair(operator, left, right)
            for operator, left, right in zip(node.ops, sides, sides[1:], strict=False)
        )
        return pairs[0] if len(pairs) == 1 else Junction(every=True, operands=pairs)

    def _pair(self, operator: ast.cmpop, left: ast.expr, right: ast.expr) -> Node:
        if isinstance(operator, ast.In | ast.NotIn):
            return self._membership(left, right, negated=isinstance(operator, ast.NotIn))
        sign = _SIGNS.get(type(operator), "")
        if sign not in COMPARISONS:
            raise self._error(
                right, "`is` is not part of a condition", expected="==, !=, isnull(...) or notnull(...)"
            )
        one, other = self._read(left), self._read(right)
        kind = self._common_kind(one, other, at=right)
        if kind is Kind.TRUTH and sign not in {"==", "!="}:
            raise self._error(right, "true and false have no order", expected="== or !=")
        if kind is Kind.ANY:
            return Compare(sign, kind, one, other)
        return Compare(sign, kind, self._coerce(one, kind, at=left), self._coerce(other, kind, at=right))

    def _common_kind(self, one: Node, other: Node, *, at: ast.AST) -> Kind:
        """The kind two operands are compared as: the one that is known decides; an attribute takes any."""
        kinds = {one.kind, other.kind}
        if Kind.LIST in kinds:
            raise self._error(at, "a list is not compared", expected="in, contains(...) or length(...)")
        if kinds == {Kind.TEXT, Kind.DATE}:
            return Kind.DATE  # right for a literal text; any other is refused where it is coerced
        known = kinds - {Kind.ANY}
        if len(known) > 1:
            expected = "both sides of one type: text(...), number(...) or date(...)"
            raise self._error(at, f"{one.kind.value} is compared with {other.kind.value}", expected=expected)
        return known.pop() if known else Kind.ANY

    def _membership(self, left: ast.expr, right: ast.expr, *, negated: bool) -> Node:
        value = self._read(left)
        if isinstance(right, ast.List | ast.Tuple):
            return self._among(value, left, right, negated=negated)
        container = self._read(right)
        if isinstance(container, Literal) or container.kind not in {Kind.ANY, Kind.TEXT, Kind.LIST}:
            raise self._error(
                right, "`in` needs a list", expected='a list such as ["gold", "silver"], or an attribute'
            )
        return Contain(value, container, negated)

    def _among(self, value: Node, left: ast.expr, right: ast.List | ast.Tuple, *, negated: bool) -> OneOf:
        if not right.elts:
            raise self._error(right, "the list is empty", expected="at least one literal")
        literals = [self._element(element) for element in right.elts]
        kind = self._common_kind(value, literals[0], at=right)
        members = [
            self._coerce(literal, kind, at=element)
            for literal, element in zip(literals, right.elts, strict=True)
        ]
        values = tuple(member.value for member in members if isinstance(member, Literal))
        return OneOf(self._coerce(value, kind, at=left), values, negated)

    def _element(self, element: ast.expr) -> Literal:
        literal = self._read(element)
        if not isinstance(literal, Literal):
            raise self._error(
                element, "only literals stand in a list", expected='a list such as ["gold", "silver"]'
            )
        return literal

    # Functions

    def _call(self, node: ast.Call) -> Node:
        if not isinstance(node.func, ast.Name):
            raise self._error(
                node, "only functions are called, by their names", expected="lower(item.name), for one"
            )
        name = node.func.id
        function = FUNCTIONS.get(name)
        if function is None:
            like = nearest(name, FUNCTIONS)
            raise self._error(
                node, f"unknown function {name!r}", expected=f"one of {', '.join(FUNCTIONS)}", like=like
            )
        self._check_arguments(node, function)
        try:
            return function.build(self._arguments(node, function))
        except ValueError as exc:
            raise self._source.error(str(exc), at=node) from exc

    def _check_arguments(self, node: ast.Call, function: Function) -> None:
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._error(
                node, "arguments are given by position, one by one", expected=function.signature
            )
        most = len(function.parameters)
        least = most if function.least is None else function.least
        count = len(node.args)
        if count < least or (count > most and not function.repeats):
            raise self._error(node, f"{count} arguments are not what it takes", expected=function.signature)

    def _arguments(self, node: ast.Call, function: Function) -> tuple[Node, ...]:
        last = len(function.parameters) - 1
        return tuple(
            self._argument(argument, function, position=min(position, last))
            for position, argument in enumerate(node.args)
        )

    def _argument(self, argument: ast.expr, function: Function, *, position: int) -> Node:
        node, kind = self._read(argument), function.parameters[position]
        if position in function.literal and not (isinstance(node, Literal) and node.kind is Kind.TEXT):
            raise self._error(argument, "this argument must be a literal text", expected=function.signature)
        if kind is Kind.LIST:
            return node
        if kind is not Kind.ANY:
            return self._coerce(node, kind, at=argument)
        if node.kind is Kind.LIST:
            raise self._error(argument, "a list is no single value", expected=function.signature)
        return node
