"""JSON and JSON lines: native values, streamed, with every mistake named."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.errors import ListError
from clarion.lists import ReadReport, frame_items, json_files, read_frames
from clarion.models.lists import FileList


def _frames(folder: Path, content: bytes | str, *, file: str, **options: Any) -> list[pd.DataFrame]:
    frame_rows = options.pop("frame_rows", 10_000)
    report = options.pop("report", None)
    (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
    source = FileList.model_validate({"file": file, **options})
    return list(read_frames(source, base=folder, frame_rows=frame_rows, report=report))


def _items(folder: Path, content: bytes | str, *, file: str, **options: Any) -> list[dict[str, object]]:
    return [item for frame in _frames(folder, content, file=file, **options) for item in frame_items(frame)]


def _error(folder: Path, content: bytes | str, *, file: str, **options: Any) -> str:
    with pytest.raises(ListError) as caught:
        _frames(folder, content, file=file, **options)
    return str(caught.value)


@pytest.mark.parametrize("file", ["list.json", "list.jsonl", "list.ndjson"])
def test_json_values_stay_what_they_are(tmp_path: Path, file: str):
    """Integers stay integers beside missing ones, big ones exact; nested values stay; null is missing."""
    items = [
        {"n": 7, "big": 12345678901234567890123, "flag": True, "text": "0049", "empty": ""},
        {"n": None, "nested": {"a": [1, {"b": None}]}},
        {"n": 1.5},
    ]
    content = json.dumps(items) if file.endswith(".json") else "\n".join(map(json.dumps, items))
    (frame,) = _frames(tmp_path, content, file=file)
    assert frame.columns.tolist() == ["n", "big", "flag", "text", "empty", "nested"]
    assert set(frame.dtypes) == {frame["n"].dtype} == {pd.Series([], dtype=object).dtype}
    assert frame["n"].tolist() == [7, None, 1.5]
    assert [type(value) for value in frame["n"]] == [int, type(None), float]
    assert frame["big"][0] == 12345678901234567890123
    assert frame["flag"][0] is True
    assert frame["empty"][0] == ""
    assert frame["nested"][1] == {"a": [1, {"b": None}]}


def test_json_integer_beyond_64_bits_is_stored_as_its_digits(tmp_path: Path):
    """The ledger's JSON has no such number, and a rounded id would be someone else's."""
    content = '[{"id": 12345678901234567890123, "deep": [-9223372036854775809], "max": 18446744073709551615}]'
    assert _items(tmp_path, content, file="list.json") == [
        {"id": "12345678901234567890123", "deep": ["-9223372036854775809"], "max": 18446744073709551615}
    ]


@pytest.mark.parametrize("file", ["list.json", "list.jsonl"])
def test_json_every_frame_has_all_attributes(tmp_path: Path, file: str):
    """An attribute that only the last item has is a column from the first frame on."""
    items = [{"a": 1}, {"a": 2}, {"b": 3}]
    content = json.dumps(items) if file == "list.json" else "\n".join(map(json.dumps, items))
    frames = _frames(tmp_path, content, file=file, frame_rows=1)
    assert [frame.columns.tolist() for frame in frames] == [["a", "b"]] * 3
    assert [position for frame in frames for position in frame.index] == [0, 1, 2]
    assert [item for frame in frames for item in frame_items(frame)] == items


def test_json_empty_array_is_one_empty_frame(tmp_path: Path):
    """An empty list can be written in JSON, and is one."""
    (frame,) = _frames(tmp_path, " [ ] ", file="list.json")
    assert frame.shape == (0, 0)
    assert isinstance(frame.index, pd.RangeIndex)


def test_json_item_without_attributes_is_an_item(tmp_path: Path):
    """Nothing is lost, not even what is empty."""
    assert _items(tmp_path, "[{}, {}]", file="list.json") == [{}, {}]


def test_jsonl_blank_lines_are_no_items(tmp_path: Path):
    """Blank lines, also with CRLF, stand between items for nothing."""
    assert _items(tmp_path, '{"a":1}\r\n\r\n  \n{"a":2}', file="list.jsonl") == [{"a": 1}, {"a": 2}]


BAD_VALUES = [
    ("[1]", "an array; expected an object"),
    ('"Ann"', "a text; expected an object"),
    ("7", "a number; expected an object"),
    ("null", "null; expected an object"),
    ('{"a": 1, "a": 2}', "a key stands twice"),
    ('{"a": {"b": 1, "b": 2}}', "a key stands twice"),
    ('{"a": NaN}', "NaN and Infinity are no JSON"),
    ('{"a": -Infinity}', "NaN and Infinity are no JSON"),
    ('{"a": 1e999}', "a number is too large"),
    ('{"a": "x\\u0000"}', "a NUL character"),
    ('{"\\u0000": 1}', "a NUL character"),
    ('{"a": ["\\ud800"]}', "half of a surrogate pair"),
    (b'{"a": "\xc3\xa9\xff"}', "bytes that do not belong to the encoding"),
]


@pytest.mark.parametrize(("value", "told"), BAD_VALUES)
@pytest.mark.parametrize("file", ["list.json", "list.jsonl"])
def test_json_bad_item_is_told_with_its_line_or_skipped(
    tmp_path: Path, file: str, value: str | bytes, told: str
):
    """A value that is JSON but no item is an error with its line; skipped, the others are read."""
    raw = value.encode() if isinstance(value, str) else value
    lines = [b'{"a": 1}', raw, b'{"a": 3}']
    content = b"[" + b",\n".join(lines) + b"]" if file == "list.json" else b"\n".join(lines)
    assert _error(tmp_path, content, file=file) == f"{file}:2: {told}"
    report = ReadReport()
    items = _items(tmp_path, content, file=file, on_bad_row="skip", report=report)
    assert items == [{"a": 1}, {"a": 3}]
    assert (report.rows, report.bad_rows, report.examples[0].line) == (2, 1, 2)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"a": 1', "not JSON: "),
        ('{"a": 1} {"a": 2}', "not JSON: more than one value on the line"),
        ("{'a': 1}", "not JSON: "),
        ('{"a": ' + "1" * 5000 + "}", "an integer is too long"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ],
)
def test_jsonl_broken_line_is_told_or_skipped(tmp_path: Path, line: str, told: str):
    """What is no JSON at all costs its own line."""
    content = f'{{"a": 1}}\n\n{line}\n{{"a": 4}}\n'
    assert _error(tmp_path, content, file="list.jsonl").startswith(f"list.jsonl:3: {told}")
    assert _items(tmp_path, content, file="list.jsonl", on_bad_row="skip") == [{"a": 1}, {"a": 4}]


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ('{"items": []}', 1, "the list is no array of objects"),
        ("  \n\n", 3, "the list is no array of objects"),
        ('[{"a": 1}\n{"a": 2}]', 2, "not JSON: a comma or the array's end is missing"),
        ('[{"a": 1},\n{"a": 2}', 2, "not JSON: a comma or the array's end is missing"),
        ('[{"a": 1},\n]', 2, "not JSON: Expecting value"),
        ('[{"a": 1},\n\n{"a":\n ?}]', 4, "not JSON: Expecting value"),
        ('[{"a": 1}]\n x', 2, "not JSON: text after the array"),
        ('[{"a": "never closed}]\n', 1, "not JSON: "),
    ],
)
def test_json_broken_array_is_an_error_even_when_rows_are_skipped(
    tmp_path: Path, content: str, line: int, told: str
):
    """Where the text is no JSON there is no telling where the next item starts."""
    message = _error(tmp_path, content, file="list.json", on_bad_row="skip")
    assert message.startswith(f"list.json:{line}: {told}")
    assert message.endswith("expected a JSON array of objects")


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_json_number_is_not_cut_in_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int):
    """A number at the end of what has been read may go on; it is one bad row, not a broken array."""
    monkeypatch.setattr(json_files, "_CHUNK", chunk)
    content = '[12345, -6.75e2, {"a": 1}]'
    assert _items(tmp_path, content, file="list.json", on_bad_row="skip") == [{"a": 1}]


@pytest.mark.parametrize("file", ["list.json", "list.jsonl"])
def test_json_item_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str):
    """A missing quote does not draw the whole file into memory."""
    monkeypatch.setattr(json_files, "LONGEST_ITEM", 1000)
    monkeypatch.setattr(json_files, "_CHUNK", 300)
    content = '[{"a": "' + "x" * 5000 if file == "list.json" else '{"a": "' + "x" * 5000
    assert "1,000 characters" in _error(tmp_path, content, file=file)


@pytest.mark.parametrize("file", ["list.json", "list.jsonl"])
def test_json_empty_file_is_refused(tmp_path: Path, file: str):
    """A file of no bytes is more likely an export that failed than a list of nobody."""
    assert _error(tmp_path, b"", file=file) == f"{file}: the file is empty"


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_byte_order_mark_tells_the_encoding(tmp_path: Path, codec: str):
    """Other tools' exports start with a mark."""
    assert _items(tmp_path, '[{"a": "é😀"}]'.encode(codec), file="list.json") == [{"a": "é😀"}]


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc\n", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    items=st.lists(st.dictionaries(st.text("abé", max_size=2), _VALUES, max_size=3), min_size=1, max_size=8),
    chunk=st.integers(1, 40),
    frame_rows=st.integers(1, 4),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 2),
)
def test_json_items_come_back_identical(
    tmp_path_factory: pytest.TempPathFactory,
    items: list[dict[str, object]],
    chunk: int,
    frame_rows: int,
    *,
    ascii_only: bool,
    indent: int | None,
):
    """Whatever is written is read back, wherever the stream is cut and however the frames fall."""
    folder = tmp_path_factory.getbasetemp()
    expected = [{name: value for name, value in item.items() if value is not None} for item in items]
    array = json.dumps(items, ensure_ascii=ascii_only, indent=indent)
    lines = "\n".join(json.dumps(item, ensure_ascii=ascii_only) for item in items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_CHUNK", chunk)
        assert _items(folder, array, file="list.json", frame_rows=frame_rows) == expected
    assert _items(folder, lines, file="list.jsonl", frame_rows=frame_rows) == expected
