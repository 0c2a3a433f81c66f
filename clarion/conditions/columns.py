"""A condition's intermediate results over a frame: one value a row, in the form that is fastest for its kind.

Each form says which rows are missing and gives its rows back as plain values, so that whatever has no fast
path is done row by row with the same functions that serve a single row.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from clarion.conditions.values import LARGEST_NUMBER, LEAST_INEXACT, Kind, plain

Rows = npt.NDArray[np.bool_]
"""One truth a row."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The same plain value in every row; None: missing in every row."""

    value: Any


@dataclass(frozen=True, slots=True)
class Texts:
    """Text; null is missing."""

    array: pa.LargeStringArray

    def present(self) -> Rows:
        """Which rows have a value."""
        return self.array.is_valid().to_numpy(zero_copy_only=False)

    def values(self) -> list[str | None]:
        """One plain value a row, None for missing."""
        return self.array.to_pylist()

    def take(self, rows: npt.NDArray[np.intp]) -> "Texts":
        """The rows at these positions, in this order."""
        return Texts(self.array.take(pa.array(rows)))


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers as doubles, NaN is missing; `exact` holds, by row, the whole numbers no double can hold."""

    doubles: npt.NDArray[np.float64]
    exact: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[int | float | None]) -> "Numbers":
        """From numbers of one row each, every one of them within a double's range."""
        listed = list(values)
        doubles = np.array([np.nan if value is None else float(value) for value in listed], dtype=np.float64)
        large = np.flatnonzero(np.abs(doubles) >= LEAST_INEXACT).tolist()
        exact = {
            row: value for row in large if isinstance(value := listed[row], int) and value != float(value)
        }
        return cls(doubles, exact)

    def present(self) -> Rows:
        """Which rows have a value."""
        return ~np.isnan(self.doubles)

    def at(self, row: int) -> int | float:
        """The number in a row that is not missing, exact."""
        return self.exact.get(row, float(self.doubles[row]))

    def values(self) -> list[int | float | None]:
        """One plain value a row, None for missing."""
        listed = [None if value != value else value for value in self.doubles.tolist()]  # noqa: PLR0124  NaN
        for row, value in self.exact.items():
            listed[row] = value
        return listed

    def take(self, rows: npt.NDArray[np.intp]) -> "Numbers":
        """The rows at these positions, in this order."""
        exact = (
            {at: self.exact[row] for at, row in enumerate(rows.tolist()) if row in self.exact}
            if self.exact
            else {}
        )
        return Numbers(self.doubles[rows], exact)


@dataclass(frozen=True, slots=True)
class Truths:
    """True or false; `known` is None where no row is missing. A missing row is false in `trues`."""

    trues: Rows
    known: Rows | None = None

    @classmethod
    def of(cls, values: Iterable[bool | None]) -> "Truths":
        """From truths of one row each."""
        listed = list(values)
        trues = np.array([value is True for value in listed], dtype=np.bool_)
        return cls(trues, np.array([value is not None for value in listed], dtype=np.bool_))

    def present(self) -> Rows:
        """Which rows have a value."""
        return np.ones(len(self.trues), dtype=np.bool_) if self.known is None else self.known

    def values(self) -> list[bool | None]:
        """One plain value a row, None for missing."""
        return [
            true if known else None
            for true, known in zip(self.trues.tolist(), self.present().tolist(), strict=True)
        ]

    def take(self, rows: npt.NDArray[np.intp]) -> "Truths":
        """The rows at these positions, in this order."""
        return Truths(self.trues[rows], None if self.known is None else self.known[rows])


@dataclass(frozen=True, slots=True)
class Dates:
    """Days; not-a-time is missing."""

    days: npt.NDArray[np.datetime64]

    @classmethod
    def of(cls, values: Iterable[dt.date | None]) -> "Dates":
        """From dates of one row each."""
        return cls(np.array(list(values), dtype="datetime64[D]"))

    def present(self) -> Rows:
        """Which rows have a value."""
        return ~np.isnat(self.days)

    def values(self) -> list[dt.date | None]:
        """One plain value a row, None for missing."""
        return self.days.tolist()

    def take(self, rows: npt.NDArray[np.intp]) -> "Dates":
        """The rows at these positions, in this order."""
        return Dates(self.days[rows])


@dataclass(frozen=True, slots=True)
class Mixed:
    """Plain values of any type, lists and mappings among them; None is missing."""

    plain: list[Any]

    def present(self) -> Rows:
        """Which rows have a value."""
        return np.array([value is not None for value in self.plain], dtype=np.bool_)

    def values(self) -> list[Any]:
        """One plain value a row, None for missing."""
        return self.plain

    def take(self, rows: npt.NDArray[np.intp]) -> "Mixed":
        """The rows at these positions, in this order."""
        return Mixed([self.plain[row] for row in rows.tolist()])


Column = Texts | Numbers | Truths | Dates | Mixed
Operand = Column | Constant


def column_of(kind: Kind, values: Sequence[Any]) -> Column:
    """The column of plain values, one a row, all of a kind."""
    match kind:
        case Kind.TEXT:
            return Texts(pa.array(values, type=pa.large_string()))
        case Kind.NUMBER:
            return Numbers.of(values)
        case Kind.TRUTH:
            return Truths.of(values)
        case Kind.DATE:
            return Dates.of(values)
        case _:
            return Mixed(list(values))


def load_column(series: pd.Series) -> Column:
    """A frame's column as it comes, of whatever dtype."""
    dtype = series.dtype
    if isinstance(dtype, pd.StringDtype):
        return _load_texts(series)
    if isinstance(dtype, np.dtype) and dtype.kind == "b":
        return Truths(series.to_numpy(dtype=np.bool_))
    if (
        isinstance(dtype, np.dtype)
        and dtype.kind in "iuf"
        and dtype.itemsize <= np.dtype(np.float64).itemsize
    ):
        return _load_numbers(series.to_numpy())
    if isinstance(dtype, np.dtype) and dtype.kind == "M":
        moments = series.to_numpy().astype("datetime64[us]").tolist()  # an int where Python has no such year
        return Mixed([None if isinstance(moment, int) else moment for moment in moments])
    return Mixed([plain(value) for value in series.astype(object).tolist()])


def _load_texts(series: pd.Series) -> Column:
    try:
        array = pa.array(series, type=pa.large_string(), from_pandas=True)
    except UnicodeEncodeError:  # half a surrogate pair, in a column that Python stores
        return Mixed([plain(value) for value in series.astype(object).tolist()])
    return Texts(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)


def _load_numbers(values: npt.NDArray[Any]) -> Numbers:
    if values.dtype.kind == "f":
        doubles = values.astype(np.float64)
        return Numbers(np.where(np.abs(doubles) <= float(LARGEST_NUMBER), doubles, np.nan))
    if np.any(values >= LEAST_INEXACT) or np.any(values <= -LEAST_INEXACT):
        return Numbers.of(values.tolist())
    return Numbers(values.astype(np.float64))


def dictionary_of(texts: Texts) -> tuple[Texts, npt.NDArray[np.intp]]:
    """The different texts (missing is one of them), and for each row which of them it has."""
    encoded = texts.array.dictionary_encode(null_encoding="encode")
    return Texts(encoded.dictionary), encoded.indices.to_numpy(zero_copy_only=False).astype(np.intp)
