"""Importing a file into the suppression list.

As with a managed list the file is read twice: nobody is suppressed unless all of it can be read, and
campaigns go on while it is stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from clarion.errors import InputError, ListError, RecipientError, RowError, nearest
from clarion.ledger.database import Database
from clarion.ledger.suppressed_items import count_moves
from clarion.ledger.suppressions import NewSuppression, add_suppressions
from clarion.list_imports import Asked, OnRows
from clarion.lists import frame_items
from clarion.lists.keys import key_text
from clarion.lists.reading import read_frames
from clarion.lists.report import BadRow, ReadReport
from clarion.models.lists import FileList
from clarion.recipients import e164
from clarion.suppression import check_scope

FRAME_ROWS = 1_000
"""Rows of one transaction."""

ATTRIBUTES = ("address", "recipient", "phone", "email")
"""What an attribute that holds addresses is called, where nobody says: the first of these that is there."""


@dataclass(frozen=True, kw_only=True)
class SuppressionFile:
    """A file of addresses.

    `attribute` holds them; None takes the only one, or one of ATTRIBUTES. `scope` is what they are suppressed
    from; None takes each row's own `scope`, as an export has it, else everything. `region` is the country of
    numbers without a country code. `base` is the folder that the file's path starts from.
    """

    file: FileList
    base: Path
    attribute: str | None = None
    scope: str | None = None
    region: str | None = None


@dataclass(frozen=True, kw_only=True)
class SuppressionsImported:
    """What an import came to: `moved` items that waited to be sent are not sent any more."""

    rows: int
    added: int
    moved: int
    bad_rows: int
    bad_row_examples: tuple[BadRow, ...]


def without_country(recipient: str) -> bool:
    """Whether this is a number that nothing but its own country dials: no provider writes it like that."""
    return recipient[:1] == "0" and recipient[:2] != "00" and recipient.replace(" ", "").isdigit()


def in_region(recipient: str, region: str | None) -> str:
    """The recipient; a number without its country code with the one of a region, where that is given.

    Raises:
        InputError: It is no number of that country.
    """
    if region is None or "@" in recipient or recipient.startswith(("+", "00")):
        return recipient
    try:
        return e164(recipient, region=region)
    except RecipientError as exc:
        raise InputError(exc.message) from None


def import_suppressions(
    database: Database, source: SuppressionFile, *, asked: Asked, on_rows: OnRows = lambda _: None
) -> SuppressionsImported:
    """Suppresses everybody in a file.

    Args:
        database: The ledger.
        source: The file.
        asked: Who imports it, and why; a row's own `reason` goes before that.
        on_rows: Told how many rows are stored, after each transaction.

    Raises:
        ListError: The file cannot be read. Nobody is suppressed.
    """
    report = ReadReport()
    rows = sum(len(new) for new in _new(source, asked, report))
    stored = added = moved = 0
    for new in _new(source, asked, ReadReport()):
        with database.write() as connection:
            suppressed = add_suppressions(connection, new)
            count_moves(connection, suppressed.changes)
        added, moved = added + suppressed.added, moved + suppressed.moved
        on_rows(stored := stored + len(new))
    return SuppressionsImported(
        rows=rows,
        added=added,
        moved=moved,
        bad_rows=report.bad_rows,
        bad_row_examples=tuple(report.examples),
    )


def _new(source: SuppressionFile, asked: Asked, report: ReadReport) -> Iterator[list[NewSuppression]]:
    frames = read_frames(source.file, base=source.base, frame_rows=FRAME_ROWS, report=report)
    for frame in frames:
        if len(frame.columns):
            yield list(_of_frame(frame, _attribute(source, frame), source, asked, report))


def _attribute(source: SuppressionFile, frame: pd.DataFrame) -> str:
    columns = [str(column) for column in frame.columns]
    wanted = [source.attribute] if source.attribute is not None else ATTRIBUTES
    found = next((name for name in wanted if name in columns), None)
    if found is None and source.attribute is None and len(columns) == 1:
        return columns[0]
    if found is None:
        what = "that holds addresses" if source.attribute is None else repr(source.attribute)
        raise ListError(
            f"has no attribute {what}",
            where=source.file.file,
            expected=f"--attribute, one of {', '.join(columns)}",
            nearest=nearest(source.attribute or "address", columns),
        )
    return found


def _of_frame(
    frame: pd.DataFrame, attribute: str, source: SuppressionFile, asked: Asked, report: ReadReport
) -> Iterator[NewSuppression]:
    for row, item in zip(frame.index, frame_items(frame), strict=True):
        try:
            yield _suppression(item, attribute, source, asked)
        except InputError as exc:
            reason = f"item {int(row) + 1}: {exc.problem}"
            if source.file.on_bad_row == "error":
                raise RowError(
                    f"{reason}; what cannot be read cannot be suppressed",
                    where=source.file.file,
                    expected=exc.expected,
                    nearest=exc.nearest,
                ) from None
            report.skip(BadRow(file=source.file.file, line=int(row) + 1, reason=reason))


def _suppression(
    item: dict[str, Any], attribute: str, source: SuppressionFile, asked: Asked
) -> NewSuppression:
    recipient = check_recipient(key_text(item.get(attribute)) or "")
    scope = source.scope
    if scope is None:
        scope = check_scope(str(item.get("scope") or ""))
    reason = str(item.get("reason") or "") if source.scope is None else ""
    return NewSuppression(
        recipient=in_region(recipient, source.region), scope=scope, reason=reason or asked.why, who=asked.who
    )


def check_recipient(text: str) -> str:
    """An address that can be stored.

    Raises:
        InputError: It is empty, too long, or holds what no address does.
    """
    recipient = text.strip()
    if not recipient:
        raise InputError("there is no address")
    if not recipient.isprintable() or len(recipient.encode(errors="replace")) > MOST_BYTES:
        raise InputError("the address holds a control character, or is too long")
    return recipient


MOST_BYTES = 1_000
"""As of a recipient: an index of PostgreSQL holds 2,700 bytes a row."""
