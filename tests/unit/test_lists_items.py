"""Items written in the job, and what frames become on their way to the ledger."""

import datetime as dt
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest

from clarion.errors import ListError
from clarion.lists import ReadReport, frame_items, read_frames
from clarion.models.base import SourceFloat, SourceInt
from clarion.models.lists import ItemsList

HERE = Path()


def _source(kind: type, text: str) -> object:
    number = kind(text)
    number.text = text
    return number


def test_inline_items_are_frames_of_values():
    """Inline items keep their values; positions, frames and attributes follow the rules of files."""
    source = ItemsList(items=[{"a": 7}, {"b": [1, {"c": None}]}, {"a": None}])
    report = ReadReport()
    frames = list(read_frames(source, base=HERE, frame_rows=2, report=report))
    assert [frame.columns.tolist() for frame in frames] == [["a", "b"]] * 2
    assert [frame.index.tolist() for frame in frames] == [[0, 1], [2]]
    assert [item for frame in frames for item in frame_items(frame)] == [
        {"a": 7},
        {"b": [1, {"c": None}]},
        {},
    ]
    assert report.rows == 3


def test_inline_list_may_be_empty():
    """Nobody to speak to is one empty frame."""
    (frame,) = read_frames(ItemsList(items=[]), base=HERE)
    assert frame.shape == (0, 0)


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (SourceInt, "49", 49),
        (SourceInt, "-7", -7),
        (SourceInt, "0049", "0049"),
        (SourceInt, "+447700900123", "+447700900123"),
        (SourceFloat, "1.5", 1.5),
        (SourceFloat, "1.10", "1.10"),
    ],
)
def test_inline_number_is_one_unless_its_spelling_would_be_lost(kind: type, written: str, value: object):
    """A phone number without quotes in YAML keeps its zeros and its plus."""
    source = ItemsList.model_validate(
        {"items": [{"a": _source(kind, written), "b": [_source(kind, written)]}]}
    )
    assert source.items == [{"a": value, "b": [value]}]
    assert type(source.items[0]["a"]) is type(value)


def test_inline_text_that_cannot_be_stored_is_refused():
    """The item is named by its position."""
    with pytest.raises(ListError, match=r"items\[1\]: a NUL character"):
        list(read_frames(ItemsList(items=[{}, {"a": ["x\0"]}]), base=HERE))


def test_inline_value_that_is_no_json_is_refused():
    """A Python caller's dates are to be written as text."""
    with pytest.raises(ValueError, match="must be JSON"):
        ItemsList(items=[{"a": dt.date(2026, 1, 1)}])


def test_frame_items_are_plain_and_without_the_missing():
    """Whatever dtype a column has, the items are what JSON can hold."""
    frame = pd.DataFrame(
        {
            "text": pd.Series(["x", None, ""], dtype="str"),
            "whole": np.array([1, 2, 3]),
            "nullable": pd.Series([1, None, 3], dtype="Int64"),
            "float": [1.5, np.nan, np.inf],
            "flag": [True, False, True],
            "moment": pd.Series(["2026-03-01T09:30", None, None], dtype="datetime64[us]"),
            "kind": pd.Categorical(["a", None, "b"]),
            "any": pd.Series([np.int64(2**40), np.array([1, 2]), pd.NA], dtype=object),
            "big": pd.Series([2**64, -(2**63), None], dtype=object),
        }
    )
    items = frame_items(frame)
    assert items == [
        {
            "text": "x",
            "whole": 1,
            "nullable": 1,
            "float": 1.5,
            "flag": True,
            "moment": "2026-03-01T09:30:00",
            "kind": "a",
            "any": 2**40,
            "big": "18446744073709551616",
        },
        {"whole": 2, "flag": False, "any": [1, 2], "big": -(2**63)},
        {"text": "", "whole": 3, "nullable": 3, "flag": True, "kind": "b"},
    ]
    assert orjson.loads(orjson.dumps(items)) == items


def test_frame_items_refuse_what_json_has_no_word_for():
    """A value that would be stored as something else is an error."""
    with pytest.raises(TypeError, match="no JSON for complex"):
        frame_items(pd.DataFrame({"a": [1j]}))


def test_frame_items_of_a_frame_without_columns_are_empty_items():
    """Rows without attributes are still rows."""
    assert frame_items(pd.DataFrame(index=range(2))) == [{}, {}]
