"""The models by themselves: they do not change, do not bend types, and compute what they say."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from clarion.models.action import Action, BackoffPolicy, Command, Parameter, RetryPolicy
from clarion.models.job import ITEM_STATUSES, Job, RunList
from clarion.models.lists import FileList
from tests.unit.campaigns import make_job


def test_models_do_not_change():
    """What was validated stays as it was."""
    with pytest.raises(ValidationError, match="frozen"):
        make_job().matching = "all"  # ty: ignore[invalid-assignment]


def test_models_refuse_unknown_keys_and_bent_types():
    """Python callers are held to the same as files."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        FileList(file="a.csv", sheets="x")  # ty: ignore[unknown-argument]
    with pytest.raises(ValidationError, match="valid number"):
        Action(command=Command(url="x"), tps="5")  # ty: ignore[invalid-argument-type]


def test_defaults_are_those_of_the_contract():
    """An action that says nothing gets the documented policy."""
    action = Action(command=Command(url="x"))
    assert (action.timeout_seconds, action.tps, action.on_unknown) == (5, None, "hold")
    assert action.idempotency_header == "Idempotency-Key"
    assert action.response.success_codes == ["2xx"]
    assert action.response.retry_codes == ["408", "425", "429", "500", "503"]
    assert action.response.unknown_codes == ["502", "504"]
    assert action.retry_policy.num_retries == 3


@pytest.mark.parametrize(
    ("tries", "seconds"), [(1, 2), (2, 4), (3, 8), (4, 10), (5, 10), (10_000, 10), (0, 2)]
)
def test_delay_doubles_up_to_the_maximum(tries: int, seconds: float):
    """`base * 2**n` seconds after the n-th retry, never more than the maximum, never an overflow."""
    policy = RetryPolicy(backoff_policy=BackoffPolicy(base_interval_seconds=2, max_interval_seconds=10))
    assert policy.delay_seconds(tries) == seconds


@settings(deadline=None)
@given(base=st.floats(0.001, 86_400), most=st.floats(0.001, 86_400), tries=st.integers(1, 200))
def test_delay_never_falls_and_never_passes_the_maximum(base: float, most: float, tries: int):
    """Waits get longer, whatever the policy."""
    policy = RetryPolicy(backoff_policy=BackoffPolicy(base_interval_seconds=base, max_interval_seconds=most))
    assert 0 < policy.delay_seconds(tries) <= policy.delay_seconds(tries + 1) <= most


@pytest.mark.parametrize(
    ("kind", "given_value", "value"),
    [
        ("string", "Acme", "Acme"),
        ("string", 7, "7"),
        ("string", 1.5, "1.5"),
        ("string", True, "true"),
        ("number", 7, 7),
        ("number", 1.5, 1.5),
        ("number", " 7 ", 7),
        ("number", "+0049", 49),
        ("number", "1.10", 1.1),
        ("number", "1e3", 1000.0),
        ("number", ".5", 0.5),
        ("boolean", True, True),
        ("boolean", "Yes", True),
        ("boolean", 1, True),
        ("boolean", "false", False),
        ("boolean", "NO", False),
    ],
)
def test_parameter_has_its_declared_type(kind: Any, given_value: Any, value: Any):
    """A value is converted where nothing is lost by it."""
    found = Parameter(name="p", type=kind).typed(given_value)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("kind", "given_value", "told"),
    [
        ("string", None, "the value is missing"),
        ("string", ["a"], "the value is no string"),
        ("number", True, "the value is no number"),
        ("number", "", "the value is no number"),
        ("number", "nan", "the value is no number"),
        ("number", "1e999", "the value is no number"),
        ("number", "1_000", "the value is no number"),
        ("number", "1,5", "the value is no number"),
        ("number", "²", "the value is no number"),
        ("boolean", "maybe", "the value is no boolean"),
        ("boolean", 2, "the value is no boolean"),
        ("boolean", {}, "the value is no boolean"),
    ],
)
def test_parameter_refuses_what_is_not_of_its_type(kind: Any, given_value: Any, told: str):
    """The reason does not repeat the value, which an item may have given."""
    with pytest.raises(ValueError, match=f"^{told}$"):
        Parameter(name="p", type=kind).typed(given_value)


def test_parameter_without_a_value_has_its_default():
    """None means that nothing was given."""
    assert Parameter(name="p", type="number", default="5").typed(None) == 5


def test_codes_written_as_numbers_are_codes():
    """`202` and `"202"` are the same status code."""
    response = (
        make_job(actions={"send": {"command": {"url": "x"}, "response": {"success_codes": [202, "203"]}}})
        .actions["send"]
        .response
    )
    assert response.success_codes == ["202", "203"]


def test_method_may_be_written_in_small_letters():
    """HTTP's methods are capitals; people write them as they like."""
    assert Command.model_validate({"url": "x", "method": "get"}).method == "GET"


def test_run_list_knows_every_status_of_an_item():
    """Statuses to choose by are those of the ledger."""
    from clarion.ledger.tables import ITEM_COUNTS

    assert ITEM_STATUSES == ITEM_COUNTS
    assert RunList(run="last", status=list(ITEM_STATUSES)).status == list(ITEM_STATUSES)


def test_json_schema_has_a_description_of_every_field():
    """The form in the UI is made from the schema: no field stands there without a word."""
    schema = Job.model_json_schema()
    undescribed = [
        f"{name}.{field}"
        for name, model in {"Job": schema, **schema["$defs"]}.items()
        for field, value in model.get("properties", {}).items()
        if "description" not in value
    ]
    assert undescribed == []
