import datetime as dt
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clarion.conditions import parse
from clarion.errors import ConditionError
from tests.unit.condition_verdicts import NOW, condition, refusal, verdicts


def test_matches_answers_bools_with_the_frames_index():
    """A verdict is True or False, never missing, and stands beside its row."""
    frame = pd.DataFrame({"plan": ["gold", None, "silver"]}, index=["a", "b", "b"])
    expected = pd.Series([True, False, False], index=["a", "b", "b"])

    pd.testing.assert_series_equal(
        condition('item.plan == "gold"').matches({"item": frame}, now=NOW), expected
    )


@pytest.mark.parametrize(
    "source", ['item.x == "a"', "item.x", "item.y == 1", "isnull(item.y)", "true", "not job.a"]
)
def test_matches_answers_nothing_for_no_rows(source: str):
    """A frame without rows has no verdicts, and is no error."""
    frame = pd.DataFrame({"x": pd.Series([], dtype="str")})

    found = condition(source).matches({"item": frame, "job": {"a": "no"}}, now=NOW)

    assert found.tolist() == []
    assert found.dtype == np.bool_


def test_matches_shares_a_mapping_with_all_rows():
    """A scope that is a mapping has the same values in every row, and may be compared with columns."""
    frame = pd.DataFrame({"plan": ["gold", "silver"], "n": ["9", "30"]})
    scopes = {"item": frame, "job": {"plan": "silver", "limits": {"n": 10}}}

    assert condition("item.plan == job.plan").matches(scopes, now=NOW).tolist() == [False, True]
    assert condition("item.n < job.limits.n").matches(scopes, now=NOW).tolist() == [True, False]
    assert condition("job.limits.n < item.n").matches(scopes, now=NOW).tolist() == [False, True]
    assert condition('job.plan == "silver"').matches(scopes, now=NOW).tolist() == [True, True]


def test_matches_compares_columns_of_two_frames():
    """Two frames with one index are read row by row."""
    scopes = {"item": pd.DataFrame({"n": [1, 5]}), "event": pd.DataFrame({"n": ["2", "2"]})}

    assert condition("item.n < event.n").matches(scopes, now=NOW).tolist() == [True, False]


@pytest.mark.parametrize(
    "scopes",
    [
        {},
        {"item": {"x": 1}},
        {"item": pd.DataFrame({"x": [1]}), "event": pd.DataFrame({"x": [1, 2]})},
        {"item": pd.DataFrame([[1, 2]], columns=["x", "x"])},
    ],
)
def test_matches_refuses_frames_that_are_no_rows(scopes: dict[str, Any]):
    """No frame, frames of different rows and a column that is there twice are the caller's mistakes."""
    with pytest.raises(ValueError, match=r"scopes|frame"):
        condition("item.x == 1").matches(scopes, now=NOW)


def test_conditions_need_a_time_zone_and_their_scopes():
    """A naive moment has no date in UTC, and a scope that is not given is no missing value."""
    with pytest.raises(ValueError, match="time zone"):
        condition("item.x == 1").holds({"item": {}}, now=dt.datetime(2026, 1, 1))  # noqa: DTZ001  the point
    with pytest.raises(ValueError, match="event"):
        condition("event.x == 1").holds({"item": {}}, now=NOW)


def test_holds_reads_nested_data():
    """Names and positions lead into nested mappings and lists; what is not there is missing."""
    response = {"body": {"messages": [{"status": "1"}, {"status": "0"}]}, "headers": {"a b": 5}}

    def holds(source: str) -> bool:
        return condition(source).holds({"response": response}, now=NOW)

    assert holds('response.body.messages[0].status == "1"')
    assert holds('response["body"]["messages"][-1].status == "0"')
    assert holds('response.headers["a b"] == 5')
    for path in (
        "body.messages[2].status",
        "body.messages[-3]",
        "body.messages.status",
        "body[0]",
        "nope.x[0].y",
    ):
        assert holds(f"isnull(response.{path})")


def test_conditions_survive_pickling_and_are_equal_by_source():
    """A condition travels to other processes and can be the key of a cache."""
    one = condition('item.plan == "gold"')
    other = pickle.loads(pickle.dumps(one))  # noqa: S301  our own bytes

    assert other == one
    assert hash(other) == hash(one)
    assert other.holds({"item": {"plan": "gold"}}, now=NOW)
    assert one != condition('item.plan == "silver"')
    assert one != parse(one.source, scopes=["item"])
    assert one != one.source


# What it names


def test_references_are_the_first_level_attributes():
    """A condition tells which attributes it needs of which scope."""
    found = condition('item["a b"] == 1 and response.body.x[0].y == item.plan and lower(item.plan) == "x"')

    assert found.source.startswith('item["a b"]')
    assert found.references == {("item", "a b"), ("response", "body"), ("item", "plan")}


def test_check_names_the_nearest_attribute():
    """An attribute that its scope has not is refused; a scope nothing is known of is not checked."""
    found = condition("item.dayz_left < 3 and event.whatever == 1")

    found.check({"item": ["dayz_left"]})
    found.check({})
    with pytest.raises(
        ConditionError, match=r"item has no attribute 'dayz_left' \(did you mean 'days_left'\?\)"
    ):
        found.check({"item": ["plan", "days_left"], "job": []})
    with pytest.raises(ConditionError, match="event has no attribute 'whatever'"):
        found.check({"event": []})


# Types


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("itm.x == 1", "unknown name 'itm' (at character 1); expected one of event, item, job, response"),
        ("itm.x == 1", "(did you mean 'item'?)"),
        ('item.x == 1 and lowr(item.x) == "a"', "unknown function 'lowr' (at character 17)"),
        ('lowr(item.x) == "a"', "(did you mean 'lower'?)"),
        ("item.x ==", "this is no condition: invalid syntax (at the end)"),
        ("item.x == == 1", "(at character 11)"),
        ("item.x\n  == 1 and\n  itm.y", "(at line 3, character 3)"),
        ('item.é == "é" and x', "unknown name 'x' (at character 19)"),
        ("(item.x == 1", "its brackets do not match (at the end)"),
        ("item.x == 1)", "its brackets do not match (at character 12)"),
        ("item.x == None", "nothing is ever equal to None (at character 11); expected isnull(...)"),
        ("item.x != null", "nothing is ever equal to null"),
        ("item.x is None", "expected ==, !=, isnull(...)"),
        ('item.plan == "a" or "b"', "this is text, where true or false belongs (at character 21)"),
        ("length(item.x)", "this is a number, where true or false belongs"),
        ("lower(item.x) == 5", "text is compared with a number"),
        ("date(item.x) == 5", "a date is compared with a number"),
        ('date(item.x) < "soon"', "'soon' is not a date"),
        ('date("2026-02-30") < today()', "'2026-02-30' is not a date"),
        ("date(item.x) < lower(item.y)", "this is text, where a date belongs"),
        ("today() - 1 > item.x", "dates are not calculated with"),
        ('item.x + "a" == 1', "this is text, where a number belongs"),
        ("item.active > True", "true and false have no order"),
        ('item.x in ("gold")', "`in` needs a list"),
        ("item.x in []", "the list is empty"),
        ('item.x in ["a", 5]', "this is a number, where text belongs"),
        ('item.x in ["a" "b"]', "two texts stand side by side (at character 16); expected a comma"),
        ("item.x in [item.y]", "only literals stand in a list"),
        ('split(item.x, ",") == 1', "a list is not compared"),
        ('text(split(item.x, ",")) == "a"', "a list is no single value"),
        ('split(item.x, "") == 1', "the separator is empty"),
        ("event.from == 1", "'from' is a word of Python (at character 7)"),
        ('matches(item.x, "(")', "is no RE2 regular expression"),
        ('matches(item.x, "a)|(b")', "is no RE2 regular expression"),
        (r'matches(item.x, r"(a)\1")', "is no RE2 regular expression"),
        (r'matches(item.x, "\d")', "a backslash in a text needs an r"),
        (r'matches(item.x, "\bx\b")', "a backslash in a text needs an r"),
        ("matches(item.x, item.y)", "this argument must be a literal text"),
        ('matches(item.x, "' + "a" * 501 + '")', "the most is 500"),
        ('date(item.x, "%d/%m") == today()', "is no format of a date"),
        ('date(item.x, "%d/%m/%Y %H") == today()', "is no format of a date"),
        ("lower() == 1", "0 arguments are not what it takes (at character 1); expected lower(text)"),
        ("lower(item.x, item.y) == 1", "2 arguments are not what it takes"),
        ("number(today()) == 1", "a date cannot be read as a number"),
        ('number("x") == 1', "'x' is not a number"),
        ("lower", "the function 'lower' is not called"),
        ("item", "'item' stands alone"),
        ("item[0] == 1", "item has named attributes"),
        ("item.x == 1,", "a comma stands between conditions"),
        ("", "the condition is empty"),
        ("  # nothing", "the condition is empty"),
        ("item.x == 1e999", "this number is too large"),
        ("item.x == " + "9" * 310, "this number is too large"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_what_and_where(source: str, message: str):
    """A person's mistake is named with its place and what was expected."""
    assert message in refusal(source)


def test_conditions_go_over_several_lines_with_comments():
    """A line break joins, and a comment ends with its line."""
    source = 'item.x == "a"  # the first\nor item.x == "b#c"\n'

    assert verdicts(source, ["a", "b#c", "b"]) == [True, True, False]
