"""What all of Clarion's models share: strictness, and text that survives YAML."""

import math
import unicodedata
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class SourceInt(int):
    """A whole number that remembers how the file spelled it (`0049`, `+4477`)."""

    text: str


class SourceFloat(float):
    """A number that remembers how the file spelled it (`1.10`)."""

    text: str


def _as_written(value: Any) -> Any:
    return value.text if isinstance(value, SourceInt | SourceFloat) else value


Text = Annotated[str, BeforeValidator(_as_written)]
"""Text; a number in a YAML file is read as it was written there."""


def _is_name(value: str) -> str:
    if value != value.strip() or any(unicodedata.category(char) == "Cc" for char in value):
        raise ValueError("must not begin or end with a blank, nor hold a control character")
    return value


Name = Annotated[Text, Field(min_length=1, max_length=255), AfterValidator(_is_name)]
"""A name of 1 to 255 characters without control characters, and without blanks at its ends."""


class Model(BaseModel):
    """A value that does not change: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=False)


MAX_DEPTH = 64
"""Levels of lists and mappings within one another."""


def _as_json(value: Any, *, spelled: bool = False, depth: int = 0) -> Any:
    """Plain JSON data of `value`.

    A whole number whose digits would change (`0049`, `+4477...`) is an id or a phone number: it becomes the
    text it was in the file. Other numbers (`1.10`) do so where they are `spelled`.

    Raises:
        ValueError: A date, a set or another thing that JSON has no word for.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the keys of a mapping must be text")
        return {
            _encodable(key): _as_json(each, spelled=spelled, depth=depth + 1) for key, each in value.items()
        }
    if isinstance(value, list):
        return [_as_json(each, spelled=spelled, depth=depth + 1) for each in value]
    if isinstance(value, str):
        return _encodable(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value, spelled=spelled)
    raise ValueError("must be JSON: text, a number, true, false, null, a list or a mapping")


def _number(value: float, *, spelled: bool) -> int | float | str:
    number = int(value) if isinstance(value, int) else float(value)
    text = value.text if isinstance(value, SourceInt | SourceFloat) else repr(number)
    kept = spelled or isinstance(number, int)
    if kept and text != repr(number):
        return text
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError("must be JSON, which has no infinite number and no NaN")
    return number


def _encodable(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half a character (a lone surrogate)") from None
    return text


Json = Annotated[Any, AfterValidator(_as_json)]
"""Any JSON value; its texts may be templates."""

SpelledJson = Annotated[Any, AfterValidator(partial(_as_json, spelled=True))]
"""A JSON value in which a number whose spelling says more than its size (`1.10`) is text."""


def _as_mapping(value: Any) -> Any:
    """`[{name, value}, ...]`, the Campaign API's other spelling of a mapping, as a mapping."""
    if not isinstance(value, list):
        return value
    pairs: dict[str, Any] = {}
    for index, entry in enumerate(value):
        if not isinstance(entry, dict) or set(entry) != {"name", "value"}:
            raise ValueError(f"entry {index} must be {{name: ..., value: ...}}")
        name = _as_written(entry["name"])
        if not isinstance(name, str):
            raise ValueError(f"the name of entry {index} must be text")  # noqa: TRY004  # Pydantic knows ValueError
        if name in pairs:
            raise ValueError(f"entry {index} repeats the name {name!r}")
        pairs[name] = entry["value"]
    return pairs


NamedTexts = Annotated[dict[str, Text], BeforeValidator(_as_mapping)]
"""Names to texts: a mapping, or a list of `{name, value}`."""

NamedValues = Annotated[dict[str, SpelledJson], BeforeValidator(_as_mapping)]
"""Names to JSON values: a mapping, or a list of `{name, value}`."""
