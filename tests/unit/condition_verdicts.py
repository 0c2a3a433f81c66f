"""What conditions say over a column of values."""

import datetime as dt
from typing import Any

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
