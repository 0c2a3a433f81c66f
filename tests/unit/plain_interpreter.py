"""A plain interpreter of conditions, row by row, that shares no code with the package."""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import partial
from math import isfinite
from typing import Any

import pandas as pd

from tests.unit.random_conditions import ISO_DATES, LOCAL_DATES, TODAY


def value_of(value: Any) -> Any:
    """The value, or None for whatever counts as missing."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > int(1.7976931348623157e308):
        return None
    return value


def as_text(value: Any) -> str | None:
    """How a value reads as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value == int(value):
        return (
            format(Decimal(int(value)), "f").replace("-0", "0")
            if value == 0
            else format(Decimal(int(value)), "f")
        )
    if isinstance(value, str | int | float):
        return str(value)
    return value.isoformat() if isinstance(value, dt.date) else None


def as_number(value: Any) -> Any:
    """How a value reads as a number; Decimal says which texts are numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        return value
    while value and value[0].isspace():
        value = value[1:]
    while value and value[-1].isspace():
        value = value[:-1]
    if len(value) > 400 or not set(value) <= set("0123456789+-.eE"):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return value_of(float(number) if set(value) & set(".eE") else int(number))


def as_truth(value: Any) -> bool | None:
    """How a value reads as true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return {0: False, 1: True}.get(value)
    word = value.strip().lower() if isinstance(value, str) else ""
    yes, no = ("true", "t", "yes", "y", "on", "1"), ("false", "f", "no", "n", "off", "0")
    return True if word in yes else False if word in no else None


def as_date(value: Any) -> dt.date | None:
    """How a value reads as a date; texts are looked up, not parsed."""
    if isinstance(value, dt.datetime):
        return dt.date(value.year, value.month, value.day)
    return ISO_DATES.get(value) if isinstance(value, str) else value if isinstance(value, dt.date) else None


AS = {"text": as_text, "number": as_number, "truth": as_truth, "date": as_date}


def related(sign: str, left: Any, right: Any) -> bool:
    """A comparison of two values of one kind; numbers are compared as fractions, exactly."""
    if left is None or right is None:
        return False
    if isinstance(left, int | float) and not isinstance(left, bool):
        left, right = Fraction(left), Fraction(right)
    equal, less = left == right, sign not in {"==", "!="} and left < right
    return {
        "==": equal,
        "!=": not equal,
        "<": less,
        "<=": less or equal,
        ">": not less and not equal,
        ">=": not less,
    }[sign]


def compared(kind: str, sign: str, left: Any, right: Any) -> bool:
    """A comparison of two values that are read as a kind first."""
    if kind == "any":
        kind = "text" if as_number(left) is None or as_number(right) is None else "number"
    return related(sign, AS[kind](left), AS[kind](right))


def contained(kind: str, value: Any, container: Any, *, negated: bool) -> bool:
    """Membership in a list from the data, or in a text."""
    if kind != "any":
        value = AS[kind](value)
    if as_text(value) is None or container is None:
        return False
    if isinstance(container, list):
        found = any(compared(kind, "==", value, value_of(element)) for element in container)
    elif kind == "number" or as_text(container) is None:
        return False
    else:
        found = (as_text(value) or "") in (as_text(container) or "")
    return found != negated


def calculated(sign: str, left: Any, right: Any) -> float | None:
    """Arithmetic of doubles."""
    if left is None or right is None or (sign in "/%" and right == 0):
        return None
    left, right = float(left), float(right)
    doubles: dict[str, Callable[[], float]] = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
        "%": lambda: left % right,
    }
    result = doubles[sign]()
    return result if isfinite(result) else None


def local_date(value: Any) -> dt.date | None:
    """How a text reads as a date of the format %d/%m/%Y."""
    return LOCAL_DATES.get(value) if isinstance(value, str) else None


def looked_up(scopes: Any, scope: str, path: Any) -> Any:
    """What lies at a path in the scopes."""
    value = scopes[scope]
    for part in path:
        if isinstance(part, str):
            value = value.get(part) if isinstance(value, dict) else None
        else:
            value = value[part] if isinstance(value, list) and -len(value) <= part < len(value) else None
    return value_of(value)


def interpret(tree: Any, scopes: Any) -> Any:
    """What an expression yields for one row."""
    name, *operands = tree
    if name == "attribute":
        return looked_up(scopes, *operands)

    def run(operand: Any, kind: str | None = None) -> Any:
        value = interpret(operand, scopes)
        return value if kind is None else AS[kind](value)

    return CASES[name](run, *operands)


Run = Callable[..., Any]
"""Interprets an operand of the row at hand, maybe as a number, a text, a date or a truth."""


def chained(run: Run, sign: str, other: str, left: Any, middle: Any, right: Any) -> bool:
    """`left < middle < right`."""
    return compared("number", sign, run(left), run(middle)) and compared(
        "number", other, run(middle), run(right)
    )


def member(run: Run, kind: str, value: Any, listed: Any, negated: Any) -> bool:
    """`value in [literals]`, or `not in`."""
    value = run(value, kind)
    found = any(related("==", value, AS[kind](run(literal))) for literal in listed)
    return value is not None and found != negated


def days(run: Run, operand: Any, *, sign: int) -> int | None:
    """Days from today to a date, or back."""
    day = run(operand, "date")
    return None if day is None else (day - TODAY).days * sign


def length(run: Run, operand: Any) -> int | None:
    """How many elements or letters."""
    value = run(operand)
    counted = value if isinstance(value, list | dict) else as_text(value)
    return None if counted is None else len(counted)


def of_text(run: Run, operand: Any, do: Callable[[str], Any]) -> Any:
    """What is done with a text; of a missing one nothing."""
    text = run(operand, "text")
    return None if text is None else do(text)


def edge(run: Run, operand: Any, part: Any, *, at_end: bool) -> bool:
    """Whether a text starts, or ends, with a part."""
    text, part = run(operand, "text"), run(part, "text")
    if text is None or part is None:
        return False
    if at_end:
        return text[len(text) - len(part) :] == part and len(part) <= len(text)
    return text[: len(part)] == part


def negative(run: Run, operand: Any) -> Any:
    """`-operand`; a literal keeps its own precision."""
    if operand[0] == "literal":
        return -operand[1]
    return calculated("-", 0, run(operand, "number"))


def of_number(run: Run, operand: Any, do: Callable[[Any], Any]) -> Any:
    """What is done with a number; of a missing one nothing."""
    value = run(operand, "number")
    return None if value is None else do(value)


def extreme(run: Run, *operands: Any, place: int) -> Any:
    """The smallest or the largest of numbers; none where one is missing."""
    values = [run(operand, "number") for operand in operands]
    return None if None in values else sorted(values)[place]


CASES: dict[str, Callable[..., Any]] = {
    "literal": lambda _, value: value,
    "compare": lambda run, kind, sign, left, right: compared(kind, sign, run(left), run(right)),
    "chain": chained,
    "member": member,
    "contain": lambda run, kind, value, container, negated: contained(
        kind, run(value), run(container), negated=negated
    ),
    "contains": lambda run, container, part: contained("text", run(part), run(container), negated=False),
    "calculate": lambda run, sign, left, right: calculated(sign, run(left, "number"), run(right, "number")),
    "and": lambda run, left, right: run(left, "truth") is True and run(right, "truth") is True,
    "or": lambda run, left, right: run(left, "truth") is True or run(right, "truth") is True,
    "not": lambda run, operand: run(operand, "truth") is not True,
    "isnull": lambda run, operand: run(operand) is None,
    "notnull": lambda run, operand: run(operand) is not None,
    "coalesce": lambda run, first, second: run(second) if run(first) is None else run(first),
    "today": lambda _: TODAY,
    "date": lambda run, operand: run(operand, "date"),
    "text": lambda run, operand: run(operand, "text"),
    "number": lambda run, operand: run(operand, "number"),
    "local_date": lambda run, operand: local_date(run(operand)),
    "days_until": partial(days, sign=1),
    "days_since": partial(days, sign=-1),
    "length": length,
    "split": lambda run, operand, separator: of_text(run, operand, lambda text: text.split(separator)),
    "lower": partial(of_text, do=str.lower),
    "upper": partial(of_text, do=str.upper),
    "strip": partial(of_text, do=str.strip),
    "startswith": partial(edge, at_end=False),
    "endswith": partial(edge, at_end=True),
    "matches": lambda run, operand, pattern: bool(
        of_text(run, operand, lambda text: re.fullmatch(pattern, text) is not None)
    ),
    "negative": negative,
    "abs": partial(of_number, do=abs),
    "round": partial(of_number, do=round),
    "min": partial(extreme, place=0),
    "max": partial(extreme, place=-1),
}
"""What each construct of the grammar means."""
