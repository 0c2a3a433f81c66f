"""Random conditions over random frames, held to a plain interpreter that shares no code with the package."""

from random import Random

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.conditions import Condition, parse
from tests.unit.plain_interpreter import as_truth, interpret
from tests.unit.random_conditions import JOB, NOW, case_of, render, rows_of


def matches(condition: Condition, frame: pd.DataFrame) -> list[bool]:
    """The verdicts over a frame."""
    return condition.matches({"item": frame, "job": JOB}, now=NOW).tolist()


RANDOMS = st.randoms(use_true_random=True)


@settings(max_examples=1500, deadline=None)
@given(random=RANDOMS)
def test_conditions_mean_what_a_plain_interpreter_says(random: Random):
    """Over a frame and row by row, a condition says what the interpreter says."""
    tree, frame = case_of(random)
    condition = parse(render(tree), scopes=["item", "job"])
    rows = [{"item": row, "job": JOB} for row in rows_of(frame)]
    expected = [as_truth(interpret(tree, row)) is True for row in rows]

    assert [condition.holds(row, now=NOW) for row in rows] == expected
    assert matches(condition, frame) == expected


@settings(max_examples=200, deadline=None)
@given(random=RANDOMS)
def test_conditions_judge_each_row_by_itself(random: Random):
    """Neither the chunks of a frame, nor the order of its rows, nor its dtypes change a verdict."""
    tree, frame = case_of(random)
    condition = parse(render(tree), scopes=["item", "job"])
    verdicts = matches(condition, frame)
    cut = random.randint(0, len(frame))
    order = random.sample(range(len(frame)), k=len(frame))

    assert matches(condition, frame.iloc[:cut]) + matches(condition, frame.iloc[cut:]) == verdicts
    assert matches(condition, frame.iloc[order]) == [verdicts[row] for row in order]
    assert matches(condition, frame.astype(object)) == verdicts
    assert [matches(condition, pd.DataFrame([row])) for row in rows_of(frame)] == [[one] for one in verdicts]
