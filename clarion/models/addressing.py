"""Whom a message goes to and what it says, as segments, fallback steps and handlers write it."""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from clarion.models.base import Model, SourceFloat, SourceInt, Text


def short_form(key: str) -> Callable[[Any], Any]:
    """Reads a bare text as the mapping that has it under `key`."""

    def read(value: Any) -> Any:
        written = value.text if isinstance(value, SourceInt | SourceFloat) else value
        if isinstance(written, dict | Model):
            return written
        if not isinstance(written, str):
            raise ValueError("must be text or a mapping")  # noqa: TRY004  # Pydantic knows ValueError
        return {key: written}

    return read


class Recipient(Model):
    """How the recipient of an item is made, and what it must be."""

    value: Text = Field(min_length=1, description="Template of the recipient.")
    type: Literal["text", "phone", "email"] = Field(
        default="text", description="Normalisation: phone to E.164, email trimmed, text as rendered."
    )
    region: Text | None = Field(
        default=None, description="Template of the country (name or ISO code) of local phone numbers."
    )

    @model_validator(mode="after")
    def _region_of_phones(self) -> Self:
        if self.region is not None and self.type != "phone":
            raise ValueError("region goes with type phone")
        return self


class TemplateText(Model):
    """A message text, written in place or kept in a file of its own."""

    text: Text | None = Field(default=None, description="The text, a template.")
    file: Text | None = Field(
        default=None, min_length=1, description="File that holds the text, relative to the job file."
    )

    @model_validator(mode="after")
    def _some_text(self) -> Self:
        if self.text is None and self.file is None:
            raise ValueError("needs a text or a file")
        return self

    def is_html(self, name: str) -> bool:
        """Whether what is filled in is escaped: the text is named html, or its file is one."""
        return name == "html" or (self.file or "").lower().endswith((".html", ".htm"))
