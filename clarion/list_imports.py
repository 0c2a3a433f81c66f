"""Importing a file into a managed list, and clearing and deleting lists.

A file is read twice. First to the end without a word written, so that whatever cannot be read stops the
import before it has begun; then again, and stored some thousand items a transaction, so that campaigns go on
meanwhile: in one transaction a million items would keep every claim waiting until the senders lose their
leases. An import that is cut off has stored what it told so far, and is simply made again: each item replaces
the one with its key.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import orjson
import pandas as pd
import sqlalchemy as sa

from clarion.errors import ListError, RowError, SettingError, nearest
from clarion.ledger.database import Database, utc_now
from clarion.ledger.managed_lists import (
    DELETED_AT_ONCE,
    MOST_KEY_BYTES,
    ItemChanges,
    ListRecord,
    delete_list_row,
    delete_some,
    find_list,
    log_change,
    log_more,
    put_items,
)
from clarion.lists import frame_items
from clarion.lists.keys import key_texts
from clarion.lists.reading import read_frames
from clarion.lists.report import BadRow, ReadReport
from clarion.models.lists import FileList

FRAME_ROWS = 2_000
"""Items of one transaction: some 20 ms."""

OnRows = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who wants a change, and why."""

    who: str
    why: str


@dataclass(frozen=True, kw_only=True)
class ImportSource:
    """A file to import: what it is, and the folder that its path starts from.

    `replace` takes away what is on the list and not in the file.
    """

    file: FileList
    base: Path = field(default_factory=Path.cwd)
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import came to; rows that could not be read are counted, the first of them told."""

    changes: ItemChanges
    rows: int
    bad_rows: int
    bad_row_examples: tuple[BadRow, ...]


def import_items(
    database: Database, name: str, source: ImportSource, *, asked: Asked, on_rows: OnRows = lambda _: None
) -> Imported:
    """Stores the items of a file in a list, each in place of the one with its key.

    Args:
        database: Where the list is.
        name: The list.
        source: The file.
        asked: Who imports it, and why.
        on_rows: Told how many rows are stored, after each transaction.

    Raises:
        InputError: There is no such list.
        ListError: The file cannot be read, or lacks the key. Nothing is stored.
        SettingError: Something would be taken away that may be in the file.
    """
    with database.read() as connection:
        record = find_list(connection, name)
    report = ReadReport()
    rows = sum(len(frame) for frame in _keyed(source, record, report))
    _check_replacing(source, rows)
    with database.write() as connection:
        number = log_change(connection, name, "import", who=asked.who, why=asked.why)
        begun: datetime = connection.execute(sa.select(utc_now())).scalar_one()
    changes, stored = ItemChanges(), 0
    for frame in _keyed(source, record, ReadReport()):
        changes += _store(database, name, frame, number=number)
        on_rows(stored := stored + len(frame))
    if source.replace:
        changes += _take_away(database, name, number=number, before=begun)
    return Imported(
        changes=changes, rows=rows, bad_rows=report.bad_rows, bad_row_examples=tuple(report.examples)
    )


def clear_list(database: Database, name: str, *, asked: Asked) -> ItemChanges:
    """Takes every item off a list. Raises InputError where there is no such list."""
    with database.write() as connection:
        find_list(connection, name)
        number = log_change(connection, name, "clear", who=asked.who, why=asked.why)
    return _take_away(database, name, number=number)


def delete_list(database: Database, name: str, *, asked: Asked) -> ItemChanges:
    """Deletes a list and its items; who did it stays. Raises InputError where there is no such list."""
    with database.write() as connection:
        find_list(connection, name)
        number = log_change(connection, name, "delete", who=asked.who, why=asked.why)
    changes = _take_away(database, name, number=number)
    with database.write() as connection:
        record = find_list(connection, name, lock=True)
        last = delete_list_row(connection, record)
        log_more(connection, number, last)
    return changes + last


def _keyed(source: ImportSource, record: ListRecord, report: ReadReport) -> Iterator[pd.DataFrame]:
    """Frames of the rows that have a key; one without is a row that cannot be read."""
    frames = read_frames(source.file, base=source.base, frame_rows=FRAME_ROWS, report=report)
    for frame in frames:
        columns = [str(column) for column in frame.columns]
        if columns and record.key not in columns:
            raise ListError(
                f"has no attribute {record.key!r}, by which the list {record.name!r} knows its items",
                where=source.file.file,
                expected=f"one of {', '.join(columns)}",
                nearest=nearest(record.key, columns),
            )
        yield _with_key(frame, record, source.file, report)


def _with_key(frame: pd.DataFrame, record: ListRecord, file: FileList, report: ReadReport) -> pd.DataFrame:
    if not len(frame):
        return frame
    fit = [
        bool(key and key.strip()) and len(str(key).encode()) <= MOST_KEY_BYTES for key in _keys(frame, record)
    ]
    for row in frame.index[[not each for each in fit]]:
        reason = f"item {int(row) + 1} has no {record.key!r}, or one of more than {MOST_KEY_BYTES:,} bytes"
        if file.on_bad_row == "error":
            raise RowError(reason, where=file.file)
        report.skip(BadRow(file=file.file, line=int(row) + 1, reason=reason))
    return frame if all(fit) else frame[fit]


def _keys(frame: pd.DataFrame, record: ListRecord) -> list[str | None]:
    return key_texts(frame[record.key])


def _check_replacing(source: ImportSource, rows: int) -> None:
    if not source.replace:
        return
    if source.file.on_bad_row == "skip":
        raise SettingError(
            "goes not with --on-bad-row skip: whoever is in a bad row would be taken off the list",
            where="--replace",
        )
    if not rows:
        raise SettingError(
            f"{source.file.file} has no items, and would clear the list",
            where="--replace",
            expected="`clarion list clear` where that is meant",
        )


def _store(database: Database, name: str, frame: pd.DataFrame, *, number: int) -> ItemChanges:
    """One transaction. Of rows with the same key the last one stays."""
    with database.write() as connection:
        record = find_list(connection, name, lock=True)
        keys = [str(key) for key in _keys(frame, record)] if len(frame) else []
        items = {key: orjson.dumps(item).decode() for key, item in zip(keys, frame_items(frame), strict=True)}
        changes = put_items(connection, record, items) + ItemChanges(updated=len(keys) - len(items))
        log_more(connection, number, changes)
    return changes


def _take_away(database: Database, name: str, *, number: int, before: datetime | None = None) -> ItemChanges:
    changes, more = ItemChanges(), True
    while more:
        with database.write() as connection:
            record = find_list(connection, name, lock=True)
            gone = delete_some(connection, record, before=before)
            log_more(connection, number, gone)
        changes += gone
        more = gone.deleted == DELETED_AT_ONCE
    return changes
