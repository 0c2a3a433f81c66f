"""A condition over a frame: whole columns at a time wherever the language's rules allow it.

What has no fast path in `kernels` is done row by row with the functions of `operations`, for texts once for
each different text. A fast path never changes a verdict; the tests hold it to the evaluation of single rows.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd

from clarion.conditions.columns import (
    Column,
    Constant,
    Mixed,
    Operand,
    Rows,
    Texts,
    Truths,
    column_of,
    dictionary_of,
    load_column,
)
from clarion.conditions.kernels import compare_operands, fast_column, fast_read
from clarion.conditions.scalar import compile_node, operation
from clarion.conditions.tree import Attribute, Compare, Junction, Node, Not, Read, attributes, operands
from clarion.conditions.values import READERS, Kind, walk


class Evaluation:
    """One evaluation of a condition.

    Args:
        scopes: By name, a frame or the mapping that all rows share. Frames have the same length.
        today: The date of the evaluation.
        length: How many rows there are.
    """

    def __init__(self, scopes: Mapping[str, Any], *, today: dt.date, length: int) -> None:
        self._frames = {name: scope for name, scope in scopes.items() if isinstance(scope, pd.DataFrame)}
        self._shared = {name: {} if name in self._frames else scope for name, scope in scopes.items()}
        self._today = today
        self._length = length
        self._done: dict[Node, Operand] = {}

    def verdicts(self, node: Node) -> Rows:
        """Whether a node of kind TRUTH holds, row by row; missing counts as false."""
        operand = self._operand(node)
        if isinstance(operand, Truths):
            return operand.trues
        return np.full(self._length, isinstance(operand, Constant) and operand.value is True, dtype=np.bool_)

    def _operand(self, node: Node) -> Operand:
        done = self._done.get(node)
        if done is None:
            done = self._done[node] = self._evaluate(node)
        return done

    def _evaluate(self, node: Node) -> Operand:
        if not any(self._varies(leaf) for leaf in attributes(node)):
            return Constant(compile_node(node)(self._shared, self._today))
        match node:
            case Attribute():
                return self._load(node)
            case Junction() | Not():
                return self._combine(node)
            case Compare() if node.of is Kind.ANY:
                return self._compare_attributes(node)
            case Read():
                return read_operand(node.kind, self._operand(node.operand))
            case _:
                values = [self._operand(operand) for operand in operands(node)]
                return fast_column(node, values) or by_row(operation(node)[0], values, kind=node.kind)

    def _varies(self, leaf: Attribute) -> bool:
        return leaf.scope in self._frames and leaf.path[0] in self._frames[leaf.scope].columns

    def _load(self, node: Attribute) -> Column:
        name, *inside = node.path
        series = self._frames[node.scope][name]
        if isinstance(series, pd.DataFrame):
            raise ValueError(f"the frame of {node.scope!r} has several columns named {name!r}")  # noqa: TRY004  not its type
        if not inside:
            return load_column(series)
        return Mixed([walk(value, tuple(inside)) for value in series.astype(object).tolist()])

    def _combine(self, node: Junction | Not) -> Truths:
        if isinstance(node, Not):
            return Truths(~self.verdicts(node.operand))
        combine = np.logical_and if node.every else np.logical_or
        return Truths(combine.reduce([self.verdicts(operand) for operand in node.operands]))

    def _compare_attributes(self, node: Compare) -> Truths:
        """As numbers in the rows where both sides are numbers, as text in the others."""
        sides = self._operand(node.left), self._operand(node.right)
        numbers = [read_operand(Kind.NUMBER, side) for side in sides]
        texts = [read_operand(Kind.TEXT, side) for side in sides]
        both = np.logical_and(*(self._present(number) for number in numbers))
        as_numbers, as_texts = (
            compare_operands(node.sign, kind, read)
            for kind, read in ((Kind.NUMBER, numbers), (Kind.TEXT, texts))
        )
        return Truths(np.where(both, as_numbers.trues, as_texts.trues))

    def _present(self, operand: Operand) -> Rows:
        if isinstance(operand, Constant):
            return np.full(self._length, operand.value is not None, dtype=np.bool_)
        return operand.present()


def read_operand(kind: Kind, operand: Operand) -> Operand:
    """An operand read as a kind."""
    if isinstance(operand, Constant):
        return Constant(READERS[kind](operand.value))
    return fast_read(kind, operand) or by_row(READERS[kind], [operand], kind=kind)


def by_row(function: Callable[..., Any], operands: Sequence[Operand], *, kind: Kind) -> Column:
    """The column of a function's results, called for each row, or for each different text of one column."""
    columns = [operand for operand in operands if not isinstance(operand, Constant)]
    if len(columns) == 1 and isinstance(columns[0], Texts):
        different, rows = dictionary_of(columns[0])
        once = [different if operand is columns[0] else operand for operand in operands]
        return column_of(kind, _results(function, once)).take(rows)
    return column_of(kind, _results(function, operands))


def _results(function: Callable[..., Any], operands: Sequence[Operand]) -> list[Any]:
    values = [
        repeat(operand.value) if isinstance(operand, Constant) else operand.values() for operand in operands
    ]
    return [function(*row) for row in zip(*values, strict=False)]
