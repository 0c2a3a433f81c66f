"""What the operators do to one row's values: the one meaning that both evaluators share.

Operands are plain values already read as the operator's kind; None is missing. Tests (comparisons, `in`)
answer True or False, never None.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from clarion.conditions.values import READERS, Kind, plain, read_number, read_text

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}

_PARTS = frozenset({Kind.TEXT, Kind.ANY})
"""What can be a part of a text: a number in a longer number would be a mistake."""


def compare(sign: str, kind: Kind) -> Callable[[Any, Any], bool]:
    """The comparison `sign` of two values of a kind; two attributes (ANY) find theirs row by row."""
    relation = COMPARISONS[sign]

    def related(left: Any, right: Any) -> bool:
        return left is not None and right is not None and relation(left, right)

    def related_any(left: Any, right: Any) -> bool:
        left_number, right_number = read_number(left), read_number(right)
        if left_number is not None and right_number is not None:
            return relation(left_number, right_number)
        return related(read_text(left), read_text(right))

    return related_any if kind is Kind.ANY else related


def calculate(sign: str) -> Callable[[Any, Any], float | None]:
    """The arithmetic `sign` in double precision; None for a division by zero and for what overflows."""
    function = ARITHMETIC[sign]

    def calculated(left: Any, right: Any) -> float | None:
        if left is None or right is None or (right == 0 and sign in "/%"):
            return None
        result = function(float(left), float(right))
        return result if math.isfinite(result) else None

    return calculated


def one_of(values: tuple[Any, ...], *, negated: bool) -> Callable[[Any], bool]:
    """Whether a value is among literals of its own kind (or, negated, is there and not among them)."""
    members = frozenset(values)

    def among(value: Any) -> bool:
        return value is not None and (value in members) is not negated

    return among


def contain(kind: Kind, *, negated: bool = False) -> Callable[[Any, Any], bool]:
    """Whether a list has an element equal to a value read as `kind`, or a text has it as a part.

    Anything that is no list is read as text; only a text can be part of one. The answer is False, negated or
    not, where either side is missing.
    """
    equal = compare("==", kind)
    read = READERS.get(kind, plain)

    def contained(value: Any, container: Any) -> bool:
        part = read_text(value)
        if part is None:
            return False
        if isinstance(container, list | tuple):
            return any(equal(value, read(plain(element))) for element in container) is not negated
        text = read_text(container) if kind in _PARTS else None
        return text is not None and (part in text) is not negated

    return contained


def all_true(*values: bool | None) -> bool:
    """Whether every value is true; missing counts as false."""
    return all(values)


def any_true(*values: bool | None) -> bool:
    """Whether at least one value is true; missing counts as false."""
    return any(values)
