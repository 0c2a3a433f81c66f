"""The error tree, and what its messages say."""

import re

import pytest

from clarion import errors
from clarion.errors import ClarionError, InputError, InputErrors, JobError, nearest, path_text


def drawn_tree() -> dict[str, str | None]:
    """Each class of the drawing at the top of the module with its parent."""
    parents: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines()[2:]:
        found = re.match(r"([│ ├└─]*)(\w+Errors?)\b", line)
        if found:
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            parents[found[2]] = above[depth - 1] if depth else None
    return parents


def test_tree_is_as_drawn():
    """Every class stands in the drawing, below the class that it derives from."""
    classes = {
        name: each
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, ClarionError)
    }
    real = {
        name: None if each is ClarionError else each.__bases__[0].__name__ for name, each in classes.items()
    }
    assert drawn_tree() == real


def test_docstring_is_the_default_message():
    """An error without a message says what its class says."""
    assert str(errors.RecipientError()) == "The recipient is not valid."


def test_input_error_says_where_what_expected_and_nearest():
    """The four parts of a message stand in one line, in this order."""
    error = JobError("unknown key", where="segments[1]", expected="name", nearest="name")
    assert str(error) == "segments[1]: unknown key; expected name (did you mean 'name'?)"
    assert error.message == str(error)


@pytest.mark.parametrize(
    ("inner", "joined"),
    [("condition", "segments[1].condition"), ("[0]", "segments[1][0]"), (None, "segments[1]")],
)
def test_input_error_is_told_from_further_out(inner: str | None, joined: str):
    """`at` puts the outer place before the inner one and keeps class and parts."""
    error = JobError("is wrong", where=inner, expected="right", nearest="rite").at("segments[1]")
    assert type(error) is JobError
    assert str(error) == f"{joined}: is wrong; expected right (did you mean 'rite'?)"


def test_several_errors_are_one_line_each_also_from_further_out():
    """`at` of several errors moves each of them."""
    several = InputErrors([InputError("is missing", where="name"), InputError("is wrong")])
    assert str(several) == "name: is missing\nis wrong"
    moved = several.at("job.yaml")
    assert str(moved) == "job.yaml.name: is missing\njob.yaml: is wrong"
    assert [each.problem for each in moved.problems] == ["is missing", "is wrong"]


def test_nearest_ignores_case_and_gives_the_real_spelling():
    """The nearest name is one of the candidates as it is written; a name far from all has none."""
    assert nearest("customer id", ["Plan", "Customer Id"]) == "Customer Id"
    assert nearest("zzz", ["Plan", "Customer Id"]) is None
    assert nearest("x", []) is None


def test_path_quotes_names_that_are_no_words():
    """A path stays one line and can be read, whatever a key holds."""
    assert path_text(("segments", 1, "condition")) == "segments[1].condition"
    assert path_text(("actions", "http-action/a", "tps")) == "actions['http-action/a'].tps"
    assert path_text(("a\nb",)) == "['a\\nb']"
    assert path_text(()) == ""
