"""Rows to frames, frames to items, and what a header must be."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from clarion.errors import ListError
from clarion.lists.values import plain

Row = TypeVar("Row")

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_PHONE = re.compile(r"\+?[\d\s().-]+")
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])"
)
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")
_SHORTEST_PHONE_DIGITS = 7


def check_header(names: Sequence[str], *, where: str) -> None:
    """Refuses a row that cannot be, or does not look like, the names of attributes.

    It looks like data where a name is an e-mail address or a phone number (seven digits or more and no date),
    or where every name is a number or a date. Single numbers and dates pass: `customer, 2023, 2024` names
    years.

    Raises:
        ListError: A name is blank or stands twice, or the row looks like data. The message never quotes data.
    """
    expected = "a first row with the names of the attributes"
    if any(_EMAIL.fullmatch(name.strip()) or _is_phone(name.strip()) for name in names):
        raise ListError("there is no header: the first row holds an address", where=where, expected=expected)
    if all(_NUMBER.fullmatch(name.strip()) or _DATE.fullmatch(name.strip()) for name in names):
        raise ListError("there is no header: the first row holds numbers", where=where, expected=expected)
    for position, name in enumerate(names, 1):
        if not name.strip():
            raise ListError(f"column {position} has no name in the header", where=where, expected=expected)
    check_unique(names, where=where)


def check_unique(names: Sequence[str], *, where: str) -> None:
    """Refuses an attribute that stands twice.

    Raises:
        ListError: It names the first one.
    """
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ListError(f"two columns are named {twice!r}", where=where, expected="each name once")


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return (
        digits >= _SHORTEST_PHONE_DIGITS
        and _PHONE.fullmatch(text) is not None
        and _DATE.fullmatch(text) is None
    )


def batches(rows: Iterable[Row], *, size: int) -> Iterator[tuple[int, list[Row]]]:
    """Lists of up to `size` rows with the position of the first; one empty list where there are no rows."""
    remaining = iter(rows)
    batch = list(islice(remaining, size))
    yield 0, batch
    position = len(batch)
    while batch := list(islice(remaining, size)):
        yield position, batch
        position += len(batch)


def text_frame(rows: list[list[str]], *, columns: Sequence[str], start: int) -> pd.DataFrame:
    """A frame of pandas' `str` columns from rows of one text a column; an empty text is missing (NaN).

    Args:
        rows: One list an item.
        columns: Attributes.
        start: Position of the first row in the list.
    """
    index = pd.RangeIndex(start, start + len(rows))
    return pd.DataFrame(rows, columns=list(columns), dtype="str", index=index).replace("", np.nan)


def value_frame(items: Sequence[dict[str, Any]], *, columns: Sequence[str], start: int) -> pd.DataFrame:
    """A frame of `object` columns, which keep Python's own values; a missing one is None.

    Args:
        items: One mapping an item; attributes may be absent.
        columns: Attributes.
        start: Position of the first item in the list.
    """
    index = pd.RangeIndex(start, start + len(items))
    data = {
        name: pd.Series([item.get(name) for item in items], dtype=object, index=index) for name in columns
    }
    return pd.DataFrame(data, index=index, columns=list(columns))


def attributes_of(items: Iterable[dict[str, Any]]) -> list[str]:
    """Every attribute that any of the items has, in the order of their first appearance."""
    found: dict[str, None] = {}
    for item in items:
        if not item.keys() <= found.keys():
            found.update(dict.fromkeys(item))
    return list(found)


def frame_items(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One mapping of plain JSON values per row, without the attributes that are missing there.

    Args:
        frame: Items, one a row; columns are their attributes, of any dtype.

    Raises:
        TypeError: A value has no JSON (see `clarion.lists.values.plain`).
    """
    names = [str(name) for name in frame.columns]
    if not names:
        return [{} for _ in range(len(frame))]
    columns = [_plain_column(frame.iloc[:, position]) for position in range(len(names))]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        if None in row
        else dict(zip(names, row, strict=True))  # half the time
        for row in zip(*columns, strict=True)
    ]


def _plain_column(column: pd.Series) -> list[Any]:
    if isinstance(column.dtype, pd.StringDtype):  # holds text and nothing else: no need to look at each value
        return column.to_numpy(dtype=object, na_value=None).tolist()  # ty: ignore[no-matching-overload]  # the stubs know no None here
    return [plain(value) for value in column.tolist()]
