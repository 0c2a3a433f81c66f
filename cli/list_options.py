"""How a list file is read, as options of the commands that import one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from clarion.errors import SettingError
from clarion.exports import ExportFormat
from clarion.models.lists import FileList

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="CSV, JSON, JSON lines, Parquet or Excel; a path or a URL.")
]


class FileFormat(StrEnum):
    """Format of a list file."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"
    JSONL = "jsonl"
    XLSX = "xlsx"


class OnBadRow(StrEnum):
    """What becomes of a row that cannot be read."""

    ERROR = "error"
    SKIP = "skip"


FormatOption = Annotated[
    FileFormat | None, typer.Option("--format", help="Its format, where the extension does not tell it.")
]
DelimiterOption = Annotated[
    str | None, typer.Option("--delimiter", help="Character between the cells of a CSV file, or tab.")
]
EncodingOption = Annotated[
    str | None, typer.Option("--encoding", help="Encoding of a text file, such as windows-1252.")
]
SheetOption = Annotated[str | None, typer.Option("--sheet", help="Sheet of a workbook.")]
BadRowOption = Annotated[
    OnBadRow,
    typer.Option("--on-bad-row", help="Whether a row that cannot be read stops everything, or is left out."),
]
ExportFormatOption = Annotated[
    ExportFormat | None, typer.Option("--format", help="Its format; CSV on standard output.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="File to write to; parquet needs one.")
]


def list_file(
    file: str,
    *,
    format: FileFormat | None,  # noqa: A002  # the option's name
    delimiter: str | None,
    encoding: str | None,
    sheet: str | None,
    on_bad_row: OnBadRow,
) -> FileList:
    """The file as a job would name it.

    Raises:
        SettingError: The options do not fit it.
    """
    try:
        return FileList(
            file=file,
            format=None if format is None else format.value,
            delimiter=delimiter,
            encoding=encoding,
            sheet=sheet,
            on_bad_row=on_bad_row.value,
        )
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        place = f"--{first['loc'][0]}" if first["loc"] and first["loc"][0] != "file" else "FILE"
        told = str(first["msg"]).removeprefix("Value error, ")
        raise SettingError(told[:1].lower() + told[1:], where=place) from None
