"""Writing rows to a file or to standard output: CSV, JSON, JSON lines, Parquet. Memory stays flat.

A file appears when it is whole: until then it is written beside its place.
"""

import csv
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from clarion.errors import SettingError, nearest


class ExportFormat(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


Pages = Callable[[], Iterator[Sequence[Mapping[str, Any]]]]
"""The rows, page by page, from the first one each time it is called."""


def format_of(output: Path | None, given: ExportFormat | None) -> ExportFormat:
    """The format that is asked for, else that of the file's extension; CSV where there is no file.

    Raises:
        SettingError: The extension tells none.
    """
    if given is not None or output is None:
        return given or ExportFormat.CSV
    extension = output.suffix.lower().removeprefix(".")
    if extension in set(ExportFormat):
        return ExportFormat(extension)
    raise SettingError(
        f"{output.name} tells no format",
        where="--output",
        expected=f"one of {', '.join(f'.{each}' for each in ExportFormat)}, or --format",
        nearest=nearest(extension, ExportFormat),
    )


def export(
    pages: Pages,
    *,
    format: ExportFormat,  # noqa: A002  # the option's name
    output: Path | None,
    columns: Sequence[str] = (),
) -> int:
    """Writes rows; how many. CSV and Parquet have these columns, and every other that any of the rows has.

    In CSV a text stands as it is and anything else as JSON, a missing value as an empty cell. In Parquet an
    attribute whose values are of several types, or are lists or mappings, is text.

    Raises:
        SettingError: The file cannot be written, or Parquet has none.
    """
    if format is not ExportFormat.PARQUET:
        with _text(output) as file:
            return _csv(pages, file, columns) if format is ExportFormat.CSV else _lines(pages, file, format)
    if output is None:
        raise SettingError("Parquet is no text for a terminal", where="--output", expected="a file")
    with _beside(output) as draft:
        return _parquet(pages, draft, columns)


def _csv(pages: Pages, file: TextIO, first: Sequence[str]) -> int:
    columns = list(_types(pages, first))
    writer, count = csv.writer(file), 0
    writer.writerow(columns)
    for page in pages():
        writer.writerows([_cell(row.get(name)) for name in columns] for row in page)
        count += len(page)
    return count


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _lines(pages: Pages, file: TextIO, format: ExportFormat) -> int:  # noqa: A002
    """One line a row: JSON lines, or the entries of a JSON array."""
    before, between, after = ("[\n", ",\n", "\n]\n") if format is ExportFormat.JSON else ("", "\n", "\n")
    count = 0
    for row in _rows(pages):
        file.write((between if count else before) + orjson.dumps(row).decode())
        count += 1
    file.write(after if count else "[]\n" if format is ExportFormat.JSON else "")
    return count


def _parquet(pages: Pages, file: Path, first: Sequence[str]) -> int:
    types = {name: _parquet_type(kinds) for name, kinds in _types(pages, first).items()}
    schema, count = pa.schema(list(types.items())), 0
    with pq.ParquetWriter(str(file), schema) as writer:
        for page in pages():
            rows = [{name: _typed(row.get(name), types[name]) for name in types} for row in page]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(page)
    return count


def _parquet_type(kinds: set[type]) -> pa.DataType:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds in ({float}, {int, float}) else pa.string()


def _typed(value: Any, kind: pa.DataType) -> Any:
    if value is None or kind != pa.string() or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _types(pages: Pages, first: Sequence[str]) -> dict[str, set[type]]:
    """Every attribute, after the first ones in the order of appearance, with the types of its values."""
    found: dict[str, set[type]] = defaultdict(set, {name: set() for name in first})
    for row in _rows(pages):
        for name, value in row.items():
            kinds = found[name]
            if value is not None:
                kinds.add(str if isinstance(value, int) and value >= 2**63 else type(value))
    return dict(found)


def _rows(pages: Pages) -> Iterable[Mapping[str, Any]]:
    return (row for page in pages() for row in page)


@contextmanager
def _text(output: Path | None) -> Generator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    with _beside(output) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def _beside(output: Path) -> Generator[Path]:
    """A file that takes its place once it is whole. Raises SettingError where it cannot be written."""
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        if output.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        try:
            draft.touch()
            yield draft
            draft.replace(output)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as exc:
        raise SettingError(f"cannot write {output}: {exc.strerror}", where="--output") from exc
