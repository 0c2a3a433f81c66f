"""Exports: each format holds what it was given, whole or not at all."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clarion.errors import SettingError
from clarion.exports import ExportFormat, Pages, export, format_of

ROWS = [
    {"id": "7", "n": 1, "f": 1, "b": True, "mixed": 1, "text": 'a "b", c\n'},
    {"id": "8", "n": None, "f": 1.5, "b": False, "mixed": "x", "list": [1, {"a": None}], "more": 2**64 - 1},
]


def pages(*rows: Sequence[dict[str, Any]]) -> Pages:
    """These pages, as often as they are asked for."""
    return lambda: iter(rows)


def test_format_is_told_by_the_file_or_by_hand():
    """CSV where nothing tells it; an extension that is none is refused."""
    assert format_of(None, None) is ExportFormat.CSV
    assert format_of(Path("x.JSONL"), None) is ExportFormat.JSONL
    assert format_of(Path("x.txt"), ExportFormat.JSON) is ExportFormat.JSON
    with pytest.raises(SettingError, match="tells no format"):
        format_of(Path("x.jsn"), None)


def test_csv_has_every_attribute(tmp_path: Path):
    """Text as it is, anything else as JSON, what is missing as an empty cell."""
    file = tmp_path / "x.csv"
    assert export(pages(ROWS[:1], ROWS[1:]), format=ExportFormat.CSV, output=file) == 2
    header, first, second = csv.reader(io.StringIO(file.read_text(), newline=""))
    assert header == ["id", "n", "f", "b", "mixed", "text", "list", "more"]
    assert first == ["7", "1", "1", "true", "1", 'a "b", c\n', "", ""]
    assert second == ["8", "", "1.5", "false", "x", "", '[1,{"a":null}]', str(2**64 - 1)]


@pytest.mark.parametrize("format", [ExportFormat.JSON, ExportFormat.JSONL])
def test_json_is_what_it_was(tmp_path: Path, format: ExportFormat):  # noqa: A002
    """As an array or line by line."""
    file = tmp_path / "x"
    assert export(pages(ROWS[:1], ROWS[1:]), format=format, output=file) == 2
    text = file.read_text()
    read = (
        json.loads(text) if format is ExportFormat.JSON else [json.loads(line) for line in text.splitlines()]
    )
    assert read == ROWS


def test_parquet_keeps_types_where_there_is_one(tmp_path: Path):
    """Several types, lists and numbers beyond 64 bits are text."""
    file = tmp_path / "x.parquet"
    assert export(pages(ROWS[:1], ROWS[1:]), format=ExportFormat.PARQUET, output=file) == 2
    table = pq.read_table(file)
    assert {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)} == {
        "id": "string", "n": "int64", "f": "double", "b": "bool", "mixed": "string", "text": "string",
        "list": "string", "more": "string",
    }  # fmt: skip
    assert table.column("mixed").to_pylist() == ["1", "x"]
    assert table.column("list").to_pylist() == [None, '[1,{"a":null}]']
    assert table.column("more").to_pylist() == [None, str(2**64 - 1)]


@pytest.mark.parametrize(
    ("format", "text"),
    [(ExportFormat.CSV, "a,b\r\n"), (ExportFormat.JSON, "[]\n"), (ExportFormat.JSONL, "")],
)
def test_nothing_is_a_file_too(tmp_path: Path, format: ExportFormat, text: str):  # noqa: A002
    """With its header, where the columns are known."""
    file = tmp_path / "x"
    assert export(pages(), format=format, output=file, columns=("a", "b")) == 0
    assert file.read_bytes().decode() == text


def test_standard_output_takes_text(capsys: pytest.CaptureFixture[str]):
    """And no Parquet."""
    export(pages([{"a": 1}]), format=ExportFormat.CSV, output=None)
    assert capsys.readouterr().out == "a\r\n1\r\n"
    with pytest.raises(SettingError, match="Parquet is no text"):
        export(pages([]), format=ExportFormat.PARQUET, output=None)


@pytest.mark.parametrize("format", list(ExportFormat))
def test_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, format: ExportFormat):  # noqa: A002
    """And nothing beside it."""
    file = tmp_path / "x"
    file.write_text("old")

    def broken() -> Iterator[list[dict[str, Any]]]:
        yield [{"a": 1}]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        export(broken, format=format, output=file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_file_that_cannot_be_written_is_told(tmp_path: Path):
    """In a folder that is none, or in place of one."""
    for place in (tmp_path / "none" / "x.csv", tmp_path):
        with pytest.raises(SettingError, match="cannot write"):
            export(pages([{"a": 1}]), format=ExportFormat.CSV, output=place)
