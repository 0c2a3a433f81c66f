"""Reading of what providers send: times, texts, numbers, JSON and forms of any kind."""

import math
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.receiving.reading import (
    MOST_ID_CHARACTERS,
    event_id,
    first,
    long_text,
    number_of,
    objects,
    text_of,
    time_of,
)
from tests.unit.webhook_signers import request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-01T14:00:00.000Z",
        "2020-01-01T14:00:00Z",
        "2020-01-01 14:00:00 UTC",
        "2020-01-01 14:00:00 GMT",
        "2020-01-01 14:00:00",
        "2020-01-01T15:00:00+01:00",
        "2020-01-01T15:00:00+0100",
        "2020-01-01 14:00:00 +0000",
        "Wed, 01 Jan 2020 14:00:00 +0000",
        "1577887200",
        "1577887200000",
        1577887200,
        1577887200.0,
    ],
)
def test_time_of_reads_the_spellings_of_providers(text: Any):
    """All of them mean two o'clock, UTC, on the first day of 2020."""
    assert time_of(text) == datetime(2020, 1, 1, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "now", "14:00", {}, [], None, True, "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"]
)
def test_time_of_is_none_for_no_time(text: Any):
    """What is no time, or one that no database takes, is missing."""
    assert time_of(text) is None


@given(
    st.one_of(
        st.text(), st.integers(), st.floats(), st.datetimes().map(str), st.from_regex(r"[\d\s:TZ+.,-]+")
    )
)
def test_time_of_takes_anything(value: Any):
    """Whatever a provider writes for a time, it is an aware time of these centuries, or none."""
    time = time_of(value)
    assert time is None or (time.tzinfo is UTC and 1970 <= time.year <= 9000)


@given(st.one_of(JSON, st.text(st.characters(exclude_categories=()))))
def test_texts_are_what_every_database_takes(value: Any):
    """No NUL, no half character, and for an id no more than an index takes."""
    for text in (text_of(value), long_text(value), first(value)):
        assert text is None or (text and "\x00" not in text and text.encode())
    assert len(text_of(value) or "") <= MOST_ID_CHARACTERS
    number = number_of(value)
    assert number is None or math.isfinite(number)


def test_event_id_is_short_and_of_all_its_parts():
    """Long parts are hashed, and different ones stay different."""
    assert event_id("status", "a", None, "b") == "status:a::b"
    long = ["x" * 300 + end for end in "ab"]
    assert len({event_id(each) for each in long}) == 2
    assert all(len(event_id(each)) <= MOST_ID_CHARACTERS for each in long)


@given(
    st.binary(max_size=200), st.sampled_from(["application/json", "application/x-www-form-urlencoded", "x/y"])
)
def test_objects_takes_any_body(body: bytes, content_type: str):
    """Any body is at least one mapping that can be stored as JSON."""
    found = objects(request(body, content_type=content_type))
    assert found
    for each in found:
        assert isinstance(each, dict)
        assert orjson.loads(orjson.dumps(each)) == each


@given(JSON)
def test_objects_keeps_json_as_it_is(value: Any):
    """A mapping is itself; a list is its entries; what is neither stands under `body`."""
    sent = orjson.dumps(value)
    expected = orjson.loads(sent)
    entries = expected if isinstance(expected, list) and expected else [expected]
    assert objects(request(sent, content_type="application/json")) == [
        entry if isinstance(entry, dict) else {"body": entry} for entry in entries
    ]


def test_objects_reads_forms_and_queries():
    """Fields that stand there twice are a list, empty ones are kept."""
    expected = [{"a": "1 2", "b": "", "c": ["x", "y", "z"]}]
    text = "a=1+2&b=&c=x&c=y&c=z"
    assert (
        objects(request(text.encode(), content_type="application/x-www-form-urlencoded; charset=utf-8"))
        == expected
    )
    assert objects(request(b"", method="GET", query=text)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"text": "\\ud83d"}', {"text": "\ufffd"}),
        (b'{"a": "\\u0000"}', {"a": "\x00"}),
        (b'{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890.0}),
        (b"not json", {"body": "not json"}),
        (b"\xff\xfe", {"body": "\ufffd\ufffd"}),
        (b"[" * 5_000, {"body": "[" * 5_000}),
        (b"", {"body": ""}),
    ],
)
def test_objects_of_odd_bodies(body: bytes, expected: dict[str, Any]):
    """Half characters, huge numbers, depth and rubbish are kept as well as JSON can."""
    assert objects(request(body, content_type="application/json")) == [expected]
