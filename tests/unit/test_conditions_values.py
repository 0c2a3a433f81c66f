"""Conditions over values: what the other side makes of a text, a number, a date, a missing cell."""

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

from tests.unit.condition_verdicts import NOW, condition, verdicts


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
