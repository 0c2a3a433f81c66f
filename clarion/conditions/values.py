"""One row's values: which are missing, and how each is read as text, number, truth or date.

Inside a condition a value is None (missing), str, int, float, bool, date, datetime, list, tuple or a mapping.
Every rule here looks at that one value alone: a verdict never depends on the rows beside it or on a column's
dtype.
"""

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd


class Kind(Enum):
    """What an expression yields; the value names it in messages."""

    ANY = "an attribute"
    TEXT = "text"
    NUMBER = "a number"
    TRUTH = "true or false"
    DATE = "a date"
    LIST = "a list"


BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""The blanks at the ends of a text: written out, because Python and Arrow each have their own idea."""

NUMBER_PATTERN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""A number written as text, without blanks around it; the same in Python's re and in RE2."""

LONGEST_NUMBER = 400
"""Characters: a longer text is no number. The largest double has 309 digits."""

LARGEST_NUMBER = int(float.fromhex("0x1.fffffffffffffp+1023"))
"""What a double can hold; anything larger, either way, is missing."""

LEAST_INEXACT = 2**53
"""From here on, either way, a double may stand for several whole numbers."""

_NUMBER = re.compile(NUMBER_PATTERN, re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_DATE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?"
    r"(?: ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?))?)?",
    re.ASCII,
)
_TRUTHS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


def plain(value: Any) -> Any:
    """The value as conditions know it: None for whatever is missing, Python's types for NumPy's."""
    known = _PLAIN.get(type(value))
    return known(value) if known else _plain_other(value)


def _plain_int(value: int) -> int | None:
    return value if -LARGEST_NUMBER <= value <= LARGEST_NUMBER else None


def _plain_float(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain_decimal(value: Decimal) -> int | float | None:
    if not value.is_finite() or value.adjusted() > LONGEST_NUMBER:
        return None
    return _plain_int(int(value)) if value == value.to_integral_value() else _plain_float(float(value))


def _plain_timestamp(value: pd.Timestamp) -> dt.datetime | None:
    return value.to_pydatetime(warn=False) if dt.MINYEAR <= value.year <= dt.MAXYEAR else None


def _same(value: Any) -> Any:
    return value


def _nothing(value: Any) -> None:  # noqa: ARG001  stands among the functions of one value
    return None


_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: _same,
    bool: _same,
    dict: _same,
    list: _same,
    int: _plain_int,
    float: _plain_float,
    dt.date: _same,
    dt.datetime: _same,
    tuple: _same,
    type(None): _same,
    type(pd.NaT): _nothing,
    type(pd.NA): _nothing,
    Decimal: _plain_decimal,
    UUID: str,
    np.datetime64: lambda value: plain(pd.Timestamp(value)),
    np.ndarray: np.ndarray.tolist,
    np.bool_: bool,
    pd.Timestamp: _plain_timestamp,
}


def _plain_other(value: Any) -> Any:
    if isinstance(value, np.generic) and type(value.item()) is not type(value):
        return plain(value.item())
    for base, convert in ((str, str.__str__), (int, _as_int), (float, _as_float)):
        if isinstance(value, base):
            return convert(value)
    return value


def _as_int(value: int) -> int | None:
    return _plain_int(int(value))


def _as_float(value: float) -> float | None:
    return _plain_float(float(value))


def walk(value: Any, path: tuple[str | int, ...]) -> Any:
    """What lies at `path` inside nested mappings (by name) and lists (by position), as a plain value or None.

    Only mappings and lists are looked into: no name ever reaches an attribute of a Python object.
    """
    for step in path:
        value = plain(value)
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, Mapping) else None
        else:
            inside = isinstance(value, list | tuple) and -len(value) <= step < len(value)
            value = value[step] if inside else None
    return plain(value)


def read_text(value: Any) -> str | None:
    """A plain value as text: whole numbers without a point, truths as true and false, dates in ISO 8601."""
    if type(value) is str:
        return value if value.isascii() else whole_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return None


def whole_text(text: str) -> str:
    """The text with U+FFFD for halves of surrogate pairs: JSON may carry them, no column of text can."""
    return _HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", text)


def read_number(value: Any) -> int | float | None:
    """A plain value as a finite number; whole numbers stay exact however long they are."""
    if type(value) is str:
        return parse_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None


def parse_number(text: str) -> int | float | None:
    """The number a text spells in ASCII digits, blanks around it allowed; None for anything else."""
    trimmed = text.strip(BLANKS)
    if len(trimmed) > LONGEST_NUMBER:
        return None
    if _WHOLE_NUMBER.fullmatch(trimmed):
        return _plain_int(int(trimmed))
    return _plain_float(float(trimmed)) if _NUMBER.fullmatch(trimmed) else None


def read_truth(value: Any) -> bool | None:
    """A plain value as true or false: yes/no, on/off, y/n, t/f and 1/0 count, in any case."""
    if isinstance(value, bool):
        return value
    if type(value) is str:
        return _TRUTHS.get(value.strip(BLANKS).lower())
    if isinstance(value, int | float):
        return bool(value) if value in (0, 1) else None
    return None


def read_date(value: Any) -> dt.date | None:
    """A plain value as the date it names, in the zone it is written in; in ISO 8601 a time may follow."""
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    found = _DATE.fullmatch(value.strip(BLANKS)) if type(value) is str else None
    return _calendar_date(found[1]) if found else None


def _calendar_date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None  # 30 February


READERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: read_text,
    Kind.NUMBER: read_number,
    Kind.TRUTH: read_truth,
    Kind.DATE: read_date,
}
"""How a plain value is read as each kind; None where it cannot be."""
