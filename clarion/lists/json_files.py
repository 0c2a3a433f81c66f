"""JSON arrays and JSON lines, read as a stream: one item in memory at a time.

The attributes of the first item are not those of the last, and a condition must know them all from the first
frame on, so a file is read twice: once for its attributes (and its mistakes), once for its items.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import pandas as pd

from clarion.errors import ListError
from clarion.lists.encodings import UNDECODABLE, UNDECODABLE_REASON
from clarion.lists.list_file import ListFile
from clarion.lists.report import ReadReport
from clarion.lists.tables import attributes_of, batches, value_frame
from clarion.lists.values import spoilt_text

LONGEST_ITEM = 16 * 1024 * 1024
"""Characters of one item: without a bound, one missing quote would draw the whole file into memory."""

_CHUNK = 256 * 1024
_BLANKS = re.compile(r"[ \t\r\n]*")
_AFTER_ENTRY = frozenset(",] \t\r\n")
_LONGEST_TOKEN = 16
"""Characters; an error this close to the end of what was read may be a token cut in two."""


class _Found(NamedTuple):
    """A JSON value of the list: the line on which it starts, and why it is no item."""

    line: int
    value: Any
    problem: str | None


def read_json(file: ListFile) -> Iterator[pd.DataFrame]:
    """Frames of `object` columns from an array of objects.

    Raises:
        ListError: The file is no JSON array, or (unless they are skipped) one of its entries is no item.
    """
    return _frames(file, _array)


def read_jsonl(file: ListFile) -> Iterator[pd.DataFrame]:
    """Frames of `object` columns from a file with one object a line.

    Raises:
        ListError: The file or (unless they are skipped) one of its lines cannot be read.
    """
    return _frames(file, _lines)


Reader = Callable[[ListFile, str], Iterator[_Found]]


def _frames(file: ListFile, reader: Reader) -> Iterator[pd.DataFrame]:
    encoding = file.encoding()
    columns = attributes_of(_items(replace(file, report=ReadReport()), reader(file, encoding)))
    items = _items(file, reader(file, encoding))
    for start, batch in batches(items, size=file.frame_rows):
        yield value_frame(batch, columns=columns, start=start)


def _items(file: ListFile, found: Iterator[_Found]) -> Iterator[dict[str, Any]]:
    for line, value, problem in found:
        if problem is not None:
            file.bad_row(line, problem)
        elif not isinstance(value, dict):
            file.bad_row(line, _KINDS[type(value)], expected="an object")
        else:
            yield value


_KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "an array",
    type(None): "null",
}


class _Decoder:
    """JSON as the standard has it: no NaN, no infinity, no key twice.

    What is wrong with a value that is otherwise JSON is kept aside, because raising from inside would lose
    the place where the value ends.
    """

    def __init__(self) -> None:
        self._problem: str | None = None
        self._json = json.JSONDecoder(
            object_pairs_hook=self._mapping, parse_constant=self._constant, parse_float=self._number
        )

    def decode(self, text: str, start: int) -> tuple[Any, int, str | None]:
        """The value at `start`, where it ends, and why it is not good.

        Raises:
            ValueError: There is no JSON (JSONDecodeError), or an integer is too long.
            RecursionError: It is nested too deeply.
        """
        self._problem = None
        value, end = self._json.raw_decode(text, start)
        raw = text[start:end]
        if UNDECODABLE in raw:
            return value, end, UNDECODABLE_REASON
        if self._problem is None and "\\u" in raw:
            self._problem = spoilt_text(value)
        return value, end, self._problem

    def _mapping(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            self._problem = "a key stands twice"
        return mapping

    def _constant(self, _name: str) -> None:
        self._problem = "NaN and Infinity are no JSON"

    def _number(self, text: str) -> float:
        number = float(text)
        if math.isinf(number):
            self._problem = "a number is too large"
        return number


def _lines(file: ListFile, encoding: str) -> Iterator[_Found]:
    decoder = _Decoder()
    with file.open_text(encoding, newline="\n") as text:
        for number, line in enumerate(iter(lambda: text.readline(LONGEST_ITEM), ""), 1):
            if len(line) == LONGEST_ITEM:
                raise ListError(f"a line has {LONGEST_ITEM:,} characters or more", where=file.at(number))
            start = _after_blanks(line, 0)
            if start < len(line):
                yield _Found(number, *_decoded_line(decoder, line, start))


def _decoded_line(decoder: _Decoder, line: str, start: int) -> tuple[Any, str | None]:
    try:
        value, end, problem = decoder.decode(line, start)
    except (ValueError, RecursionError) as exc:
        return None, _told(exc)
    if _after_blanks(line, end) < len(line):
        return None, "not JSON: more than one value on the line"
    return value, problem


def _after_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def _told(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}"
    return "nested too deeply" if isinstance(error, RecursionError) else "an integer is too long"


def _array(file: ListFile, encoding: str) -> Iterator[_Found]:
    with file.open_text(encoding, newline="\n") as text:
        yield from _Array(file, text.read).entries()


class _Array:
    """A JSON array of any length, decoded entry by entry.

    Args:
        file: For messages.
        read: Yields that many characters, fewer only at the end.
    """

    def __init__(self, file: ListFile, read: Callable[[int], str]) -> None:
        self._file = file
        self._read = read
        self._text = ""
        self._position = 0
        self._line = 1
        self._ended = False
        self._decoder = _Decoder()

    def entries(self) -> Iterator[_Found]:
        """The entries in order.

        Raises:
            ListError: This is no JSON array. There is no telling where the next entry starts, so none is
                skipped.
        """
        self._expect("[", "the list is no array of objects")
        if self._peek() == "]":
            self._advance(self._position + 1)
        else:
            yield self._entry()
            while self._expect(",]", "not JSON: a comma or the array's end is missing") == ",":
                yield self._entry()
        if self._peek():
            self._fail("not JSON: text after the array")

    def _entry(self) -> _Found:
        self._peek()
        line = self._line
        value, end, problem = self._decode()
        self._advance(end)
        return _Found(line, value, problem)

    def _decode(self) -> tuple[Any, int, str | None]:
        while True:
            try:
                decoded = self._decoder.decode(self._text, self._position)
                if self._ended or not self._may_go_on(decoded[1]):
                    return decoded
            except json.JSONDecodeError as exc:
                if self._ended or not self._may_be_cut(exc):
                    self._fail(_told(exc), position=exc.pos)
            except (ValueError, RecursionError) as exc:
                self._fail(_told(exc))
            self._fill()

    def _may_go_on(self, end: int) -> bool:
        """Whether what stands after a value near the end of the text may belong to it: `6`, then `.5`."""
        return self._text[end : end + 1] not in _AFTER_ENTRY and end >= len(self._text) - _LONGEST_TOKEN

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _LONGEST_TOKEN

    def _fill(self) -> None:
        """Reads on: at least as much again as is at hand, so that a long item is not decoded too often."""
        rest = self._text[self._position :]
        if len(rest) > LONGEST_ITEM:
            self._fail(f"an item has more than {LONGEST_ITEM:,} characters, or a quote is never closed")
        chunk = self._read(max(_CHUNK, len(rest)))
        self._ended = not chunk
        self._text, self._position = rest + chunk, 0

    def _peek(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            self._advance(_after_blanks(self._text, self._position))
            if self._position < len(self._text) or self._ended:
                return self._text[self._position : self._position + 1]
            self._fill()

    def _expect(self, characters: str, problem: str) -> str:
        found = self._peek()
        if not found or found not in characters:
            self._fail(problem)
        self._advance(self._position + 1)
        return found

    def _advance(self, position: int) -> None:
        self._line += self._text.count("\n", self._position, position)
        self._position = position

    def _fail(self, problem: str, *, position: int | None = None) -> NoReturn:
        line = self._line + self._text.count("\n", self._position, position or self._position)
        raise ListError(problem, where=self._file.at(line), expected="a JSON array of objects")
