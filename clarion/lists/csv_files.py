"""CSV and TSV, read by Python's `csv` and turned into frames by pandas.

pandas' own parser is two to three times as fast (800,000 rows of 12 columns a second on the machine this was
measured on; this module with its checks: see docs/lists.md), but it fills short rows up without a word,
renames repeated headers, takes the first column for an index where rows are longer than the header, and
cannot name the line of a bad row after a quoted line break. `csv` in strict mode does none of that, and
reading is not what limits a plan.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from clarion.errors import ListError
from clarion.lists.delimiters import detect_delimiter
from clarion.lists.encodings import UNDECODABLE, UNDECODABLE_REASON
from clarion.lists.list_file import ListFile
from clarion.lists.tables import batches, check_header, text_frame
from clarion.models.lists import extensions

DETECT_CHARACTERS = 64 * 1024
"""What the delimiter is detected on."""


class Problem(NamedTuple):
    """Why a record is no row."""

    reason: str
    expected: str | None = None


Record = tuple[int, list[str], Problem | None]
"""The physical line on which it starts, from 1; its cells; or why there are none."""


def read_csv(file: ListFile) -> Iterator[pd.DataFrame]:
    """Frames of text columns, one row per item.

    Raises:
        ListError: The file, its header or (unless they are skipped) one of its rows cannot be read.
    """
    encoding = file.encoding()
    delimiter = file.source.delimiter or _delimiter(file, encoding)
    with file.open_text(encoding, newline="") as text:
        found = records(text, delimiter=delimiter)
        columns = _header(file, found)
        rows = _rows(file, found, width=len(columns))
        for start, batch in batches(rows, size=file.frame_rows):
            yield text_frame(batch, columns=columns, start=start)


def _delimiter(file: ListFile, encoding: str) -> str:
    if extensions(file.source.file)[0] == ".tsv":
        return "\t"
    with file.open_text(encoding, newline="") as text:
        sample = text.read(DETECT_CHARACTERS)
    if len(sample) == DETECT_CHARACTERS:
        whole_lines = sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1]
        sample = whole_lines or sample
    return detect_delimiter(sample)


def _header(file: ListFile, found: Iterator[Record]) -> Sequence[str]:
    line, names, problem = next(found, (1, [], Problem("there is no header", "the names of the attributes")))
    if problem:
        raise ListError(problem.reason, where=file.at(line), expected=problem.expected)
    check_header(names, where=file.at(line))
    return names


def _rows(file: ListFile, found: Iterator[Record], *, width: int) -> Iterator[list[str]]:
    for line, cells, problem in found:
        if problem is None and len(cells) == width:
            yield cells
            continue
        reason, expected = problem or (_counted(len(cells)), str(width))
        file.bad_row(line, reason, expected=expected)


def _counted(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"


class _Lines:
    """Physical lines for `csv`, which remembers those of the record at hand.

    After a quoting error the record's lines but the first are read again: a quote that is never closed, or
    closed by the next cell's, would otherwise take good rows with it.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._again: list[str] = []
        self._record: list[str] = []
        self._next_line = 1
        self._in_doubt_before = 1
        self.problem: Problem | None = None

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._lines)
        if "\0" in line:
            self.problem = Problem("a NUL character")
        if UNDECODABLE in line:
            self.problem = Problem(UNDECODABLE_REASON, "UTF-8, or encoding to name another")
        self._record.append(line)
        self._next_line += 1
        return line

    def begin(self) -> int:
        """Starts a record; returns the line it starts on."""
        self._record.clear()
        self.problem = None
        return self._next_line

    def resume_after(self, line: int) -> None:
        """Goes back to the line after `line`, the first of the record at hand."""
        self._in_doubt_before = max(self._in_doubt_before, self._next_line)
        self._again.extend(reversed(self._record[1:]))
        self._next_line = line + 1

    def is_fragment(self, line: int) -> bool:
        """Whether the record at `line` is read again and has a quote too many: the rest of a broken cell."""
        return line < self._in_doubt_before and "".join(self._record).count('"') % 2 == 1


def records(lines: Iterable[str], *, delimiter: str) -> Iterator[Record]:
    """The records of a CSV text; blank lines are none.

    Args:
        lines: Physical lines with their ends.
        delimiter: Character between the cells.
    """
    source = _Lines(lines)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        line = source.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            source.resume_after(line)
            yield line, [], _quoting_problem(exc)
            continue
        if source.problem:
            yield line, [], source.problem
        elif source.is_fragment(line):
            yield line, [], Problem("a quote is left over from the bad row before")
        elif cells:
            yield line, cells, None


def _quoting_problem(error: csv.Error) -> Problem:
    text = str(error)
    if "unexpected end of data" in text:
        return Problem("a quote is opened and never closed")
    if "field larger than field limit" in text:
        limit = csv.field_size_limit()
        return Problem(f"a cell has more than {limit:,} characters, or a quote is never closed")
    return Problem("text follows a closing quote", "a delimiter, or the quote doubled")
