"""Named limits in a job: what is refused, and what items are planned with."""

from typing import Any

import orjson
import pytest

from clarion.compiling import compile_job
from clarion.errors import InputError, PlanError
from clarion.limit_keys import MOST_CHARACTERS, limit_keys
from clarion.models.action import Action
from clarion.models.job import Job
from clarion.planning import PlannedItem, Planner
from tests.unit.campaigns import NOW, RUN, make_reader

LIMITS = [
    {"name": "host", "concurrency": 20},
    {"name": "sender", "key": "{{ parameters.sender }}", "tps": 1},
]


def job(limits: list[dict[str, Any]], *, sender: str = "{{ item.sender }}", **changes: Any) -> Job:
    """A job for two people with these limits."""
    items = [{"phone": "1", "sender": "Acme"}, {"phone": "2", "sender": " Acme "}, {"phone": "3"}]
    data = {
        "name": "renewals",
        "recipients": {"include": [{"items": items}]},
        "recipient": "{{ item.phone }}",
        "segments": [
            {"name": "all", "action": "send", "parameters": {"sender": sender, "id": "{{ run_item.id }}"}}
        ],
        "actions": {
            "send": {
                "command": {"url": "https://api.example.com/"},
                "parameters": [{"name": "sender"}, {"name": "id"}],
                "limits": limits,
            }
        },
    }
    return Job.model_validate(data | changes)


def planned(given: Job) -> list[PlannedItem]:
    """The items of the job's plan."""
    planner = Planner(campaign=compile_job(given), run=RUN, now=NOW, reader=make_reader())
    return [item for items in planner.plan() for item in items]


def test_keys_are_planned():
    """An item carries the value of each key, without blanks; a parameter that no key uses is not rendered."""
    found = planned(job(LIMITS))
    assert [item.limit_keys for item in found[:2]] == ['["","Acme"]'] * 2


def test_key_that_does_not_render_skips_its_item():
    """Nobody is sent to outside of the limits; the others go on."""
    found = planned(job(LIMITS))
    assert [(item.status, item.reason) for item in found] == [("pending", None)] * 2 + [
        ("skipped", "template-error")
    ]
    assert found[2].limit_keys is None
    assert found[2].dedupe_key is None


def test_key_that_does_not_render_fails_the_plan_where_it_is_to():
    """`on_template_error: fail` holds for keys too."""
    with pytest.raises(PlanError, match=r"row 3: .*on_template_error is fail"):
        planned(job(LIMITS, on_template_error="fail"))


def test_action_without_limits_plans_no_keys():
    """What is not limited by name carries nothing."""
    assert {item.limit_keys for item in planned(job([]))} == {None}


@pytest.mark.parametrize("value", ["x" * (MOST_CHARACTERS + 1), "a\0b", "two\nlines"])
def test_unwieldy_value_is_kept_as_a_digest(value: str):
    """No value is too long for an index or holds what no database takes; equal ones stay equal."""
    campaign = compile_job(job(LIMITS))
    scope = {"item": {"sender": value}, "recipient": "1", "job": {}, "run": RUN}
    keys = limit_keys(campaign.actions["send"], campaign.segments[0], scope)
    _, kept = orjson.loads(keys or "")
    assert kept.startswith("sha256:")
    assert len(kept) < 80


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ([{"name": "sender", "key": "x"}], "limits nothing: give tps, concurrency or both"),
        ([{"name": "a", "tps": 1}, {"name": "a", "tps": 2}], "two limits are named 'a'"),
        ([{"name": "a", "tps": 0}], "greater than 0"),
        ([{"name": "a", "concurrency": 0}], "greater than or equal to 1"),
    ],
)
def test_limit_that_cannot_be_kept_is_refused(limits: list[dict[str, Any]], message: str):
    """A mistake is told where it stands, before anything is sent."""
    with pytest.raises(ValueError, match=message):
        Action.model_validate({"command": {"url": "https://api.example.com/"}, "limits": limits})


@pytest.mark.parametrize(
    "key", ["{{ parameters.sendr }}", "{{ template.text }}", "{{ run_item.id }}", "{{ x"]
)
def test_key_that_is_no_template_of_its_scopes_is_refused(key: str):
    """A key sees the item, its recipient, the parameters, the job and the run."""
    with pytest.raises(InputError, match=r"actions\.send\.limits\[0\]\.key"):
        compile_job(job([{"name": "sender", "key": key, "tps": 1}]))
