"""Parquet files and Excel workbooks: typed cells, as an item has them."""

import datetime as dt
import uuid
import zipfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clarion.errors import ListError
from clarion.lists import ReadReport, frame_items, read_frames
from clarion.models.lists import FileList


def _frames(
    folder: Path, file: str, *, report: ReadReport | None = None, **options: Any
) -> list[pd.DataFrame]:
    frame_rows = options.pop("frame_rows", 10_000)
    source = FileList.model_validate({"file": file, **options})
    return list(read_frames(source, base=folder, frame_rows=frame_rows, report=report))


def _error(folder: Path, file: str, **options: Any) -> str:
    with pytest.raises(ListError) as caught:
        _frames(folder, file, **options)
    return str(caught.value)


def _workbook(folder: Path, rows: Sequence[Sequence[object]], *, title: str = "People") -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = title
    for row in rows:
        sheet.append(row)
    book.save(folder / "list.xlsx")


def test_parquet_types_become_an_items_values(tmp_path: Path):
    """Text is `str`, integers stay integers beside missing ones, and what JSON lacks becomes exact text."""
    moment = dt.datetime(2026, 3, 1, 9, 30, tzinfo=dt.UTC)
    some_id = uuid.uuid4()
    table = pa.table(
        {
            "text": pa.array(["0049", "", None]),
            "kind": pa.array(["a", "b", None]).dictionary_encode(),
            "whole": pa.array([7, None, 2**63 - 1], pa.int64()),
            "number": pa.array([1.5, float("nan"), float("inf")]),
            "flag": pa.array([True, None, False]),
            "price": pa.array([Decimal("12.50"), None, Decimal("-0.01")], pa.decimal128(9, 2)),
            "day": pa.array([dt.date(2026, 3, 1), None, None]),
            "moment": pa.array([moment, None, None], pa.timestamp("us", "UTC")),
            "nanos": pa.array([1, None, None], pa.timestamp("ns")),
            "bytes": pa.array([b"J\xc3\xb6rg", None, None]),
            "id": pa.array([some_id.bytes, None, None], pa.uuid()),
            "nested": pa.array([{"a": [1, None]}, None, None]),
            "nothing": pa.nulls(3),
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    (frame,) = _frames(tmp_path, "list.parquet")
    assert [str(frame[name].dtype) for name in ("text", "kind", "whole")] == ["str", "str", "object"]
    assert frame["whole"].tolist() == [7, None, 2**63 - 1]
    items = frame_items(frame)
    assert items == [
        {
            "text": "0049",
            "kind": "a",
            "whole": 7,
            "number": 1.5,
            "flag": True,
            "price": "12.50",
            "day": "2026-03-01",
            "moment": "2026-03-01T09:30:00+00:00",
            "nanos": "1970-01-01T00:00:00.000000001",
            "bytes": "Jörg",
            "id": str(some_id),
            "nested": {"a": [1, None]},
        },
        {"text": "", "kind": "b"},
        {"whole": 2**63 - 1, "flag": False, "price": "-0.01"},
    ]
    assert orjson.loads(orjson.dumps(items)) == items


def test_parquet_comes_in_frames(tmp_path: Path):
    """Row groups and frames may cut where they like."""
    pq.write_table(pa.table({"n": list(range(25))}), tmp_path / "list.parquet", row_group_size=10)
    frames = _frames(tmp_path, "list.parquet", frame_rows=4)
    assert max(map(len, frames)) == 4
    assert [value for frame in frames for value in frame["n"]] == list(range(25))
    assert [position for frame in frames for position in frame.index] == list(range(25))


def test_parquet_without_rows_is_one_empty_frame(tmp_path: Path):
    """The schema tells the attributes, and their dtypes."""
    pq.write_table(
        pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.int64())}), tmp_path / "l.parquet"
    )
    (frame,) = _frames(tmp_path, "l.parquet")
    assert frame.shape == (0, 2)
    assert [str(dtype) for dtype in frame.dtypes] == ["str", "object"]


def test_parquet_text_that_cannot_be_stored_is_a_bad_row(tmp_path: Path):
    """A NUL character is as bad here as in a CSV file."""
    pq.write_table(pa.table({"a": ["v", "w", "x", "y\0"], "b": [1, 2, 3, 4]}), tmp_path / "list.parquet")
    assert _error(tmp_path, "list.parquet", frame_rows=2) == "list.parquet:4: a NUL character"
    report = ReadReport()
    frames = _frames(tmp_path, "list.parquet", on_bad_row="skip", frame_rows=3, report=report)
    assert [item for frame in frames for item in frame_items(frame)] == [
        {"a": "v", "b": 1},
        {"a": "w", "b": 2},
        {"a": "x", "b": 3},
    ]
    assert [frame.index.tolist() for frame in frames] == [[0, 1, 2], []]
    assert report.bad_rows == 1


def test_parquet_that_is_no_list_is_refused(tmp_path: Path):
    """Damage, repeated columns and types without a form in JSON are told."""
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really PAR1")
    assert _error(tmp_path, "bad.parquet") == "bad.parquet: is no Parquet file, or a damaged one"
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    assert "two columns are named 'a'" in _error(tmp_path, "twice.parquet")
    pq.write_table(pa.table({"a": [b"\xff"]}), tmp_path / "bytes.parquet")
    assert "the column 'a' of type binary has no form in JSON" in _error(tmp_path, "bytes.parquet")


def test_workbook_cells_become_an_items_values(tmp_path: Path):
    """Whole numbers are integers, dates are ISO text, text stays text, an empty cell is missing."""
    _workbook(
        tmp_path,
        [
            ["id", "phone", "day", "moment", "time", "length", "score", "flag", "plan", "gone", 2024],
            [
                *(
                    7,
                    "0049",
                    dt.date(2026, 3, 1),
                    dt.datetime.fromisoformat("2026-03-01T09:30"),
                    dt.time(9, 30),
                ),
                *(dt.timedelta(hours=26, minutes=5), 7.5, True, "NA", "#N/A", None),
            ],
            [447700900123456],
        ],
    )
    (frame,) = _frames(tmp_path, "list.xlsx")
    assert frame.columns.tolist()[-1] == "2024"
    assert set(map(str, frame.dtypes)) == {"object"}
    items = frame_items(frame)
    assert items == [
        {
            "id": 7,
            "phone": "0049",
            "day": "2026-03-01",
            "moment": "2026-03-01T09:30:00",
            "time": "09:30:00",
            "length": "26:05:00",
            "score": 7.5,
            "flag": True,
            "plan": "NA",
        },
        {"id": 447700900123456},
    ]
    assert [type(item["id"]) for item in items] == [int, int]
    assert orjson.loads(orjson.dumps(items)) == items


def test_workbook_of_other_programs_is_read_whole(tmp_path: Path):
    """A whole number in scientific notation is an integer, and a wrong size of the sheet cuts nothing off."""
    _workbook(tmp_path, [["id", "name"], [447700900123, "Ann"]])
    with zipfile.ZipFile(tmp_path / "list.xlsx") as book, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as other:
        for name in book.namelist():
            content = book.read(name).replace(b"<v>447700900123</v>", b"<v>4.47700900123E11</v>")
            other.writestr(name, content.replace(b'ref="A1:B2"', b'ref="A1"'))
    (frame,) = _frames(tmp_path, "b.xlsx")
    (item,) = frame_items(frame)
    assert item == {"id": 447700900123, "name": "Ann"}
    assert type(item["id"]) is int


def test_workbook_blank_rows_are_no_items_but_count_as_rows(tmp_path: Path):
    """Gaps between rows, and before the header, are passed over; messages name the row that Excel shows."""
    _workbook(tmp_path, [[None], ["a", "b", None], [1, 2], [None, ""], [3, 4], [5, 6, 7]])
    assert _error(tmp_path, "list.xlsx") == "list.xlsx:6: a cell beyond the header; expected 2 columns"
    frames = _frames(tmp_path, "list.xlsx", on_bad_row="skip", frame_rows=1)
    assert [item for frame in frames for item in frame_items(frame)] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_workbook_excel_error_is_a_bad_row(tmp_path: Path):
    """`#REF!` is no text to send; `#N/A` is Excel's word for missing."""
    _workbook(tmp_path, [["a"], ["#REF!"], ["#DIV/0!"], ["x"]])
    assert _error(tmp_path, "list.xlsx") == "list.xlsx:2: a cell holds an Excel error"
    report = ReadReport()
    assert len(_frames(tmp_path, "list.xlsx", on_bad_row="skip", report=report)[0]) == 1
    assert report.bad_rows == 2


def test_workbook_impossible_date_is_a_bad_row(tmp_path: Path):
    """A number that is formatted as a date beyond all dates is not lost in silence."""
    book = openpyxl.Workbook()
    book.worksheets[0].append(["a"])
    book.worksheets[0].append([99_999_999_999])
    book.worksheets[0]["A2"].number_format = "yyyy-mm-dd"
    book.save(tmp_path / "list.xlsx")
    assert _error(tmp_path, "list.xlsx") == "list.xlsx:2: a cell holds an Excel error"


def test_workbook_header_follows_the_rules_of_headers(tmp_path: Path):
    """Repeated and blank names and addresses are refused; a sheet without anything too."""
    _workbook(tmp_path, [["a", "a"]])
    assert "two columns are named 'a'" in _error(tmp_path, "list.xlsx")
    _workbook(tmp_path, [["a", None, "b"]])
    assert "column 2 has no name" in _error(tmp_path, "list.xlsx")
    _workbook(tmp_path, [[447700900123, "Ann"]])
    assert "there is no header" in _error(tmp_path, "list.xlsx")
    _workbook(tmp_path, [])
    assert "the sheet is empty" in _error(tmp_path, "list.xlsx")


def test_workbook_sheet_is_chosen_by_name(tmp_path: Path):
    """The first visible sheet is read unless one is named; an unknown name tells the nearest."""
    book = openpyxl.Workbook()
    hidden, first, second = book.worksheets[0], book.create_sheet("First"), book.create_sheet("Second")
    hidden.title = "Hidden"
    hidden.sheet_state = "hidden"
    for sheet in (hidden, first, second):
        sheet.append(["name"])
        sheet.append([sheet.title])
    book.save(tmp_path / "list.xlsx")
    assert _frames(tmp_path, "list.xlsx")[0]["name"].tolist() == ["First"]
    assert _frames(tmp_path, "list.xlsx", sheet="Hidden")[0]["name"].tolist() == ["Hidden"]
    assert _error(tmp_path, "list.xlsx", sheet="Secnd").endswith("(did you mean 'Second'?)")


def test_workbook_longer_than_a_portion_is_read_whole(tmp_path: Path):
    """Rows are read in portions that nobody sees."""
    _workbook(tmp_path, [["n"], *[[n] for n in range(1200)], [None, "x"]])
    frames = _frames(tmp_path, "list.xlsx", frame_rows=700, on_bad_row="skip")
    assert [len(frame) for frame in frames] == [700, 500]
    assert [value for frame in frames for value in frame["n"]] == list(range(1200))
    assert _error(tmp_path, "list.xlsx").startswith("list.xlsx:1202:")


@pytest.mark.parametrize("content", [b"", b"id,name\n", b"PK\x03\x04 broken"])
def test_workbook_that_is_none_is_refused(tmp_path: Path, content: bytes):
    """A CSV file named .xlsx, or half a download, is told as such."""
    (tmp_path / "list.xlsx").write_bytes(content)
    assert _error(tmp_path, "list.xlsx").startswith("list.xlsx: is no Excel workbook")
