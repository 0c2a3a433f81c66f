"""CSV and TSV, read by Python's `csv` and turned into frames by pandas.

pandas' own parser is two to three times as fast (800,000 rows of 12 columns a second on the machine this was
measured on; this module with its checks: see docs/lists.md), but it fills short rows up without a word,
renames repeated headers, takes the first column for an index where rows are longer than the header, and
cannot name the line of a bad row after a quoted line break. `csv` in strict mode does none of that.

A block of lines in which nothing is wrong goes through `csv` at once, 1 us a row; only one with a bad row or
a blank line is read record by record, 3 us a row, to tell which it is.
"""

import csv
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import NamedTuple

import pandas as pd

from clarion.errors import ListError
from clarion.lists.delimiters import detect_delimiter
from clarion.lists.encodings import UNDECODABLE, UNDECODABLE_REASON
from clarion.lists.list_file import ListFile
from clarion.lists.tables import batches, check_header, text_frame
from clarion.models.lists import extensions

logger = logging.getLogger(__name__)

DETECT_CHARACTERS = 64 * 1024
"""What the delimiter is detected on."""

BLOCK_LINES = 1_000
"""Lines read at once while nothing is wrong."""


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
    if file.source.delimiter is None:
        _tell_guess(file.name, delimiter)
    with file.open_text(encoding, newline="") as text:
        lines = _Lines(text)
        columns = _header(file, records(lines, delimiter=delimiter))
        blocks = _blocks(file, text, delimiter=delimiter, width=len(columns), line=lines.next_line)
        for start, batch in batches(chain.from_iterable(blocks), size=file.frame_rows):
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


@cache
def _tell_guess(file: str, delimiter: str) -> None:
    """Says once a process what separates the cells, where that is no comma and nobody said so."""
    if delimiter != "," and not (delimiter == "\t" and extensions(file)[0] == ".tsv"):
        logger.info(
            "%s names no delimiter: its cells are separated by %s, a guess (`delimiter` names another)",
            file,
            {"\t": "tabs"}.get(delimiter, repr(delimiter)),
            extra={"file": file, "delimiter": delimiter},
        )


def _header(file: ListFile, found: Iterator[Record]) -> Sequence[str]:
    line, names, problem = next(found, (1, [], Problem("there is no header", "the names of the attributes")))
    if problem:
        raise ListError(problem.reason, where=file.at(line), expected=problem.expected)
    check_header(names, where=file.at(line))
    return names


def _blocks(
    file: ListFile, text: Iterator[str], *, delimiter: str, width: int, line: int
) -> Iterator[Iterable[list[str]]]:
    """The rows, block by block; each is read to its end before the next is asked for.

    Args:
        file: Counts the bad rows.
        text: Physical lines with their ends.
        delimiter: Character between the cells.
        width: How many cells a row has.
        line: The number of the first line.
    """
    while block := list(islice(text, BLOCK_LINES)):
        rows = _clean_rows(block, delimiter=delimiter, width=width)
        if rows is not None:
            line += len(block)
            yield rows
            continue
        lines = _Lines(chain(block, text), start=line)
        yield _rows(file, records(lines, delimiter=delimiter, until=line + len(block)), width=width)
        line = lines.next_line


def _clean_rows(block: list[str], *, delimiter: str, width: int) -> list[list[str]] | None:
    """The rows of a block of lines; None where one is bad or blank, or goes on beyond the block."""
    text = "".join(block)
    if "\0" in text or UNDECODABLE in text:
        return None
    try:
        rows = list(csv.reader(block, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows if set(map(len, rows)) == {width} else None


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

    def __init__(self, lines: Iterable[str], *, start: int = 1) -> None:
        self._lines = iter(lines)
        self._again: list[str] = []
        self._record: list[str] = []
        self.next_line = start
        self._in_doubt_before = start
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
        self.next_line += 1
        return line

    def begin(self) -> int:
        """Starts a record; returns the line it starts on."""
        self._record.clear()
        self.problem = None
        return self.next_line

    def resume_after(self, line: int) -> None:
        """Goes back to the line after `line`, the first of the record at hand."""
        self._in_doubt_before = max(self._in_doubt_before, self.next_line)
        self._again.extend(reversed(self._record[1:]))
        self.next_line = line + 1

    def past(self, line: int | None) -> bool:
        """Whether every line before `line` is read, and none is in doubt; never where it is None."""
        return line is not None and self.next_line >= max(line, self._in_doubt_before)

    def is_fragment(self, line: int) -> bool:
        """Whether the record at `line` is read again and has a quote too many: the rest of a broken cell."""
        return line < self._in_doubt_before and "".join(self._record).count('"') % 2 == 1


def records(source: _Lines, *, delimiter: str, until: int | None = None) -> Iterator[Record]:
    """The records of a CSV text; blank lines are none.

    Args:
        source: Physical lines with their ends.
        delimiter: Character between the cells.
        until: The line that ends it; a record that begins before is read to its own end.
    """
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while not source.past(until):
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
