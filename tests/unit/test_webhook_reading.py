"""Reading of what providers send: times, texts, numbers, JSON and forms of any kind."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.receiving.nesting import is_deep, shallow
from clarion.receiving.reading import (
    MOST_ENTRIES,
    MOST_ID_CHARACTERS,
    TooManyEntriesError,
    event_id,
    first,
    long_text,
    number_of,
    objects,
    parameters,
    text_of,
    time_of,
)
from clarion.templating.limits import MAX_DEPTH
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


def nested(levels: int) -> Any:
    """A value so deep in lists and mappings."""
    value: Any = "bottom ]}"
    for level in range(levels):
        value = [value] if level % 2 else {'a "quoted" [name': value}
    return value


@pytest.mark.parametrize("levels", [1, 62, 63, 64, 65, 253, 254, 255, 300, 900, 1_022, 1_023, 5_000, 50_000])
def test_objects_reads_the_shallow_fields_of_a_deep_body(levels: int):
    """What lies too deep is kept as its text; the event's own fields beside it are read."""
    deep = b"[" * levels + b"1" + b"]" * levels
    for body in (
        b'{"text": "STOP", "extra": %s, "from": "1"}' % deep,
        b'[{"extra": %s, "text": "STOP", "from": "1"}]' % deep,
    ):
        [found] = objects(request(body, content_type="application/json"))
        assert (found["text"], found["from"]) == ("STOP", "1")
        text = orjson.dumps(found)
        assert not is_deep(text)
        assert text.count(b"[") + text.count(b"]") == 2 * levels


@given(levels=st.integers(0, 200), beside=JSON)
def test_shallow_json_is_the_same_json_but_for_its_depth(levels: int, beside: Any):
    """Each cut part is a text that holds it; nothing else changes, and what is shallow not by a byte."""
    body = (
        orjson.dumps({"beside": beside}).removesuffix(b"}")
        + b',"deep":%s}' % json.dumps(nested(levels)).encode()
    )
    cut = shallow(body)
    assert is_deep(body) == (levels >= MAX_DEPTH)
    assert not is_deep(cut)
    assert shallow(cut) == cut
    assert (cut == body) == (levels < MAX_DEPTH)
    value: Any = orjson.loads(cut)["deep"]
    for _ in range(min(levels, MAX_DEPTH - 1)):
        [value] = value if isinstance(value, list) else value.values()
    rest = json.loads(value) if levels >= MAX_DEPTH else value
    assert rest == nested(max(0, levels - MAX_DEPTH + 1))


@given(st.text('[]{}",:\\a1 ', max_size=400).map(str.encode) | st.binary(max_size=300))
def test_shallow_takes_any_bytes(body: bytes):
    """What is no JSON raises nothing, and is no JSON afterwards."""
    cut = shallow(body)
    if not is_deep(body):
        assert cut == body


BODIES = st.one_of(
    st.binary(max_size=200),
    st.text('ab=&[]{}"<> %2', max_size=40).map(str.encode),
    JSON.map(orjson.dumps),
)


@given(body=BODIES, content_type=st.sampled_from(["application/json", "text/plain", "multipart/form-data"]))
def test_objects_reads_a_body_alike_whatever_it_is_called(body: bytes, content_type: str):
    """No signature of a body covers its Content-Type: it must not make another event of it."""
    form = objects(request(body, content_type="application/x-www-form-urlencoded"))
    assert orjson.dumps(objects(request(body, content_type=content_type))) == orjson.dumps(form)


def test_objects_has_an_end():
    """A list may have so many entries, and no more."""
    for entries in (MOST_ENTRIES, MOST_ENTRIES + 1):
        sent = request(orjson.dumps([{"n": 1}] * entries), content_type="application/json")
        if entries == MOST_ENTRIES:
            assert len(objects(sent)) == entries
            continue
        with pytest.raises(TooManyEntriesError):
            objects(sent)


@given(BODIES | st.integers(1, 2_000).map(lambda levels: b"[" * levels + b"]" * levels))
def test_parameters_are_one_flat_object_or_none(body: bytes):
    """Texts by names, the same that the event is read from; anything else is told."""
    sent = request(body)
    try:
        found = parameters(sent)
    except ValueError:
        return
    [read] = objects(sent)
    assert found == {name: str(value) for name, value in read.items()}


@pytest.mark.parametrize(
    "value",
    [[], [{"a": "1"}], {"a": ["1"]}, {"a": {}}, {"a": None}, {"a": True}, {"a": 1.0}, {"a": 2**70}, "a", 1],
)
def test_parameters_refuses_what_reads_as_two_things(value: Any):
    """A list, and what is written in more ways than one."""
    with pytest.raises(ValueError, match="flat"):
        parameters(request(json.dumps(value).encode()))
    with pytest.raises(ValueError, match="flat"):
        parameters(request(b"", method="GET", query="a=1&b=1&a=2"))
