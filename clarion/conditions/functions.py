"""The functions a condition may call: what each takes and yields, and how a call becomes a node of the tree.

docs/conditions.md has a row for each of them; a test holds the two together.
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from clarion.conditions.tree import Call, Contain, Literal, Node, Read, Today
from clarion.conditions.values import BLANKS, READERS, Kind, read_text

pc: Any = pyarrow.compute
"""Its functions are made when it is imported: no type checker sees them."""

LONGEST_PATTERN = 500
"""Characters of a regular expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of the language.

    Args:
        signature: How it is written, for messages.
        parameters: The kind each argument is read as. ANY takes every single value, LIST takes lists as well.
        build: The node for a call, from arguments of their kinds. ValueError: an argument that cannot work.
        least: How many arguments must be there; all of them by default.
        repeats: Whether the last parameter may be given any number of times.
        literal: Positions whose argument must be a literal text.
    """

    signature: str
    parameters: tuple[Kind, ...]
    build: Callable[[tuple[Node, ...]], Node]
    least: int | None = None
    repeats: bool = False
    literal: frozenset[int] = frozenset()


def _unless_missing(function: Callable[..., Any], *, otherwise: Any = None) -> Callable[..., Any]:
    def applied(*values: Any) -> Any:
        return otherwise if None in values else function(*values)

    return applied


def _call(name: str, kind: Kind, function: Callable[..., Any]) -> Callable[[tuple[Node, ...]], Node]:
    """A builder for a function of its arguments' values; missing where one of them is (a test: false)."""
    applied = _unless_missing(function, otherwise=False if kind is Kind.TRUTH else None)
    return lambda arguments: Call(name, kind, arguments, applied)


def _read(kind: Kind, *, of: frozenset[Kind]) -> Callable[[tuple[Node, ...]], Node]:
    """A builder that reads its argument as a kind; a literal is read at once."""

    def build(arguments: tuple[Node, ...]) -> Node:
        (argument,) = arguments
        if argument.kind not in {Kind.ANY, kind} | of:
            raise ValueError(f"{argument.kind.value} cannot be read as {kind.value}")
        if not isinstance(argument, Literal):
            return argument if argument.kind is kind else Read(kind, argument)
        value = READERS[kind](argument.value)
        if value is None:
            raise ValueError(f"{argument.value!r} is not {kind.value}")
        return Literal(kind, value)

    return build


def _date(arguments: tuple[Node, ...]) -> Node:
    if len(arguments) == 1:
        return _read(Kind.DATE, of=frozenset({Kind.TEXT}))(arguments)
    if arguments[0].kind not in {Kind.ANY, Kind.TEXT}:
        raise ValueError(f"a date's format is for text, not for {arguments[0].kind.value}")
    text = Read(Kind.TEXT, arguments[0]) if arguments[0].kind is Kind.ANY else arguments[0]
    return Call("date", Kind.DATE, (text,), _unless_missing(_date_reader(_written(arguments[1]))))


def _date_reader(layout: str) -> Callable[[str], dt.date | None]:
    """Reads dates in a layout of %d and %m (one digit or two) and %Y (four digits), each named once."""
    parts = {
        "%d": "(?P<day>[0-9]{1,2})",
        "%m": "(?P<month>[0-9]{1,2})",
        "%Y": "(?P<year>[0-9]{4})",
        "%%": "%",
    }
    pieces = re.split("(%.?)", layout)
    unknown = [piece for piece in pieces[1::2] if piece not in parts]
    if unknown or any(pieces.count(piece) != 1 for piece in ("%d", "%m", "%Y")):
        raise ValueError(
            f"{layout!r} is no format of a date: %d, %m and %Y must each be in it once, and no other %"
        )
    pattern = re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces), re.ASCII)

    def read(text: str) -> dt.date | None:
        found = pattern.fullmatch(text.strip(BLANKS))
        try:
            return dt.date(int(found["year"]), int(found["month"]), int(found["day"])) if found else None
        except ValueError:
            return None  # 30 February

    return read


def _matches(arguments: tuple[Node, ...]) -> Node:
    pattern = compile_pattern(_written(arguments[1]))

    def matched(text: str | None) -> bool:
        return (
            text is not None and pc.match_substring_regex(pa.scalar(text, pa.large_string()), pattern).as_py()
        )

    return Call(
        "matches", Kind.TRUTH, (arguments[0], Literal(Kind.TEXT, pattern)), lambda text, _: matched(text)
    )


def compile_pattern(pattern: str) -> str:
    r"""The pattern made to match a text from end to end. ValueError: RE2 does not take it.

    RE2, which comes with Arrow, matches in time linear in the text whatever the pattern is: no answer of a
    recipient can make a condition hang. The price is its syntax: no look-around, no back-references.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"the pattern has {len(pattern)} characters, the most is {LONGEST_PATTERN}")
    whole = rf"\A(?:{pattern})\z"
    try:
        for candidate in (pattern, whole):  # alone as well, so that `a)|(b` does not pass for two groups
            pc.match_substring_regex(pa.scalar("", pa.large_string()), candidate)
    except pa.ArrowInvalid as exc:
        reason = str(exc).removeprefix("Invalid regular expression: ")
        raise ValueError(f"the pattern {pattern!r} is no RE2 regular expression: {reason}") from exc
    return whole


def _split(arguments: tuple[Node, ...]) -> Node:
    separator = _written(arguments[1])
    if not separator:
        raise ValueError("the separator is empty")

    def split(text: str) -> list[str]:
        return [part.strip(BLANKS) for part in text.split(separator)]

    return Call("split", Kind.LIST, arguments[:1], _unless_missing(split))


def _written(node: Node) -> str:
    if not isinstance(node, Literal):
        raise TypeError(f"{node} stands where the grammar lets only literals through")
    return node.value


def _length(value: Any) -> int | None:
    if isinstance(value, list | tuple | Mapping):
        return len(value)
    text = read_text(value)
    return None if text is None else len(text)


def _days_until(arguments: tuple[Node, ...]) -> Node:
    return _call("days_until", Kind.NUMBER, lambda day, today: (day - today).days)((*arguments, Today()))


def _days_since(arguments: tuple[Node, ...]) -> Node:
    return _call("days_since", Kind.NUMBER, lambda day, today: (today - day).days)((*arguments, Today()))


def _coalesce(arguments: tuple[Node, ...]) -> Node:
    kinds = {argument.kind for argument in arguments}
    kind = kinds.pop() if len(kinds) == 1 else Kind.ANY

    def first_present(*values: Any) -> Any:
        return next((value for value in values if value is not None), None)

    return Call("coalesce", kind, arguments, first_present)


def _contains(arguments: tuple[Node, ...]) -> Node:
    return Contain(arguments[1], arguments[0], negated=False)


_TEXT_OF = frozenset({Kind.NUMBER, Kind.TRUTH, Kind.DATE})
_ANY, _TEXT, _NUMBER, _DATE, _LIST = Kind.ANY, Kind.TEXT, Kind.NUMBER, Kind.DATE, Kind.LIST
_SECOND = frozenset({1})

FUNCTIONS: Mapping[str, Function] = {
    "lower": Function(signature="lower(text)", parameters=(_TEXT,), build=_call("lower", _TEXT, str.lower)),
    "upper": Function(signature="upper(text)", parameters=(_TEXT,), build=_call("upper", _TEXT, str.upper)),
    "strip": Function(
        signature="strip(text)",
        parameters=(_TEXT,),
        build=_call("strip", _TEXT, lambda text: text.strip(BLANKS)),
    ),
    "split": Function(signature='split(text, ",")', parameters=(_TEXT, _TEXT), build=_split, literal=_SECOND),
    "contains": Function(
        signature="contains(text or list, part)", parameters=(_LIST, _TEXT), build=_contains
    ),
    "startswith": Function(
        signature="startswith(text, start)",
        parameters=(_TEXT, _TEXT),
        build=_call("startswith", Kind.TRUTH, str.startswith),
    ),
    "endswith": Function(
        signature="endswith(text, end)",
        parameters=(_TEXT, _TEXT),
        build=_call("endswith", Kind.TRUTH, str.endswith),
    ),
    "matches": Function(
        signature='matches(text, r"pattern")', parameters=(_TEXT, _TEXT), build=_matches, literal=_SECOND
    ),
    "length": Function(
        signature="length(text or list)", parameters=(_LIST,), build=_call("length", _NUMBER, _length)
    ),
    "text": Function(signature="text(value)", parameters=(_ANY,), build=_read(_TEXT, of=_TEXT_OF)),
    "number": Function(
        signature="number(value)", parameters=(_ANY,), build=_read(_NUMBER, of=frozenset({_TEXT}))
    ),
    "date": Function(
        signature='date(value) or date(value, "%d/%m/%Y")',
        parameters=(_ANY, _TEXT),
        build=_date,
        least=1,
        literal=_SECOND,
    ),
    "today": Function(signature="today()", parameters=(), build=lambda _: Today()),
    "days_until": Function(signature="days_until(date)", parameters=(_DATE,), build=_days_until),
    "days_since": Function(signature="days_since(date)", parameters=(_DATE,), build=_days_since),
    "isnull": Function(
        signature="isnull(value)",
        parameters=(_ANY,),
        build=lambda arguments: Call("isnull", Kind.TRUTH, arguments, lambda value: value is None),
    ),
    "notnull": Function(
        signature="notnull(value)",
        parameters=(_ANY,),
        build=lambda arguments: Call("notnull", Kind.TRUTH, arguments, lambda value: value is not None),
    ),
    "coalesce": Function(
        signature="coalesce(value, value, ...)", parameters=(_ANY, _ANY), build=_coalesce, repeats=True
    ),
    "abs": Function(signature="abs(number)", parameters=(_NUMBER,), build=_call("abs", _NUMBER, abs)),
    "round": Function(signature="round(number)", parameters=(_NUMBER,), build=_call("round", _NUMBER, round)),
    "min": Function(
        signature="min(number, number, ...)",
        parameters=(_NUMBER, _NUMBER),
        build=_call("min", _NUMBER, min),
        repeats=True,
    ),
    "max": Function(
        signature="max(number, number, ...)",
        parameters=(_NUMBER, _NUMBER),
        build=_call("max", _NUMBER, max),
        repeats=True,
    ),
}
"""Every function by its name."""
