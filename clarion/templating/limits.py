"""What no template may exceed, whatever its item's values, and how values become text and JSON."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Undefined

from clarion.errors import RenderError

MAX_SIZE = 1 << 20
"""Characters in a result, and in everything on the way to it: 1 MiB of text."""

_VALUE_SIZE = 16
"""What a value within a list or a mapping counts for, beside its characters."""

MAX_STEPS = 10_000
"""Rounds of all loops of one render, and numbers in a `range`."""

MAX_DEPTH = 64
"""Levels of lists and mappings within one another."""

MAX_BITS = 4_096
"""Size of a whole number within an expression."""

JSON_INTEGERS = range(-(1 << 63), 1 << 64)
"""Whole numbers that a JSON reader may be expected to take."""


def bounded(value: Any) -> Any:
    """The value itself, if it is not too large.

    Values within a list are counted each time they occur: a list of the same list twice, and that twice
    again, is small in memory and endless in a message.
    """
    if isinstance(value, str):
        if len(value) > MAX_SIZE:
            raise _too_large()
    elif isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise RenderError("a number gets too large")
    elif isinstance(value, list | tuple | Mapping):
        _measure(value)
    return value


def _measure(value: Any) -> None:
    left, waiting = MAX_SIZE, [value]
    while waiting:
        value = waiting.pop()
        left -= _VALUE_SIZE + (len(value) if isinstance(value, str) else 0)
        if isinstance(value, list | tuple | Mapping):
            if len(value) * _VALUE_SIZE > left:
                raise _too_large()
            waiting.extend(value.values() if isinstance(value, Mapping) else value)
        if left < 0:
            raise _too_large()


def gathered(values: Iterable[Any]) -> list[Any]:
    """The values of a generator, as long as they are not too many or too large together."""
    return list(_gather(values))


def _gather(values: Iterable[Any]) -> Iterator[Any]:
    left = MAX_SIZE
    for value in values:
        left -= _VALUE_SIZE + (len(value) if isinstance(value, str) else 0)
        if left < 0:
            raise _too_large()
        yield value


def checked_text(pieces: Iterable[str]) -> str:
    """The pieces as one text that can be sent.

    Raises:
        RenderError: Too long, or with half of a surrogate pair in it, which no encoding can carry.
    """
    left, kept = MAX_SIZE, []
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise _too_large()
        kept.append(piece)
    return encodable("".join(kept))


def encodable(text: str) -> str:
    """The text as a plain `str`.

    Raises:
        RenderError: It holds half of a surrogate pair.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RenderError("the text holds half a character (a lone surrogate)") from None
    return text if type(text) is str else str.__str__(text)


def to_text(value: Any) -> str:
    """How a value stands within text: text and numbers as they are, everything else as JSON.

    Raises:
        RenderError: None, which would read "None", a number that is none, or something that is no JSON value.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise RenderError("none cannot stand within text; default('') gives an empty text")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, int):
        return str(bounded(value))
    return dumped(value)


def dumped(value: Any) -> str:
    """JSON without blanks, every character as it is.

    Raises:
        RenderError: The value is no JSON value.
    """
    return json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":"))


def to_json(value: Any) -> Any:
    """A copy of the value that holds plain JSON values only.

    Raises:
        RenderError: It holds something else, or is too large or too deep.
    """
    return _copy(bounded(value), 0)


def _copy(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise RenderError(f"a value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {_key(key): _copy(nested, depth + 1) for key, nested in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(nested, depth + 1) for nested in value]
    if isinstance(value, range | Iterator):
        return to_json(gathered(value))
    return _scalar(value)


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise RenderError("a mapping's names have to be text")
    return encodable(key)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value not in JSON_INTEGERS:
            raise RenderError("a number is too large for JSON")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RenderError("a number is infinite, or none at all")
        return float(value)
    if isinstance(value, Undefined):
        return str(value)
    raise RenderError(f"{type(value).__name__} is no JSON value")


def _too_large() -> RenderError:
    return RenderError(f"the result gets larger than {MAX_SIZE} characters")
