"""A condition for one row of plain Python values: compiled once to closures, called for every answer."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from clarion.conditions.operations import calculate, compare, contain, one_of
from clarion.conditions.tree import (
    Arithmetic,
    Attribute,
    Call,
    Compare,
    Contain,
    Junction,
    Literal,
    Node,
    Not,
    OneOf,
    Read,
    Today,
)
from clarion.conditions.values import READERS, walk

Scopes = Mapping[str, Any]
Compiled = Callable[[Scopes, dt.date], Any]
"""From the scopes' values and today's date to a plain value, None for missing."""


def compile_node(node: Node) -> Compiled:
    """The closure that evaluates a node for one row."""
    match node:
        case Literal():
            return _constant(node.value)
        case Today():
            return lambda scopes, today: today  # noqa: ARG005  every closure takes both
        case Attribute():
            return _attribute(node)
        case Junction():
            return _junction(node)
        case Not():
            operand = compile_node(node.operand)
            return lambda scopes, today: not operand(scopes, today)
        case _:
            return _applied(*operation(node))


def operation(node: Node) -> tuple[Callable[..., Any], tuple[Node, ...]]:
    """The function of plain values that a node is, and the nodes whose values it takes."""
    match node:
        case Read():
            return READERS[node.kind], (node.operand,)
        case Compare():
            return compare(node.sign, node.of), (node.left, node.right)
        case OneOf():
            return one_of(node.values, negated=node.negated), (node.operand,)
        case Contain():
            return contain(node.value.kind, negated=node.negated), (node.value, node.container)
        case Arithmetic():
            return calculate(node.sign), (node.left, node.right)
        case Call():
            return node.apply, node.operands
        case _:
            raise TypeError(f"{type(node).__name__} is no function of its operands' values")


def _constant(value: Any) -> Compiled:
    return lambda scopes, today: value  # noqa: ARG005  every closure takes both


def _attribute(node: Attribute) -> Compiled:
    scope, path = node.scope, node.path
    return lambda scopes, today: walk(scopes[scope], path)  # noqa: ARG005  every closure takes both


def _junction(node: Junction) -> Compiled:
    operands = tuple(compile_node(operand) for operand in node.operands)
    if node.every:
        return lambda scopes, today: all(operand(scopes, today) for operand in operands)
    return lambda scopes, today: any(operand(scopes, today) for operand in operands)


def _applied(function: Callable[..., Any], nodes: tuple[Node, ...]) -> Compiled:
    operands = tuple(compile_node(node) for node in nodes)
    match operands:
        case (one,):
            return lambda scopes, today: function(one(scopes, today))
        case (one, other):
            return lambda scopes, today: function(one(scopes, today), other(scopes, today))
        case _:
            return lambda scopes, today: function(*(operand(scopes, today) for operand in operands))
