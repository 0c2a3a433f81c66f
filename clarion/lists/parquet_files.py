"""Parquet, read batch by batch with pyarrow."""

from collections.abc import Iterator
from itertools import compress
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clarion.errors import ListError
from clarion.lists.list_file import ListFile
from clarion.lists.tables import check_unique
from clarion.lists.values import plain, spoilt_text


def read_parquet(file: ListFile) -> Iterator[pd.DataFrame]:
    """Frames of `str` columns for text and `object` columns of plain values for everything else.

    An integer column with missing values stays one of integers. Text is kept as it is, the empty one too.

    Raises:
        ListError: The file is no Parquet file, repeats a column, has one of a type that JSON has no word for,
            or (unless it is skipped) a row with a text that cannot be stored.
    """
    with file.open_binary() as stream:
        try:
            yield from _frames(file, pq.ParquetFile(stream))
        except (pa.ArrowException, OSError) as exc:
            raise ListError("is no Parquet file, or a damaged one", where=file.name) from exc


def _frames(file: ListFile, parquet: pq.ParquetFile) -> Iterator[pd.DataFrame]:
    schema = parquet.schema_arrow
    check_unique(schema.names, where=file.name)
    rows, position = 0, 0
    for batch in parquet.iter_batches(batch_size=file.frame_rows):
        columns = _good_rows(file, [_values(file, batch, name) for name in schema.names], first_row=rows + 1)
        frame = _frame(schema, columns, start=position)
        yield frame
        rows += batch.num_rows
        position += len(frame)
    if rows == 0:
        yield _frame(schema, [[] for _ in schema.names], start=0)


def _values(file: ListFile, batch: pa.RecordBatch, name: str) -> list[Any]:
    column = batch.column(name)
    try:
        values = column.to_pylist()
        return values if _is_text(column.type) else [plain(value) for value in values]
    except (TypeError, ValueError) as exc:
        raise ListError(
            f"the column {name!r} of type {column.type} has no form in JSON",
            where=file.name,
            expected="text, numbers, true or false, dates, or lists and mappings of these",
        ) from exc


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _good_rows(file: ListFile, columns: list[list[Any]], *, first_row: int) -> list[list[Any]]:
    """The rows whose texts can be stored: unlike a line of text, Parquet may hold any character."""
    problems = [next(filter(None, map(spoilt_text, row)), None) for row in zip(*columns, strict=True)]
    if not any(problems):
        return columns
    for row, problem in enumerate(problems, first_row):
        if problem:
            file.bad_row(row, problem)
    good = [problem is None for problem in problems]
    return [list(compress(column, good)) for column in columns]


def _frame(schema: pa.Schema, columns: list[list[Any]], *, start: int) -> pd.DataFrame:
    index = pd.RangeIndex(start, start + len(columns[0]) if columns else start)
    series = {
        field.name: pd.Series(values, dtype="str" if _is_text(field.type) else object, index=index)
        for field, values in zip(schema, columns, strict=True)
    }
    return pd.DataFrame(series, index=index)
