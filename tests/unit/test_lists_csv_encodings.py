"""CSV files in other delimiters and encodings, detected or given."""

from pathlib import Path

import pytest

from clarion.lists.encodings import _tell_guess
from tests.unit.csv_lists import csv_error, csv_table


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiter_is_detected(tmp_path: Path, delimiter: str):
    """The separator of the header and the rows is found, with others inside the cells."""
    content = delimiter.join(["id", "name"]) + "\n" + delimiter.join(["1", '"a,b;c\td|e"']) + "\n"
    assert csv_table(tmp_path, content) == [["id", "name"], ["1", "a,b;c\td|e"]]


def test_csv_delimiter_fits_header_and_rows(tmp_path: Path):
    """Where two characters split the header, the one that splits the rows alike wins."""
    content = "id;name, first\n1;Ann\n2;Bob\n"
    assert csv_table(tmp_path, content)[0] == ["id", "name, first"]


def test_csv_missing_cells_do_not_hide_the_delimiter(tmp_path: Path):
    """A row that is too short is found as such, not taken for a list of one column."""
    assert csv_error(tmp_path, "id,name\n1\n").startswith("list.csv:2: 1 field; expected 2")


def test_csv_of_one_column_is_read(tmp_path: Path):
    """A list may have one attribute; blank lines are no items."""
    assert csv_table(tmp_path, "phone\n0049\n\n0050\n") == [["phone"], ["0049"], ["0050"]]


@pytest.mark.parametrize("written", ["\t", "\\t", "tab"])
def test_csv_delimiter_may_be_given(tmp_path: Path, written: str):
    """A given delimiter is not second-guessed; the tab has a name."""
    assert csv_table(tmp_path, "a,b\tc\n1,2\t3\n", delimiter=written) == [["a,b", "c"], ["1,2", "3"]]


def test_tsv_is_separated_by_tabs(tmp_path: Path):
    """The extension tells the delimiter."""
    assert csv_table(tmp_path, "a,b\tc\n1,2\t3\n", file="list.tsv") == [["a,b", "c"], ["1,2", "3"]]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_csv_unicode_encoding_is_detected(tmp_path: Path, codec: str):
    """Byte order marks are understood and are no part of the first name."""
    content = "näme,x\nJörg 😀,1\n".encode(codec)
    assert csv_table(tmp_path, content) == [["näme", "x"], ["Jörg 😀", "1"]]


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("windows-1252", "name,city\nJosé Muñoz,Köln\nRenée,Zürich\nFrançois,Besançon\n"),
        ("windows-1252", "name,price\ncafé,5 €\n"),
        ("windows-1251", "имя,город\nИван Петров,Москва\nОльга,Казань\n"),  # noqa: RUF001  # Russian
        ("shift_jis", "名前,都市\n田中太郎,東京\n鈴木,大阪\n"),
    ],
)
def test_csv_legacy_encoding_is_guessed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, codec: str, text: str
):
    """Without a mark and not UTF-8, the likeliest encoding is taken; the log says so without any content."""
    _tell_guess.cache_clear()
    expected = [line.split(",") for line in text.splitlines()]
    for _ in range(2):  # a list is read when it is checked, and again when it is planned
        assert csv_table(tmp_path, text.encode(codec)) == expected
    (record,) = caplog.records
    assert "list.csv" in record.getMessage()
    assert str(vars(record)["encoding"]) in record.getMessage()
    assert expected[1][0] not in caplog.text


def test_csv_given_encoding_is_used(tmp_path: Path):
    """What the job says goes before any guess."""
    content = "name\nŁukasz\n".encode("windows-1250")
    assert csv_table(tmp_path, content, encoding="windows-1250") == [["name"], ["Łukasz"]]
    marked = "\ufeffname\nŁukasz\n".encode("utf-16-le")
    assert csv_table(tmp_path, marked, encoding="utf-16-le") == [["name"], ["Łukasz"]]


def test_csv_one_damaged_byte_does_not_change_the_encoding(tmp_path: Path):
    """A UTF-8 file with a broken character is UTF-8 with a bad row, not something else."""
    content = "name\nJörg\nZoë\n".encode() + b"\xe9\n"
    assert csv_table(tmp_path, content, on_bad_row="skip") == [["name"], ["Jörg"], ["Zoë"]]


@pytest.mark.parametrize("encoding", ["utf-9", "rot13", "unicode_escape", "no such"])
def test_csv_unknown_encoding_is_refused(tmp_path: Path, encoding: str):
    """Also what Python calls a codec, but no text file is written in."""
    assert f"unknown encoding '{encoding}'" in csv_error(tmp_path, "a\n1\n", encoding=encoding)


def test_csv_unknown_encoding_names_the_nearest(tmp_path: Path):
    """A slip of the finger is told."""
    assert "did you mean 'windows-1252'?" in csv_error(tmp_path, "a\n1\n", encoding="window-1252")
