"""What all of Clarion's models share: strictness, and text that survives YAML."""

import math
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

Name = Annotated[Text, Field(min_length=1, max_length=255, pattern=r"^\S(.*\S)?$")]
"""A name of 1 to 255 characters without blanks at its ends."""


class Model(BaseModel):
    """A value that does not change: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=False)


def _as_json(value: Any) -> Any:
    """Plain JSON data of `value`, with numbers freed from their spelling.

    Raises:
        ValueError: A date, a set or another thing that JSON has no word for.
    """
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the keys of a mapping must be text")
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise ValueError("must be JSON: text, a number, true, false, null, a list or a mapping")


Json = Annotated[Any, AfterValidator(_as_json)]
"""Any JSON value; its texts may be templates."""


def _as_mapping(value: Any) -> Any:
    """`[{name, value}, ...]`, the Campaign API's other spelling of a mapping, as a mapping."""
    if not isinstance(value, list):
        return value
    pairs: dict[str, Any] = {}
    for index, entry in enumerate(value):
        if not isinstance(entry, dict) or set(entry) != {"name", "value"}:
            raise ValueError(f"entry {index} must be {{name: ..., value: ...}}")
        if entry["name"] in pairs:
            raise ValueError(f"entry {index} repeats the name {entry['name']!r}")
        pairs[entry["name"]] = entry["value"]
    return pairs


NamedTexts = Annotated[dict[str, Text], BeforeValidator(_as_mapping)]
"""Names to texts: a mapping, or a list of `{name, value}`."""

NamedValues = Annotated[dict[str, Json], BeforeValidator(_as_mapping)]
"""Names to JSON values: a mapping, or a list of `{name, value}`."""
