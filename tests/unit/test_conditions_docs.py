import datetime as dt
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from clarion.conditions import parse
from clarion.conditions.functions import FUNCTIONS, LONGEST_PATTERN
from clarion.conditions.source import DEEPEST_SOURCE, LONGEST_SOURCE
from clarion.conditions.values import LONGEST_NUMBER

NOW = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)
DOCS = (Path(__file__).parents[2] / "docs" / "conditions.md").read_text(encoding="utf-8")
ITEM = json.loads(re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)[0])
EXAMPLES = re.findall(r"^\|.*\| `([^|]+)` \| (true|false) \|$", DOCS, re.MULTILINE)


@pytest.mark.parametrize(("source", "verdict"), EXAMPLES)
def test_condition_examples_mean_what_the_docs_say(source: str, verdict: str):
    """Every example in the docs' tables has the verdict written beside it."""
    condition = parse(source, scopes=["item"])
    condition.check({"item": ITEM})
    frame = pd.DataFrame({name: pd.Series([value], dtype=object) for name, value in ITEM.items()})

    assert condition.holds({"item": ITEM}, now=NOW) is (verdict == "true")
    assert condition.matches({"item": frame}, now=NOW).tolist() == [verdict == "true"]


def test_condition_functions_are_all_documented():
    """The docs' table has a row, with an example that calls it, for every function and for no other."""
    rows = re.findall(r"^\| `(\w+)\(.*\| `([^|]+)` \| (?:true|false) \|$", DOCS, re.MULTILINE)

    assert {name for name, _ in rows} == set(FUNCTIONS)
    assert all(f"{name}(" in example for name, example in rows)


def test_condition_limits_are_documented():
    """The numbers in the docs are the numbers in the code."""
    for limit in (
        f"{LONGEST_SOURCE:,} characters",
        f"{DEEPEST_SOURCE} levels",
        f"{LONGEST_PATTERN} characters",
    ):
        assert limit in DOCS
    assert f"{LONGEST_NUMBER} characters" in DOCS
