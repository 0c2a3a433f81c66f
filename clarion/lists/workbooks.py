"""Excel workbooks (.xlsx, .xlsm), read row by row with openpyxl."""

import warnings
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, time
from itertools import islice
from typing import IO, Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import openpyxl
import pandas as pd
from openpyxl.utils.exceptions import InvalidFileException

from clarion.errors import ListError, nearest
from clarion.lists.list_file import ListFile
from clarion.lists.tables import batches, check_header, value_frame
from clarion.lists.values import plain

_LARGEST_EXACT = 2**53
_NOT_AVAILABLE = "#N/A"
_ROWS_AT_ONCE = 500


class _ExcelError(Exception):
    """A cell holds one of Excel's errors."""


def read_workbook(file: ListFile) -> Iterator[pd.DataFrame]:
    """Frames of `object` columns from one sheet; a formula is what Excel last computed for it.

    Raises:
        ListError: The file is no workbook, has no such sheet, its first row is no header, or (unless they are
            skipped) one of its rows cannot be read.
    """
    with file.open_binary() as stream, _workbook(file, stream) as workbook:
        sheet = _sheet(file, workbook)
        sheet.reset_dimensions()  # what the file says of its own size may be wrong, and would cut rows off
        numbered = _numbered(file, sheet.iter_rows())
        columns = _header(file, numbered)
        items = _items(file, numbered, columns)
        for start, batch in batches(items, size=file.frame_rows):
            yield value_frame(batch, columns=columns, start=start)


@contextmanager
def _workbook(file: ListFile, stream: IO[bytes]) -> Generator[Any, None, None]:
    with _damage(file), warnings.catch_warnings(action="ignore"):  # styles and extensions that no list needs
        workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)
    try:
        yield workbook
    finally:
        workbook.close()


@contextmanager
def _damage(file: ListFile) -> Generator[None, None, None]:
    try:
        yield
    except (BadZipFile, InvalidFileException, ParseError, zlib.error, KeyError, ValueError, TypeError) as exc:
        raise ListError(
            "is no Excel workbook, or a damaged one", where=file.name, expected="an .xlsx file"
        ) from exc


def _sheet(file: ListFile, workbook: Any) -> Any:
    sheets = {sheet.title: sheet for sheet in workbook.worksheets}
    wanted = file.source.sheet
    if wanted is None:
        visible = next((sheet for sheet in sheets.values() if sheet.sheet_state == "visible"), None)
        if visible is None:
            raise ListError("every sheet is hidden", where=file.name, expected="sheet to name one")
        return visible
    if wanted not in sheets:
        raise ListError(
            f"there is no sheet {wanted!r}",
            where=file.name,
            expected=f"one of {', '.join(sheets)}",
            nearest=nearest(wanted, sheets),
        )
    return sheets[wanted]


def _numbered(file: ListFile, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """The rows that are not blank, with their numbers in the sheet."""
    remaining = iter(rows)
    first = 1
    while True:
        # In portions, because a filter for warnings must not stay in force while somebody else's code runs.
        with _damage(file), warnings.catch_warnings(action="ignore"):
            portion = list(islice(remaining, _ROWS_AT_ONCE))
        if not portion:
            return
        for number, row in enumerate(portion, first):
            if any(cell.value is not None and cell.value != "" for cell in row):
                yield number, row
        first += len(portion)


def _header(file: ListFile, numbered: Iterator[tuple[int, tuple[Any, ...]]]) -> list[str]:
    number, row = next(numbered, (1, ()))
    names = ["" if cell.value is None else str(_value(cell.value)) for cell in row]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise ListError(
            "the sheet is empty", where=file.name, expected="a row with the names of the attributes"
        )
    check_header(names, where=file.at(number))
    return names


def _items(
    file: ListFile, numbered: Iterator[tuple[int, tuple[Any, ...]]], columns: list[str]
) -> Iterator[dict[str, Any]]:
    for number, row in numbered:
        try:
            values = [_cell(cell) for cell in row]
        except _ExcelError:
            file.bad_row(number, "a cell holds an Excel error")
            continue
        if any(value is not None for value in values[len(columns) :]):
            file.bad_row(number, "a cell beyond the header", expected=f"{len(columns)} columns")
            continue
        yield dict(zip(columns, values, strict=False))  # rows end with their last cell: the rest is missing


def _cell(cell: Any) -> Any:
    if cell.data_type == "e":
        if cell.value != _NOT_AVAILABLE:
            raise _ExcelError
        return None
    return _value(cell.value)


def _value(value: Any) -> Any:
    """Excel knows no integers and no days: a whole number is one all the same, and midnight is left off."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT:
        return int(value)
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return None if value == "" else plain(value)
