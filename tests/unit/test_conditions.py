import datetime as dt
import pickle
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

from clarion.conditions import Condition, parse
from clarion.errors import ConditionError

NOW = dt.datetime(2026, 1, 15, 23, 30, tzinfo=dt.UTC)
SCOPES = ["item", "job", "response", "event"]


def condition(source: str) -> Condition:
    """The condition over the usual scopes."""
    return parse(source, scopes=SCOPES)


def verdicts(source: str, values: list[Any], *, dtype: Any = object) -> list[bool]:
    """The verdicts of a condition on `item.x`, which both ways of evaluation must agree on."""
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype)})
    found = condition(source).matches({"item": frame}, now=NOW)
    rows = [condition(source).holds({"item": {"x": value}}, now=NOW) for value in frame["x"].astype(object)]
    assert found.tolist() == rows
    return rows


def refusal(source: str) -> str:
    """The message of the error that a condition is refused with."""
    with pytest.raises(ConditionError) as caught:
        condition(source)
    return str(caught.value)


# What comes back


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
    ("source", "expected"),
    [
        ('item.x == "7"', ["7", 7, 7.0]),
        ("item.x == 7", ["7", " 7 ", "7.0", "007", "+7", "70e-1", 7, 7.0]),
        ("item.x == True", [True, "true", "YES", " on ", "y", "T", "1", 1, 1.0]),
        ("item.x == false", [False, "False", "no", "off", "n", "f", "0", 0, 0.0]),
        ('item.x == date("2026-01-31")', ["2026-01-31", dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 9)]),  # noqa: DTZ001
    ],
)
def test_comparisons_read_an_attribute_as_the_other_side(source: str, expected: list[Any]):
    """The literal decides how a value is read, whether it comes from text or is typed already."""
    others = ["seven", "07x", "", None, float("nan"), pd.NA, pd.NaT, [7], {"a": 7}, b"7", "2026-02-31"]

    assert verdicts(source, expected + others) == [True] * len(expected) + [False] * len(others)


def test_comparisons_with_text_keep_leading_zeros():
    """A code is no number where it is compared with a text."""
    assert verdicts('item.x == "007"', ["007", "7", "0070"], dtype="str") == [True, False, False]
    assert verdicts('item.x in ["007", "08"]', ["007", "7", "8"], dtype="str") == [True, False, False]


def test_comparisons_of_long_ids_are_exact():
    """Whole numbers beyond 2^53 are compared digit by digit, as text, as integers and against each other."""
    ids = [9007199254740991, 9007199254740992, 9007199254740993, 9007199254740994]
    expected = [False, False, True, False]

    assert verdicts("item.x == 9007199254740993", ids, dtype="int64") == expected
    assert verdicts("item.x == 9007199254740993", [str(value) for value in ids], dtype="str") == expected
    assert verdicts("item.x in [1, 9007199254740993]", [str(value) for value in ids], dtype="str") == expected
    assert verdicts("item.x in [9007199254740993]", [9007199254740992.0, 1.0], dtype="float64") == [
        False,
        False,
    ]
    assert verdicts("item.x > 9007199254740992", ids) == [False, False, True, True]
    assert verdicts('item.x == "9007199254740993"', ids, dtype="uint64") == expected
    assert verdicts("item.x != 10000000000000000000000001", [10**25, 10**25 + 1]) == [True, False]
    assert verdicts("abs(item.x) == 9007199254740993", ["-9007199254740993", "9007199254740992"]) == [
        True,
        False,
    ]
    assert verdicts("max(item.x, 1) == 9007199254740993", ["9007199254740993", "5"], dtype="str") == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    "text", ["nan", "inf", "1_000", "0x10", "1,000", "", " ", "+-5", "1e400", "-" + "9" * 309, "٣"]
)
def test_texts_that_are_no_numbers_are_missing(text: str):
    """Words, other digits and numbers that no double holds are missing, alone or among numbers."""
    assert verdicts("isnull(number(item.x))", [text, "5", None], dtype="str") == [True, False, True]
    assert verdicts("item.x != 5", [text, "5", "6"], dtype="str") == [False, False, True]


@pytest.mark.parametrize(
    "value",
    [
        *(None, float("nan"), float("inf"), pd.NA, pd.NaT, np.float64("nan"), np.datetime64("NaT")),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("1e999999"), 10**4000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_missing_values_make_comparisons_false(value: Any):
    """Whatever form a missing value has, only `not` and isnull() see it."""
    false = [
        *("item.x", "item.x == 1", "item.x != 1", 'item.x != "a"', "item.x != item.x", "item.x * 0 == 0"),
        *("item.x in [1]", 'item.x not in ["a"]', '"a" in item.x', '"a" not in item.x', "notnull(item.x)"),
        *('contains(item.x, "")', 'startswith(item.x, "")', 'matches(item.x, "")', "item.x == False"),
    ]
    true = [
        "not item.x",
        "not item.x == 1",
        "isnull(item.x)",
        "isnull(item.x + 1)",
        'coalesce(item.x, "a") == "a"',
    ]

    assert [source for source in false if verdicts(source, [value]) != [False]] == []
    assert [source for source in true if verdicts(source, [value]) != [True]] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int64(5), "5"),
        (np.float32(0.5), "0.5"),
        (np.bool_(True), "true"),
        (np.str_("a"), "a"),
        (Decimal("5.00"), "5"),
        (Decimal("0.1"), "0.1"),
        (1e22, "10000000000000000000000"),
        (-0.0, "0"),
        (1e-7, "1e-07"),
        (dt.datetime(2026, 1, 31, 9, 30), "2026-01-31T09:30:00"),  # noqa: DTZ001
        (pd.Timestamp("2026-01-31T09:30:00.000000001"), "2026-01-31T09:30:00"),
        (np.datetime64("2026-01-31"), "2026-01-31T00:00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("\ud800x", "\ufffdx"),
    ],
)
def test_values_of_other_types_have_a_text(value: Any, text: str):
    """What files and databases bring is read as the text one would write."""
    assert verdicts(f'item.x == "{text}"', [value, "nope"]) == [True, False]


def test_lists_are_searched_by_element_and_texts_by_part():
    """`in` takes a list's elements whole, and a text's parts."""
    values = [["new", "vip"], ["newer"], [], "renewed", ("new",), {"new": 1}, None, np.array(["new"])]

    assert verdicts('"new" in item.x', values) == [True, False, False, True, True, False, False, True]
    assert verdicts('"new" not in item.x', values) == [False, True, True, False, False, False, False, False]
    assert verdicts('contains(item.x, "new")', values) == [True, False, False, True, True, False, False, True]
    assert verdicts("5 in item.x", [[5], ["5.0"], ["x", None], "15", 5]) == [True, True, False, False, False]
    assert verdicts('"b" in split(item.x, ",")', ["a, b", "ab", None], dtype="str") == [True, False, False]


def test_arithmetic_never_fails():
    """Overflow and division by zero are missing; the rest is Python's double arithmetic."""
    assert verdicts("isnull(item.x * 1e308)", ["10", "-10", "0.5"], dtype="str") == [True, True, False]
    assert verdicts("isnull(item.x / 0) and isnull(item.x % 0)", [1, 0, "a"]) == [True, True, True]
    assert verdicts("isnull(1 / item.x)", [1, 0, -0.0]) == [False, True, True]
    assert verdicts("item.x % 3 == 2", [-1, 5, "8"]) == [True, True, True]
    assert verdicts("-item.x + 2 * 3 - 4 / 2 == 1", [3, "3", 4]) == [True, True, False]
    assert verdicts("-(item.x - 1) * 2 == -4", [3]) == [True]


def test_operators_bind_as_in_python():
    """`not` binds before `and`, and that before `or`; products before sums; a chain is a conjunction."""
    assert verdicts("true or false and item.x == 1", [2]) == [True]
    assert verdicts("not item.x == 1 and item.x == 2", [1, 2]) == [False, True]
    assert verdicts("1 < item.x <= 3 != 5", [1, 2, 3, 4]) == [False, True, True, False]
    assert verdicts("(true or false) and item.x == 1", [2]) == [False]


def test_today_is_the_date_in_utc():
    """Every date function counts from the date of `now` in UTC."""
    zone = dt.timezone(dt.timedelta(hours=-8))
    late = dt.datetime(2026, 1, 15, 18, 0, tzinfo=zone)

    assert condition('today() == "2026-01-16"').holds({}, now=late)
    assert condition('days_until("2026-01-20") == 4 and days_since(today()) == 0').holds({}, now=late)


def test_dates_are_read_in_local_formats():
    """A format names day, month and year; the whole text must follow it."""
    values = ["31/12/2025", "31/2/2026", "1/1/26", "2025-12-31", None]

    assert verdicts('date(item.x, "%d/%m/%Y") == "2025-12-31"', values, dtype="str") == [True] + [False] * 4
    assert verdicts(
        'date(item.x, "%Y.%m.%d (%%)") == "2025-12-31"', ["2025.12.31 (%)", "2025x12x31 (%)"]
    ) == [True, False]


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_dates_come_from_columns_of_times(unit: str):
    """A column of times is read as the dates it shows, in its own zone."""
    times = pd.Series([pd.Timestamp("2026-01-31T23:30:00"), None]).dt.as_unit(unit)
    zoned = times.dt.tz_localize("America/New_York")
    frame = pd.DataFrame({"x": times, "y": zoned})

    for source in (
        'date(item.x) == "2026-01-31"',
        'date(item.y) == "2026-01-31"',
        'item.x == "2026-01-31T23:30:00"',
    ):
        assert condition(source).matches({"item": frame}, now=NOW).tolist() == [True, False]


def test_patterns_match_whole_texts_in_linear_time():
    """A pattern must take the whole text, and none can make a text take forever."""
    assert verdicts(r'matches(item.x, "[a-z]+[0-9]")', ["ab1", "ab12", "xab1 ", None]) == [
        True,
        False,
        False,
        False,
    ]
    assert verdicts(r'matches(item.x, r"(?i)\d+|A")', ["12", "a", "12a"], dtype="str") == [True, True, False]
    assert verdicts('matches(item.x, "(a+)+b")', ["a" * 50_000]) == [False]


# Refusals


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
