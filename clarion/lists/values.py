"""An item's values are plain JSON: a condition over a frame and a template over the ledger see the same."""

import math
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

_LARGEST_INTEGERS = range(-(2**63), 2**64)
"""What JSON in the ledger holds as a number."""


def plain(value: Any) -> Any:
    """The value as JSON has it; None where it is missing.

    Dates and times become ISO 8601 text, a decimal number its exact text, a duration `hours:minutes:seconds`,
    an integer beyond 64 bits its digits, bytes the UTF-8 text that they are. NaN and infinity are missing.

    Raises:
        TypeError: There is no JSON for it.
    """
    convert = _PLAIN.get(type(value))
    return convert(value) if convert else _plain_other(value)


def spoilt_text(value: Any) -> str | None:
    """Why a text somewhere in the JSON `value` cannot be stored; None where all can."""
    if isinstance(value, str):
        if "\0" in value:
            return "a NUL character"
        return None if value.isascii() or _encodes(value) else "half of a surrogate pair"
    if isinstance(value, dict):
        return next(filter(None, map(spoilt_text, (*value, *value.values()))), None)
    if isinstance(value, list):
        return next(filter(None, map(spoilt_text, value)), None)
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _same(value: Any) -> Any:
    return value


def _plain_integer(value: int) -> int | str:
    return value if value in _LARGEST_INTEGERS else str(value)


def _plain_float(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain_decimal(value: Decimal) -> str | None:
    return format(value, "f") if value.is_finite() else None


def _plain_duration(value: timedelta) -> str:
    seconds = abs(value) // timedelta(seconds=1)
    sign = "-" if value < timedelta(0) else ""
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _plain_list(value: Any) -> list[Any]:
    return [plain(each) for each in value]


def _plain_mapping(value: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): plain(each) for key, each in value.items()}


def _missing(_value: Any) -> None:
    return None


_PLAIN: dict[type, Callable[[Any], Any]] = {
    type(None): _missing,
    type(pd.NaT): _missing,
    type(pd.NA): _missing,
    str: _same,
    bool: _same,
    int: _plain_integer,
    float: _plain_float,
    Decimal: _plain_decimal,
    UUID: str,
    bytes: bytes.decode,
    list: _plain_list,
    tuple: _plain_list,
    dict: _plain_mapping,
}


def _plain_other(value: Any) -> Any:
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, timedelta):
        return _plain_duration(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
