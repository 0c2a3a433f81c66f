"""CSV lists: what is read, and what is refused."""

import csv
import gzip
import io
from pathlib import Path
from typing import IO

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clarion.lists import ReadReport, frame_items, read_frames
from clarion.lists.list_file import ListFile
from clarion.models.lists import FileList
from tests.unit.csv_lists import csv_error, csv_frames, csv_table


def test_csv_cells_stay_text(tmp_path: Path):
    """Leading zeros, plus signs and words for nothing are text; only the empty cell is missing."""
    content = 'id,a,b\n0049123,NA,null\n+44,None,nan\n1.10,"",\n'
    assert csv_table(tmp_path, content) == [
        ["id", "a", "b"],
        ["0049123", "NA", "null"],
        ["+44", "None", "nan"],
        ["1.10", None, None],
    ]


def test_csv_columns_are_of_dtype_str(tmp_path: Path):
    """Every column is text to pandas, even where nothing but numbers or nothing at all stands."""
    (frame,) = csv_frames(tmp_path, "a,b\n1,\n2,\n")
    assert [str(dtype) for dtype in frame.dtypes] == ["str", "str"]


def test_csv_index_is_the_position_over_all_frames(tmp_path: Path):
    """The index counts on from frame to frame, and bad rows leave no gap."""
    frames = csv_frames(tmp_path, "a,b\n1,1\nbad\n2,2\n3,3\n", frame_rows=2, on_bad_row="skip")
    assert [frame.index.tolist() for frame in frames] == [[0, 1], [2]]
    assert all(isinstance(frame.index, pd.RangeIndex) for frame in frames)


def test_csv_with_a_header_alone_is_one_empty_frame(tmp_path: Path):
    """A list without items still tells its attributes."""
    (frame,) = csv_frames(tmp_path, "id,name\n")
    assert frame.columns.tolist() == ["id", "name"]
    assert len(frame) == 0
    assert frame_items(frame) == []


@pytest.mark.parametrize("content", ["", "\n\r\n\n", b"\xef\xbb\xbf"])
def test_csv_without_anything_is_refused(tmp_path: Path, content: str | bytes):
    """An empty file has no header, so nobody knows what it is a list of."""
    assert "list.csv" in csv_error(tmp_path, content)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("a,b,a", "two columns are named 'a'"),
        ("a,,b", "column 2 has no name"),
        ("a,  ,b", "column 2 has no name"),
        ("a,b,", "column 3 has no name"),
        ("ann@example.com,Ann", "there is no header"),
        ("Ann,+44 7700 900123", "there is no header"),
        ("0049123,Ann", "there is no header"),
        ("1,2.5,2026-01-31", "there is no header"),
    ],
)
def test_csv_header_that_is_none_is_refused(tmp_path: Path, header: str, told: str):
    """Repeated and blank names, addresses, and a row of numbers are no header; the cells are not quoted."""
    message = csv_error(tmp_path, f"{header}\nx,y,z\n")
    assert message.startswith(f"list.csv:1: {told}")
    assert "900123" not in message
    assert "ann@" not in message


@pytest.mark.parametrize(
    "header", ["customer,2023,2024", "name,2026-01-31", "name,20260131", "Phone 1,E-mail"]
)
def test_csv_header_with_some_numbers_passes(tmp_path: Path, header: str):
    """Years and days make names of columns as long as something else stands there too."""
    (frame,) = csv_frames(tmp_path, header + "\n")
    assert frame.columns.tolist() == header.split(",")


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("a,b\n1,2\n3\n", 3, "1 field; expected 2"),
        ("a,b\n1,2\n\n3,4,5\n", 4, "3 fields; expected 2"),
        ('a,b\n"1\n1",2\n3\n', 4, "1 field; expected 2"),
        ('a,b\r"1\r1",2\r"3\r3"\r', 4, "1 field; expected 2"),
        ('a,b\n1,2\n3,"4\n5,6\n', 3, "a quote is opened and never closed"),
        ('a,b\n1,"x"y\n', 2, "text follows a closing quote"),
        ("a,b\n1,2\n3,\x00\n", 3, "a NUL character"),
        (b"a,b\n1,\xc3\xa9\n3,\xff\n", 3, "bytes that do not belong to the encoding"),
    ],
)
def test_csv_bad_row_is_an_error_with_its_line(tmp_path: Path, content: str | bytes, line: int, told: str):
    """The message names file, physical line and reason."""
    assert csv_error(tmp_path, content).startswith(f"list.csv:{line}: {told}")


def test_csv_cell_beyond_the_limit_is_an_error_with_its_line(tmp_path: Path):
    """A quote that is never closed does not draw the file into memory before it is noticed."""
    content = 'a,b\n1,2\n3,"' + "x,y\n" * 100_000
    assert csv_error(tmp_path, content).startswith("list.csv:3: a cell has more than 131,072 characters")


def test_csv_bad_rows_are_skipped_and_counted(tmp_path: Path):
    """`on_bad_row: skip` keeps every good row and reports each bad one."""
    report = ReadReport()
    content = b'id,name\n1,Ann\n2\n3,Bob,x\n4,\x00\n5,\xff\n6,"Cy"z\n7,\xc3\xa9\n8,"never\n9,Dee\n'
    table = csv_table(tmp_path, content, on_bad_row="skip", report=report)
    assert table == [["id", "name"], ["1", "Ann"], ["7", "é"], ["9", "Dee"]]
    assert (report.rows, report.bad_rows) == (3, 6)
    assert [(row.file, row.line, row.reason) for row in report.examples] == [
        ("list.csv", 3, "1 field, expected 2"),
        ("list.csv", 4, "3 fields, expected 2"),
        ("list.csv", 5, "a NUL character"),
        (
            "list.csv",
            6,
            "bytes that do not belong to the encoding, expected UTF-8, or encoding to name another",
        ),
        ("list.csv", 7, "text follows a closing quote, expected a delimiter, or the quote doubled"),
        ("list.csv", 9, "a quote is opened and never closed"),
    ]


def test_csv_stray_quote_costs_one_row(tmp_path: Path):
    """A stray quote pairs with one further down; the rows between them are read all the same."""
    report = ReadReport()
    content = 'id,name\n1,"Ann\n2,Bob\n3,"Cy ""C"" X"\n4,"D\nE"\n5,F\n'
    table = csv_table(tmp_path, content, on_bad_row="skip", report=report)
    assert table[1:] == [["2", "Bob"], ["3", 'Cy "C" X'], ["4", "D\nE"], ["5", "F"]]
    assert [row.line for row in report.examples] == [2]


def test_csv_rest_of_a_broken_cell_is_no_row(tmp_path: Path):
    """What follows the line break of a broken cell is not taken for an item of its own."""
    report = ReadReport()
    content = 'id,name\n1,"Ann\n2,Smith"x\n3,Bob\n'
    assert csv_table(tmp_path, content, on_bad_row="skip", report=report)[1:] == [["3", "Bob"]]
    assert [row.line for row in report.examples] == [2, 3]


def test_csv_examples_are_few_and_the_count_is_whole(tmp_path: Path):
    """A file of bad rows does not fill the memory with reasons."""
    report = ReadReport()
    csv_frames(tmp_path, "a,b\n" + "x\n" * 1000, on_bad_row="skip", report=report)
    assert (report.rows, report.bad_rows, len(report.examples)) == (0, 1000, 10)


def test_csv_bad_header_is_an_error_even_when_rows_are_skipped(tmp_path: Path):
    """Without a header there is nothing to go on with."""
    assert csv_error(tmp_path, 'a,"b\n1,2\n', on_bad_row="skip").startswith("list.csv:1:")


def test_csv_last_line_without_its_end_is_read(tmp_path: Path):
    """The last row needs no line break."""
    assert csv_table(tmp_path, "a,b\n1,2")[1:] == [["1", "2"]]


def test_csv_frame_rows_must_be_positive(tmp_path: Path):
    """A frame of no rows would lose the list."""
    with pytest.raises(ValueError, match="at least 1"):
        csv_frames(tmp_path, "a\n1\n", frame_rows=0)


def test_csv_leaving_early_closes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A reader who stops after the first frame leaves nothing open."""
    (tmp_path / "list.csv").write_text("a\n1\n2\n3\n")
    opened: list[IO[bytes]] = []
    really_open = ListFile._open

    def remember(file: ListFile) -> IO[bytes]:
        opened.append(really_open(file))
        return opened[-1]

    monkeypatch.setattr(ListFile, "_open", remember)
    frames = read_frames(FileList(file="list.csv"), base=tmp_path, frame_rows=1)
    assert len(next(frames)) == 1
    assert not opened[-1].closed
    del frames
    assert all(stream.closed for stream in opened)


ENCODINGS = {
    "utf-8": st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    "utf-8-sig": st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    "utf-16": st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    "utf-32": st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    "windows-1252": st.characters(codec="windows-1252", exclude_characters="\0"),
    "gb18030": st.characters(codec="gb18030", exclude_characters="\0"),
}
SPECIAL = st.sampled_from(
    ["", "NA", "nan", "null", "0049", '"', '""', ",", ";", "\n", "\r\n", "\r", " ", "\t|"]
)


@st.composite
def _written_tables(draw: st.DrawFn) -> tuple[list[list[str]], bytes, dict[str, str]]:
    """A table, the bytes that `csv.writer` makes of it, and the options to read them with."""
    codec = draw(st.sampled_from(sorted(ENCODINGS)))
    cell = SPECIAL | st.text(ENCODINGS[codec], max_size=8)
    width = draw(st.integers(1, 4))
    name = st.text(ENCODINGS[codec], max_size=6).map(lambda text: f"n{text}".replace("@", "n"))
    header = draw(st.lists(name, min_size=width, max_size=width, unique=True))
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=12))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|", "x"]))
    # Before Python 3.13 the writer leaves a lone CR unquoted where lines end with LF.
    breaks = any(mark in cell for row in [header, *rows] for cell in row for mark in "\r\n")
    quoting = csv.QUOTE_ALL if breaks or draw(st.booleans()) else csv.QUOTE_MINIMAL
    buffer = io.StringIO(newline="")
    writer = csv.writer(
        buffer,
        delimiter=delimiter,
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=quoting,
    )
    writer.writerows([header, *rows])
    options = {"delimiter": delimiter}
    if codec in {"windows-1252", "gb18030"} or draw(st.booleans()):
        options["encoding"] = codec
    return [header, *rows], buffer.getvalue().encode(codec), options


@settings(max_examples=300, deadline=None)
@given(written=_written_tables(), frame_rows=st.integers(1, 5))
@example(written=([["a"], ["x\r\ny"], ["z"]], b'a\r\n"x\r\ny"\r\nz\r\n', {"delimiter": ","}), frame_rows=1)
def test_csv_tables_come_back_identical(
    tmp_path_factory: pytest.TempPathFactory,
    written: tuple[list[list[str]], bytes, dict[str, str]],
    frame_rows: int,
):
    """Whatever `csv` writes is read back, an empty cell as missing, however the frames fall."""
    table, content, options = written
    folder = tmp_path_factory.getbasetemp()
    frames = csv_frames(folder, content, frame_rows=frame_rows, **options)
    header, rows = table[0], table[1:]
    assert all(frame.columns.tolist() == header for frame in frames)
    assert [item for frame in frames for item in frame_items(frame)] == [
        {name: cell for name, cell in zip(header, row, strict=True) if cell} for row in rows
    ]
    assert [position for frame in frames for position in frame.index] == list(range(len(rows)))


@settings(max_examples=150, deadline=None)
@given(
    cells=st.lists(st.lists(st.text('ab,;|\t"\n ', max_size=5), min_size=3, max_size=3), max_size=10),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
def test_csv_detected_delimiter_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]], delimiter: str
):
    """Under a header of plain words no content of the rows leads the detection astray."""
    header = ["first", "second", "third"]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows([header, *cells])
    table = csv_table(tmp_path_factory.getbasetemp(), buffer.getvalue())
    assert table == [header, *[[cell or None for cell in row] for row in cells]]


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60).map(lambda noise: b"a,b\n1,2\n" + noise))
@example(content=b'a,b\n1,2\n"\n"\n')
def test_csv_of_any_bytes_reads_or_names_the_line(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    """No bytes lead to anything but frames or a ListError."""
    folder = tmp_path_factory.getbasetemp()
    report = ReadReport()
    frames = csv_frames(folder, content, on_bad_row="skip", report=report)
    assert report.rows == sum(map(len, frames))
    if report.bad_rows:
        assert csv_error(folder, content).startswith("list.csv:")
    else:
        assert sum(map(len, csv_frames(folder, content))) == report.rows


def test_csv_frame_boundaries_change_nothing(tmp_path: Path):
    """Frames of any size hold the same rows, also where quoted line breaks lie on a boundary."""
    content = "id,note\n" + "".join(f'{n},"a\r\n\r\nb{n}"\n' for n in range(50))
    whole = csv_table(tmp_path, content)
    assert all(csv_table(tmp_path, content, frame_rows=rows) == whole for rows in (1, 2, 3, 7, 49, 50, 51))


def test_csv_longer_than_the_sample_is_read_whole(tmp_path: Path):
    """What is detected on the first part of the file holds for the rest, multi-byte characters included."""
    rows = 40_000
    content = "id;näme\n" + "".join(f"{n};Jörg 😀 {n}\n" for n in range(rows))
    frames = csv_frames(tmp_path, gzip.compress(content.encode(), 1), file="list.csv.gz")
    assert [len(frame) for frame in frames] == [10_000] * 4
    assert frames[-1].iloc[-1].tolist() == ["39999", "Jörg 😀 39999"]


def test_csv_legacy_byte_beyond_the_sample_is_told_with_its_line(tmp_path: Path):
    """A file that starts as ASCII and turns out not to be UTF-8 is not read wrongly."""
    content = b"id,name\n" + b"1,Ann\n" * 200_000 + "2,Zoë\n".encode("windows-1252")
    assert csv_error(tmp_path, content).startswith(
        "list.csv:200002: bytes that do not belong to the encoding"
    )
