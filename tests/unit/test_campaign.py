"""A job made ready to run: what does not parse or does not exist is found before anybody is written to."""

from typing import Any

import pytest

from clarion.compiling import resolve_actions
from clarion.compiling_texts import ATTRIBUTES
from clarion.errors import InputError, InputErrors, JobError, RenderError
from clarion.models.action import Action, Command
from clarion.rendering import job_scope
from tests.unit.campaigns import SEND, make_action, make_campaign, make_job


def refusal(**changes: Any) -> str:
    """Why the changed job does not compile; one line."""
    with pytest.raises(InputError) as caught:
        make_campaign(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def of_segment(**fields: Any) -> str:
    """Why a second segment with these fields is refused."""
    segments = [{"name": "a", "action": "send"}, {"name": "b", "action": "send"} | fields]
    return refusal(
        segments=segments, actions={"send": {**SEND, "parameters": [{"name": "sender", "default": "x"}]}}
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"action": "sned"}, "segments[1].action: no action is named 'sned'; expected one of send, or "),
        ({"action": "sned"}, "(did you mean 'send'?)"),
        ({"template": {"message": "{{ item.name"}}, "segments[1].template.message: line 1: "),
        ({"template": {"message": "{{ itm.name }}"}}, "segments[1].template.message"),
        ({"template": {"message": "{{ parameters.sendr }}"}},
         "segments[1].template.message: parameters has no 'sendr'; expected one of sender (did you "),
        ({"template": {"message": "{{ run.nme }}"}}, "run has no 'nme'; expected one of id, name, start_at"),
        ({"template": {"message": "{{ response.body }}"}}, "segments[1].template.message"),
        ({"condition": "itm.plan == 1"}, "segments[1].condition: unknown name 'itm'"),
        ({"condition": "lowr(item.plan) == 'a'"}, "segments[1].condition: unknown function 'lowr'"),
        ({"condition": "lowr(item.plan) == 'a'"}, "(did you mean 'lower'?)"),
        ({"condition": "item.plan = 1"}, "segments[1].condition: "),
        ({"condition": "job.nmae == 'x'"}, "condition: job has no attribute 'nmae' (did you mean 'name'?)"),
        ({"parameters": {"sendr": "x"}},
         "segments[1].parameters.sendr: the action 'send' has no parameter 'sendr'; expected one of sen"),
        ({"parameters": {"sender": "{{ x"}}, "segments[1].parameters.sender: line 1: "),
        ({"parameters": {"sender": [1]}}, "segments[1].parameters.sender: the value is no string"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_mistake_in_a_segment_is_told_with_its_path(fields: dict[str, Any], told: str):
    """Templates, conditions, parameters and the action's name are checked when the job is loaded."""
    assert told in of_segment(**fields)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"command": {"url": "{{ x", "payload": {}}}, "actions.send.command.url: line 1: "),
        ({"command": {"url": "x", "payload": {"a": [{"b": "{{ x }}"}]}}}, "send.command.payload.a[0].b: "),
        ({"command": {"url": "x", "payload": {"a": 10**30}}}, "payload.a: a number is too large for JSON"),
        ({"command": {"url": "x", "form": {"a": "{{ }}"}}}, "actions.send.command.form.a: "),
        ({"command": {"url": "x", "body": "{{ parameters.x }}"}},
         "actions.send.command.body: parameters has no 'x'; expected no parameters: there are none"),
        ({"command": {"url": "x", "headers": {"X-A": "{{ x"}}}, "actions.send.command.headers.X-A: line 1: "),
        ({"command": {"url": "x", "headers": {"X A": "b"}}}, "command.headers: 'X A' is no name of a"),
        ({"command": {"url": "x", "headers": {"X-A": "b", "x-a": "c"}}}, "the header 'x-a' stands twice"),
        ({**SEND, "idempotency_header": "a b"}, "send.idempotency_header: 'a b' is no name of a header"),
        ({**SEND, "response": {"success_condition": "response.bdy == 1"}},
         "actions.send.response.success_condition: response has no attribute 'bdy' (did you mean 'body'?)"),
        ({**SEND, "response": {"retry_condition": "item.plan == 1"}},
         "actions.send.response.retry_condition: unknown name 'item'"),
        ({**SEND, "response": {"invocation_id": "{{ response.bdy }}"}},
         "actions.send.response.invocation_id: response has no 'bdy'"),
        ({**SEND, "response": {"error": {"code": "{{ x"}}}, "actions.send.response.error.code: line 1: "),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_mistake_in_an_action_is_told_with_its_path(fields: dict[str, Any], told: str):
    """Also an action that no segment uses is checked: it may be saved, and used tomorrow."""
    assert told in refusal(actions={"send": fields})
    other = told.replace("send.", "other.")
    assert other in refusal(actions={"send": SEND, "other": fields})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"recipient": "{{ x"}, "recipient.value: line 1: "),
        ({"recipient": "{{ parameters.x }}"}, "recipient.value"),
        ({"recipient": {"value": "x", "type": "phone", "region": "{{ x"}}, "recipient.region: line 1: "),
        ({"recipients": {"include": [{"items": []}], "exclude": [{"items": [], "recipient": "{{ x"}]}},
         "recipients.exclude[0].recipient: line 1: "),
    ],
)  # fmt: skip
def test_mistake_in_a_recipient_is_told_with_its_path(changes: dict[str, Any], told: str):
    """The templates that say who is written to, and who is not."""
    assert told in refusal(**changes)


def test_every_mistake_is_told_at_once():
    """Across segments and actions, and within one action."""
    with pytest.raises(InputErrors) as caught:
        make_campaign(
            segments=[{"name": "a", "action": "x"}, {"name": "b", "action": "send", "condition": "("}],
            actions={"send": {"command": {"url": "{{ a", "headers": {"X A": "b"}, "payload": "{{ b"}}},
            recipient="{{ c",
        )
    assert sorted(str(problem).split(": ")[0] for problem in caught.value.problems) == [
        "actions.send.command.headers",
        "actions.send.command.payload",
        "actions.send.command.url",
        "recipient.value",
        "segments[0].action",
        "segments[1].condition",
    ]


def test_required_parameter_must_be_given():
    """A parameter without a default is told where the segment does not give it."""
    told = refusal(actions={"send": {**SEND, "parameters": [{"name": "sender"}]}})
    assert told == "segments[0].parameters: the action 'send' needs the parameter 'sender'"


def test_constant_parameter_of_a_wrong_type_is_found_at_once():
    """What no item can change is wrong for every item."""
    told = refusal(
        segments=[{"name": "a", "action": "send", "parameters": {"count": "many"}}],
        actions={"send": {**SEND, "parameters": [{"name": "count", "type": "number"}]}},
    )
    assert told == "segments[0].parameters.count: the value is no number"


def test_attribute_that_no_list_has_is_told_with_the_nearest():
    """Once the lists are open, conditions are held against their attributes, all of them at once."""
    campaign = make_campaign(
        segments=[
            {"name": "a", "action": "send", "condition": "item.plann == 'gold'"},
            {"name": "b", "action": "send", "condition": "item.dayz > 1"},
        ]
    )
    with pytest.raises(InputErrors) as caught:
        campaign.check_attributes(["phone", "plan", "days"])
    assert str(caught.value).splitlines() == [
        "segments[0].condition: item has no attribute 'plann' (did you mean 'plan'?)",
        "segments[1].condition: item has no attribute 'dayz' (did you mean 'days'?)",
    ]
    campaign.check_attributes(["phone", "plann", "dayz"])


def test_saved_actions_become_part_of_the_job():
    """A run's snapshot is whole: every saved action is loaded once, and no other."""
    loaded: list[str] = []

    def load(reference: str) -> Action:
        loaded.append(reference)
        return Action(command=Command(url="https://saved.test"))

    names = ["http-action/a", "send", "http-action/a", "http-action/b"]
    job = make_job(
        segments=[{"name": str(index), "action": name} for index, name in enumerate(names)],
        actions={"send": SEND, "http-action/b": SEND},
    )
    resolved = resolve_actions(job, load=load)
    assert loaded == ["http-action/a"]
    assert set(resolved.actions) == {"send", "http-action/a", "http-action/b"}
    assert resolve_actions(resolved, load=load) == resolved


def test_saved_action_that_is_missing_ends_the_job():
    """The error of the one who looks is the one that is told."""

    def load(reference: str) -> Action:
        raise JobError(f"no block {reference} is saved")

    with pytest.raises(JobError, match="no block http-action/a is saved"):
        resolve_actions(make_job(segments=[{"name": "a", "action": "http-action/a"}]), load=load)


def test_values_are_the_segment_s_or_the_defaults_in_their_types():
    """Parameters render with the item, none falls back to the default."""
    parameters = [
        {"name": "sender", "default": "Clarion"},
        {"name": "count", "type": "number", "default": 1},
        {"name": "urgent", "type": "boolean", "default": False},
    ]
    given = {"sender": "{{ item.brand | default(none) }}", "count": "{{ item.count }}"}
    campaign = make_campaign(
        segments=[{"name": "a", "action": "send", "parameters": given}],
        actions={"send": {**SEND, "parameters": parameters}},
    )
    action, segment = campaign.actions["send"], campaign.segment("a")
    assert action.values(segment, {"item": {"count": "7"}}) == {
        "sender": "Clarion",
        "count": 7,
        "urgent": False,
    }
    assert action.values(segment, {"item": {"count": 2, "brand": "Acme"}})["sender"] == "Acme"
    with pytest.raises(RenderError, match=r"^parameters\.count: the value is no number$"):
        action.values(segment, {"item": {"count": "many"}})


def test_known_attributes_are_those_that_scopes_have():
    """What is checked when a job is loaded is what a run puts there."""
    from clarion.ledger.runs import RunRecord
    from clarion.sending.verdict import response_scope
    from tests.unit.campaigns import NOW

    campaign = make_campaign()
    assert tuple(job_scope(campaign)) == ATTRIBUTES["job"]
    fields = dict.fromkeys(RunRecord.__dataclass_fields__) | {"created_at": NOW}
    assert tuple(RunRecord(**fields).scope()) == ATTRIBUTES["run"]
    import httpx

    assert tuple(response_scope(httpx.Response(200))) == ATTRIBUTES["response"]


def test_action_without_a_body_has_none():
    """A call may consist of its URL."""
    action = make_action(command={"url": "https://api.test", "method": "GET"})
    assert (action.body_kind, action.body) == ("none", None)
