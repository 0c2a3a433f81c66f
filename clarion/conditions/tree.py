"""The tree of a condition: every node knows the kind it yields, every reading is a node of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from clarion.conditions.values import Kind


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in the condition, already of its kind."""

    kind: Kind
    value: Any


@dataclass(frozen=True, slots=True)
class Attribute:
    """What lies at `path` in a scope: a first-level name, then names and positions inside it."""

    scope: str
    path: tuple[str | int, ...]
    kind: ClassVar[Kind] = Kind.ANY


@dataclass(frozen=True, slots=True)
class Today:
    """The date of the evaluation, in UTC."""

    kind: ClassVar[Kind] = Kind.DATE


@dataclass(frozen=True, slots=True)
class Read:
    """An operand read as a kind."""

    kind: Kind
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of two operands of the kind `of` (ANY: two attributes, decided row by row)."""

    sign: str
    of: Kind
    left: "Node"
    right: "Node"
    kind: ClassVar[Kind] = Kind.TRUTH


@dataclass(frozen=True, slots=True)
class OneOf:
    """Membership in a list of literals of the operand's kind."""

    operand: "Node"
    values: tuple[Any, ...]
    negated: bool
    kind: ClassVar[Kind] = Kind.TRUTH


@dataclass(frozen=True, slots=True)
class Contain:
    """Membership in a list found in the data, or in a text as a part of it."""

    value: "Node"
    container: "Node"
    negated: bool
    kind: ClassVar[Kind] = Kind.TRUTH


@dataclass(frozen=True, slots=True)
class Junction:
    """`and` (every) or `or` over operands of kind TRUTH."""

    every: bool
    operands: "tuple[Node, ...]"
    kind: ClassVar[Kind] = Kind.TRUTH


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of an operand of kind TRUTH; of a missing one it is true."""

    operand: "Node"
    kind: ClassVar[Kind] = Kind.TRUTH


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two numbers calculated with."""

    sign: str
    left: "Node"
    right: "Node"
    kind: ClassVar[Kind] = Kind.NUMBER


@dataclass(frozen=True, slots=True)
class Call:
    """A function applied to plain values, one of each operand; None among them is missing."""

    name: str
    kind: Kind
    operands: "tuple[Node, ...]"
    apply: Callable[..., Any] = field(repr=False)


Node = Literal | Attribute | Today | Read | Compare | OneOf | Contain | Junction | Not | Arithmetic | Call


def operands(node: Node) -> tuple[Node, ...]:
    """The nodes directly below."""
    match node:
        case Read() | OneOf() | Not():
            return (node.operand,)
        case Compare() | Arithmetic():
            return (node.left, node.right)
        case Contain():
            return (node.value, node.container)
        case Junction() | Call():
            return node.operands
        case _:
            return ()


def attributes(node: Node) -> Iterator[Attribute]:
    """Every attribute the tree names, from left to right."""
    if isinstance(node, Attribute):
        yield node
    for operand in operands(node):
        yield from attributes(operand)
