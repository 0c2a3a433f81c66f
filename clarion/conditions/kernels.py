"""The fast paths: operations on whole columns that mean what `operations` and `functions` say row by row.

A path answers None where it does not apply; the caller then goes row by row.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from clarion.conditions.columns import Column, Constant, Dates, Numbers, Operand, Rows, Texts, Truths
from clarion.conditions.operations import ARITHMETIC, COMPARISONS
from clarion.conditions.tree import Arithmetic, Call, Compare, Contain, Node, OneOf
from clarion.conditions.values import (
    BLANKS,
    LARGEST_NUMBER,
    LEAST_INEXACT,
    LONGEST_NUMBER,
    NUMBER_PATTERN,
    Kind,
    parse_number,
)

pc: Any = pyarrow.compute
"""Its functions are made when it is imported: no type checker sees them."""

Operands = Sequence[Operand]

_WHOLE_NUMBER = rf"\A(?:{NUMBER_PATTERN})\z"
_ARROW_COMPARISONS: Mapping[str, str] = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}


def fast_column(node: Node, operands: Operands) -> Column | None:
    """The node's column from its operands', at least one of which is a column."""
    match node:
        case Compare():
            return compare_operands(node.sign, node.of, operands)
        case OneOf():
            return _one_of(node, operands)
        case Contain():
            return _contain(node, operands)
        case Arithmetic():
            return _calculate(node.sign, operands)
        case Call(name=name) if name in _CALLS:
            return _CALLS[name](operands)
        case _:
            return None


def fast_read(kind: Kind, column: Column) -> Column | None:
    """The column read as a kind."""
    if _FORMS[kind] is type(column):
        return column
    if kind is Kind.NUMBER and isinstance(column, Texts):
        return _parse_numbers(column)
    if kind is Kind.TRUTH and isinstance(column, Numbers):
        ones = column.doubles == 1
        return Truths(ones, ones | (column.doubles == 0))
    return None


_FORMS: Mapping[Kind, type] = {
    Kind.TEXT: Texts,
    Kind.NUMBER: Numbers,
    Kind.TRUTH: Truths,
    Kind.DATE: Dates,
}


def _parse_numbers(texts: Texts) -> Numbers | None:
    """Arrow reads the numbers that `parse_number` reads, rounded the same; others must be out of its way."""
    longest = pc.max(pc.binary_length(texts.array)).as_py() or 0
    if longest > LONGEST_NUMBER:
        return None
    try:
        doubles = texts.array.cast(pa.float64())
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim(texts.array, characters=BLANKS)
        numbers = pc.match_substring_regex(trimmed, _WHOLE_NUMBER)
        doubles = pc.if_else(numbers, trimmed, pa.scalar(None, pa.large_string())).cast(pa.float64())
    found = finite(doubles.to_numpy(zero_copy_only=False))
    large = np.flatnonzero(np.abs(found) >= LEAST_INEXACT)
    spelled = zip(large.tolist(), texts.take(large).values(), strict=True)
    parsed = {row: parse_number(text or "") for row, text in spelled}
    found[[row for row, value in parsed.items() if value is None]] = np.nan  # too large before it was rounded
    exact = {row: value for row, value in parsed.items() if isinstance(value, int) and value != float(value)}
    return Numbers(found, exact)


def finite(doubles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The doubles with the infinite ones missing."""
    return np.where(np.abs(doubles) <= float(LARGEST_NUMBER), doubles, np.nan)


# Comparisons


def compare_operands(sign: str, kind: Kind, operands: Operands) -> Truths:
    """Two operands of a kind compared row by row; a missing one makes it false."""
    left, right = operands
    if any(isinstance(operand, Constant) and operand.value is None for operand in operands):
        return Truths(np.zeros(_length(right if isinstance(left, Constant) else left), dtype=np.bool_))
    compare = {Kind.TEXT: _compare_texts, Kind.NUMBER: _compare_numbers, Kind.DATE: _compare_dates}
    return Truths(compare.get(kind, _compare_truths)(sign, left, right))


def _length(column: Operand) -> int:
    return 0 if isinstance(column, Constant) else len(column.present())


def _compare_texts(sign: str, left: Operand, right: Operand) -> Rows:
    return _truths(pc.call_function(_ARROW_COMPARISONS[sign], [_arrow_text(left), _arrow_text(right)]))


def _arrow_text(operand: Operand) -> Any:
    return operand.array if isinstance(operand, Texts) else pa.scalar(_value(operand), pa.large_string())


def _truths(array: Any) -> Rows:
    """Arrow's truths, missing ones false."""
    return array.fill_null(False).to_numpy(zero_copy_only=False)


def _value(operand: Operand) -> Any:
    return operand.value if isinstance(operand, Constant) else None


def _compare_numbers(sign: str, left: Operand, right: Operand) -> Rows:
    """In doubles. Rounding keeps order, so only rows that tie as doubles need their exact whole numbers."""
    relation = COMPARISONS[sign]
    one, other = _doubles(left), _doubles(right)
    verdicts = relation(one, other) & ~np.isnan(one) & ~np.isnan(other)
    if _is_exact(left) or _is_exact(right):
        for row in np.flatnonzero(np.equal(one, other)).tolist():
            verdicts[row] = relation(_number_at(left, row), _number_at(right, row))
    return verdicts


def _doubles(operand: Operand) -> Any:
    if isinstance(operand, Numbers):
        return operand.doubles
    value = _value(operand)
    return np.float64(np.nan if value is None else value)


def _is_exact(operand: Operand) -> bool:
    if isinstance(operand, Numbers):
        return bool(operand.exact)
    value = _value(operand)
    return isinstance(value, int) and value != float(value)


def _number_at(operand: Operand, row: int) -> int | float:
    return operand.at(row) if isinstance(operand, Numbers) else _value(operand)


def _compare_dates(sign: str, left: Operand, right: Operand) -> Rows:
    one, other = _days(left), _days(right)
    return COMPARISONS[sign](one, other) & ~np.isnat(one) & ~np.isnat(other)


def _days(operand: Operand) -> Any:
    return operand.days if isinstance(operand, Dates) else np.datetime64(_value(operand), "D")


def _compare_truths(sign: str, left: Operand, right: Operand) -> Rows:
    present = [operand.present() for operand in (left, right) if not isinstance(operand, Constant)]
    one, other = (
        operand.trues if isinstance(operand, Truths) else _value(operand) for operand in (left, right)
    )
    return np.logical_and.reduce([COMPARISONS[sign](one, other), *present])


# Membership


def _one_of(node: OneOf, operands: Operands) -> Truths | None:
    (column,) = operands
    if isinstance(column, Texts):
        among = _truths(pc.is_in(column.array, value_set=pa.array(node.values, pa.large_string())))
    elif isinstance(column, Numbers) and not column.exact:
        among = np.isin(column.doubles, [float(value) for value in node.values if value == float(value)])
    else:
        return None
    return Truths(~among & column.present() if node.negated else among)


def _contain(node: Contain, operands: Operands) -> Truths | None:
    value, container = operands
    part = _value(value)
    if not isinstance(container, Texts) or node.value.kind is not Kind.TEXT or part is None:
        return None
    found = _truths(pc.match_substring(container.array, part))
    return Truths(~found & container.present() if node.negated else found)


# Arithmetic and functions


def _calculate(sign: str, operands: Operands) -> Numbers:
    left, right = (_doubles(operand) for operand in operands)
    with np.errstate(all="ignore"):  # a division by zero gives what is not finite
        return Numbers(finite(ARITHMETIC[sign](left, right)))


def _case(arrow: str) -> Callable[[Operands], Texts | None]:
    """Lower or upper case of ASCII; Arrow and Python differ about the rest of Unicode."""

    def changed(operands: Operands) -> Texts | None:
        (column,) = operands
        if not isinstance(column, Texts) or not pc.all(pc.string_is_ascii(column.array)).as_py():
            return None
        return Texts(pc.call_function(arrow, [column.array]))

    return changed


def _strip(operands: Operands) -> Texts | None:
    (column,) = operands
    return Texts(pc.utf8_trim(column.array, characters=BLANKS)) if isinstance(column, Texts) else None


def _part_test(function: Callable[..., Any]) -> Callable[[Operands], Truths | None]:
    """A test of a column of texts against one text."""

    def tested(operands: Operands) -> Truths | None:
        column, part = operands
        if not isinstance(column, Texts) or _value(part) is None:
            return None
        return Truths(_truths(function(column.array, _value(part))))

    return tested


def _length_of(operands: Operands) -> Numbers | None:
    (column,) = operands
    if not isinstance(column, Texts):
        return None
    return Numbers(pc.utf8_length(column.array).cast(pa.float64()).to_numpy(zero_copy_only=False))


def _isnull(operands: Operands) -> Truths | None:
    (column,) = operands
    return None if isinstance(column, Constant) else Truths(~column.present())


def _notnull(operands: Operands) -> Truths | None:
    (column,) = operands
    return None if isinstance(column, Constant) else Truths(column.present())


def _days_between(*, since: bool) -> Callable[[Operands], Numbers | None]:
    def counted(operands: Operands) -> Numbers | None:
        column, today = operands
        if not isinstance(column, Dates):
            return None
        days = (column.days - np.datetime64(_value(today), "D")).astype(np.float64)
        days[np.isnat(column.days)] = np.nan
        return Numbers(-days if since else days)

    return counted


def _coalesce(operands: Operands) -> Texts | None:
    if not all(isinstance(operand, Texts) or isinstance(_value(operand), str) for operand in operands):
        return None
    return Texts(pc.coalesce(*(_arrow_text(operand) for operand in operands)))


def _on_doubles(function: Callable[..., Any]) -> Callable[[Operands], Numbers | None]:
    """A function of doubles, for columns without exact whole numbers beyond them."""

    def applied(operands: Operands) -> Numbers | None:
        if any(_is_exact(operand) for operand in operands):
            return None
        doubles = [_doubles(operand) for operand in operands]
        return Numbers(functools.reduce(function, doubles) if len(doubles) > 1 else function(*doubles))

    return applied


_CALLS: Mapping[str, Callable[[Operands], Column | None]] = {
    "lower": _case("ascii_lower"),
    "upper": _case("ascii_upper"),
    "strip": _strip,
    "startswith": _part_test(pc.starts_with),
    "endswith": _part_test(pc.ends_with),
    "matches": _part_test(pc.match_substring_regex),
    "length": _length_of,
    "isnull": _isnull,
    "notnull": _notnull,
    "days_until": _days_between(since=False),
    "days_since": _days_between(since=True),
    "coalesce": _coalesce,
    "abs": _on_doubles(np.abs),
    "round": _on_doubles(np.rint),
    "min": _on_doubles(np.minimum),
    "max": _on_doubles(np.maximum),
}
