"""Which character separates the cells of a CSV text that does not say."""

import csv
import io

CANDIDATES = (",", ";", "\t", "|")
ROWS_LOOKED_AT = 200


def detect_delimiter(text: str) -> str:
    """The candidate that splits the header, and most rows into as many cells; the first of those that tie.

    A header that no candidate splits is one column: then it is the comma. The rows never outvote the header,
    so that rows with missing cells are found as such and not read as one wide cell.

    Args:
        text: The first lines of the file, whole lines.
    """
    return max(CANDIDATES, key=lambda candidate: _fit(text, candidate))


def _fit(text: str, delimiter: str) -> tuple[bool, float, int]:
    widths = _widths(text, delimiter)
    header, rows = (widths[0], widths[1:]) if widths else (0, [])
    if header <= 1:
        return False, 0, 0
    return True, rows.count(header) / len(rows) if rows else 1, header


def _widths(text: str, delimiter: str) -> list[int]:
    """How many cells each of the first rows has; a row that cannot be read is the last, with 0."""
    widths: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                widths.append(len(row))
            if len(widths) == ROWS_LOOKED_AT:
                break
    except csv.Error:
        widths.append(0)
    return widths
