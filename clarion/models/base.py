"""What all of Clarion's models share: strictness, and text that survives YAML."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


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
