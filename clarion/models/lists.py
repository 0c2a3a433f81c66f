"""A list as a person writes it down: a file with how to read it, or the items themselves."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from clarion.models.base import Model, Name, SpelledJson, Text

ListFormat = Literal["csv", "parquet", "json", "jsonl", "xlsx"]

FORMAT_BY_EXTENSION: dict[str, ListFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
COMPRESSION_EXTENSIONS = (".gz", ".bz2", ".xz", ".zst")

_FORMATS_OF_OPTION = {
    "delimiter": ("csv",),
    "encoding": ("csv", "json", "jsonl"),
    "sheet": ("xlsx",),
}


def extensions(file: str) -> tuple[str, str]:
    """The extension that tells the format, and the one that tells the compression (or ""), in lower case.

    Args:
        file: A path or a URL; of a chain (`zip://a.csv::s3://...`) the first part that names a file counts.
    """
    part = next((part for part in file.split("::") if "://" in part), file)
    name = PurePosixPath(re.split(r"[?#]", part, maxsplit=1)[0] if "://" in part else part)
    last = name.suffix.lower()
    if last in COMPRESSION_EXTENSIONS:
        return name.with_suffix("").suffix.lower(), last
    return last, ""


def _as_delimiter(value: Any) -> Any:
    return {"\\t": "\t", "tab": "\t"}.get(value, value) if isinstance(value, str) else value


class FileList(Model):
    """A list kept in a file."""

    file: Text = Field(
        min_length=1,
        description="Path from the job file's folder, or a URL such as s3://bucket/customers.csv.",
    )
    key: Text | None = Field(default=None, min_length=1, description="Attribute that identifies an item.")
    recipient: Text | None = Field(
        default=None, min_length=1, description="Template of the recipient, to exclude by recipient."
    )
    format: ListFormat | None = Field(
        default=None, description="Format of the file; null tells it from the extension."
    )
    delimiter: Annotated[Text, BeforeValidator(_as_delimiter)] | None = Field(
        default=None,
        pattern=r'^[^"\r\n\x00]$',
        description="Character between the cells of a CSV file, or tab; null detects it.",
    )
    encoding: Text | None = Field(
        default=None,
        min_length=1,
        description="Encoding of a text file, such as windows-1252; null detects it.",
    )
    on_bad_row: Literal["error", "skip"] = Field(
        default="error",
        description="Whether a row that cannot be read stops the run, or is skipped and counted.",
    )
    sheet: Text | None = Field(
        default=None,
        min_length=1,
        description="Sheet of a workbook; null takes the first that is not hidden.",
    )

    @property
    def known_format(self) -> ListFormat | None:
        """The format as given or as the extension tells it; None where neither does."""
        return self.format or FORMAT_BY_EXTENSION.get(extensions(self.file)[0])

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        known = self.known_format
        for option, formats in _FORMATS_OF_OPTION.items():
            if known and getattr(self, option) is not None and known not in formats:
                raise ValueError(f"{option} goes with {' and '.join(formats)}, not with {known}")
        return self


class ItemsList(Model):
    """A list written out in the job itself."""

    items: list[dict[Text, SpelledJson]] = Field(description="The items, each a mapping of attributes.")
    key: Text | None = Field(default=None, min_length=1, description="Attribute that identifies an item.")
    recipient: Text | None = Field(
        default=None, min_length=1, description="Template of the recipient, to exclude by recipient."
    )


class ManagedList(Model):
    """A list that Clarion keeps in its database."""

    list: Name = Field(description="Name of a managed list, as `clarion list ls` shows it.")
    key: Text | None = Field(default=None, min_length=1, description="Attribute that identifies an item.")
    recipient: Text | None = Field(
        default=None, min_length=1, description="Template of the recipient, to exclude by recipient."
    )
