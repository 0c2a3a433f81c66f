"""Channel failover: the steps of a segment, whom they reach, and what an item that failed is tried with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from clarion.compiling import resolve_actions
from clarion.errors import InputError, PlanError
from clarion.fallback import next_steps, passed_over
from clarion.jobfile import load_job
from clarion.ledger.claims import ClaimedItem, Settlement
from clarion.models.action import Action, Command
from clarion.rendering import request_scope
from clarion.sending.decision import fail_over, unsendable
from tests.unit.campaigns import SEND, job_data, make_campaign, make_job, plan

MAIL = {
    "parameters": [{"name": "subject", "default": "News"}],
    "command": {
        "url": "https://mail.test",
        "payload": {
            "to": "{{ recipient }}",
            "html": "{{ template.html }}",
            "subject": "{{ parameters.subject }}",
        },
    },
}
TEXT = {
    "parameters": [{"name": "sender"}],
    "command": {"url": "https://sms.test", "payload": {"text": "{{ template.message }}"}},
}
BY_MAIL = {
    "action": "mail",
    "recipient": {"value": "{{ item.email }}", "type": "email"},
    "template": {"html": "<p>{{ item.email }}</p>"},
}
AGAIN = {"action": "call"}


def fallback_job(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Changes of a job: one segment that sends a text, and then these steps."""
    segment = {
        "name": "all",
        "action": "text",
        "parameters": {"sender": "Acme"},
        "template": {"message": "Hi {{ parameters.sender }}"},
        "fallback": list(steps),
    }
    return {
        "segments": [segment],
        "actions": {"text": TEXT, "mail": MAIL, "call": TEXT, "plain": SEND},
        "recipient": {"value": "{{ item.phone }}", "type": "phone"},
        "recipients": {"include": [{"items": [{"phone": "+447700900001", "email": "Ann@EXAMPLE.com"}]}]},
    } | changes


def steps_of(**changes: Any) -> Any:
    """The recorded steps of the first planned item."""
    return orjson.loads(plan(make_campaign(**changes))[0].fallback or "null")


def test_step_has_the_segment_s_parameters_and_texts_that_its_action_takes():
    """What it gives itself goes before; what its action does not declare or use stays behind."""
    campaign = make_campaign(**fallback_job(BY_MAIL, AGAIN, {**AGAIN, "parameters": {"sender": "Voice"}}))
    segment = campaign.segment("all")
    assert segment.at_step(0) is segment
    scopes = [
        request_scope(
            campaign, segment.at_step(step), item={"email": "a@b.c"}, recipient="r", run={}, run_item={}
        )
        for step in range(4)
    ]
    assert [scope["parameters"] for scope in scopes] == [
        {"sender": "Acme"},
        {"subject": "News"},
        {"sender": "Acme"},
        {"sender": "Voice"},
    ]
    assert [scope["template"] for scope in scopes] == [
        {"message": "Hi Acme"},
        {"html": "<p>a@b.c</p>"},
        {"message": "Hi Acme"},
        {"message": "Hi Voice"},
    ]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"action": "mial"}, "segments[0].fallback[0].action: no action is named 'mial'; expected one of"),
        ({"action": "mail"}, "segments[0].fallback[0].template: the action 'mail' uses template.html"),
        ({**BY_MAIL, "parameters": {"sbject": "x"}},
         "segments[0].fallback[0].parameters.sbject: the action 'mail' has no parameter 'sbject'"),
        ({**BY_MAIL, "recipient": "{{ itm.email }}"}, "segments[0].fallback[0].recipient.value: line 1: "),
        ({**BY_MAIL, "template": {"html": "{{ x"}}, "segments[0].fallback[0].template.html: line 1: "),
        ({**BY_MAIL, "condition": "item.x"}, "segments[0].fallback[0].condition: unknown key; expected "),
    ],
)  # fmt: skip
def test_mistake_in_a_step_is_told_with_its_path(step: dict[str, Any], told: str):
    """Steps are checked as segments are, when the job is loaded."""
    with pytest.raises(InputError) as caught:
        make_campaign(**fallback_job(step))
    assert told in str(caught.value)


def test_attribute_of_a_step_that_no_list_has_is_refused():
    """A misspelt address would pass everybody over."""
    step = {**BY_MAIL, "recipient": "{{ item.emial }}"}
    with pytest.raises(InputError) as caught:
        plan(make_campaign(**fallback_job(step)))
    assert str(caught.value) == (
        "segments[0].fallback[0].recipient.value: no list has the attribute 'emial' (did you mean 'email'?)"
    )


def test_plan_finds_the_recipients_of_all_steps():
    """By each step's own rule, else the item's own; what cannot be read is passed over with the reason."""
    assert steps_of(**fallback_job(BY_MAIL, AGAIN)) == [
        ["Ann@example.com", None, None],
        ["+447700900001", None, None],
    ]
    people = {"include": [{"items": [{"phone": "+447700900001", "email": "ann"}]}]}
    assert steps_of(**fallback_job(BY_MAIL, recipients=people)) == [[None, "invalid-recipient", None]]
    people = {
        "include": [{"items": [{"phone": "+447700900001"}, {"phone": "+447700900002", "email": "b@c.de"}]}]
    }
    assert steps_of(**fallback_job(BY_MAIL, recipients=people)) == [[None, "invalid-recipient", None]]
    assert steps_of(**fallback_job()) is None


def test_exclude_lists_hold_for_the_recipients_of_steps():
    """An entry is read as the job's recipients are, or as those of a step, where addresses exclude."""
    lists = {
        "include": [{"items": [{"phone": "+447700900001", "email": "ann@example.com"},
                               {"phone": "+447700900002", "email": "bob@example.com"}]}],
        "exclude": [{"items": [{"who": "bob@EXAMPLE.com"}, {"who": "07700 900003"}],
                     "recipient": "{{ item.who }}"}],
    }  # fmt: skip
    recipient = {"value": "{{ item.phone }}", "type": "phone", "region": "GB"}
    planned = plan(make_campaign(**fallback_job(BY_MAIL, AGAIN, recipients=lists, recipient=recipient)))
    assert [orjson.loads(each.fallback or "") for each in planned] == [
        [["ann@example.com", None, None], ["+447700900001", None, None]],
        [["bob@example.com", "excluded", None], ["+447700900002", None, None]],
    ]
    lists["exclude"][0]["items"].append({"who": "nobody"})
    with pytest.raises(PlanError, match="what cannot be read cannot be excluded"):
        plan(make_campaign(**fallback_job(BY_MAIL, recipients=lists, recipient=recipient)))
    as_text = {"action": "call", "recipient": "{{ item.email }}"}
    with pytest.raises(PlanError, match="what cannot be read cannot be excluded"):
        plan(make_campaign(**fallback_job(as_text, recipients=lists, recipient=recipient)))


def test_limit_keys_of_a_step_are_those_of_its_action():
    """A step is paced as its own action is: by its parameters and its recipient."""
    limited = {**MAIL, "limits": [{"name": "host", "key": "{{ recipient }}", "tps": 1}]}
    actions = {"text": TEXT, "mail": limited}
    assert steps_of(**fallback_job(BY_MAIL, actions=actions)) == [
        ["Ann@example.com", None, '["Ann@example.com"]'],
    ]


def test_next_steps_are_those_that_can_be_used_in_order():
    """From the item's own step on; under matching all the same recipient in two segments is two things."""
    record = (
        '[["a@b.c",null,"[1]"],[null,"invalid-recipient",null],["+44","excluded",null],["+45",null,null]]'
    )
    steps = (BY_MAIL, AGAIN, AGAIN, AGAIN)
    campaign = make_campaign(**fallback_job(*steps))
    found = next_steps(campaign, segment="all", step=0, record=record)
    assert [(each.step, each.action, each.recipient, each.dedupe_key, each.limit_keys) for each in found] == [
        (1, "mail", "a@b.c", "a@b.c", "[1]"),
        (4, "call", "+45", "+45", None),
    ]
    assert [each.step for each in next_steps(campaign, segment="all", step=1, record=record)] == [4]
    assert next_steps(campaign, segment="all", step=4, record=record) == ()
    assert next_steps(campaign, segment="all", step=0, record=None) == ()
    found = next_steps(
        make_campaign(**fallback_job(*steps, matching="all")), segment="all", step=0, record=record
    )
    assert [each.dedupe_key for each in found] == ["all\x1fa@b.c", "all\x1f+45"]


def test_record_keeps_why_a_step_was_passed_over():
    """The step's number counts from 1, as the item's does."""
    assert passed_over('[["a",null,null],["b",null,null]]', 2, "duplicate") == (
        '[["a",null,null],["b","duplicate",null]]'
    )


ITEM = ClaimedItem(
    id=1, row=1, segment="all", action="text", recipient="+44", item="{}", step=0, epoch=0, attempts=0,
    fallback='[["a@b.c",null,null]]',
)  # fmt: skip


@pytest.mark.parametrize("status", ["succeeded", "unknown", "pending", "skipped"])
def test_only_what_failed_for_good_is_tried_with_the_next_step(status: str):
    """Never after an unknown outcome: somebody may have heard from us."""
    settled = Settlement(item=ITEM, status=status, attempts=1, epoch=0)
    assert fail_over(settled, campaign=make_campaign(**fallback_job(BY_MAIL))) is settled


@pytest.mark.parametrize("reason", ["refused", "retries-exhausted"])
def test_item_that_failed_gets_its_next_steps(reason: str):
    """Whether it was refused or out of tries; without a fallback it stays as it is."""
    campaign = make_campaign(**fallback_job(BY_MAIL))
    failed = Settlement(item=ITEM, status="failed", reason=reason, attempts=1, epoch=0)
    assert [each.recipient for each in fail_over(failed, campaign=campaign).fallback] == ["a@b.c"]
    plain = replace(failed, item=ITEM._replace(fallback=None))
    assert fail_over(plain, campaign=campaign) is plain


def test_item_fails_for_good_where_only_undelivered_messages_go_on():
    """`fallback_on: [undelivered]`: what the provider refuses is no reason for another channel."""
    data = fallback_job(BY_MAIL)
    data["segments"][0]["fallback_on"] = ["undelivered"]
    failed = Settlement(item=ITEM, status="failed", reason="refused", attempts=1, epoch=0)
    assert fail_over(failed, campaign=make_campaign(**data)) is failed


def test_step_whose_request_cannot_be_made_is_followed_by_the_next():
    """At the segment's own action nothing was sent, and the item is skipped as ever."""
    campaign = make_campaign(**fallback_job(BY_MAIL, AGAIN))
    item = ITEM._replace(step=1, fallback='[["a@b.c",null,null],["+44",null,null]]')
    assert [each.step for each in fail_over(unsendable(item, "no"), campaign=campaign).fallback] == [2]
    assert fail_over(unsendable(item._replace(step=0), "no"), campaign=campaign).status == "skipped"


def test_saved_actions_of_steps_become_part_of_the_job():
    """A run's snapshot is whole: also what may never be used is in it."""
    job = make_job(**fallback_job({"action": "http-action/call", "template": {"message": "x"}}))
    resolved = resolve_actions(job, load=lambda _: Action(command=Command(url="https://saved.test")))
    assert "http-action/call" in resolved.actions


def test_text_of_a_step_is_read_from_its_file(tmp_path: Path):
    """Relative to the job file, as the segment's own; a missing one is told with its path."""
    step = {**BY_MAIL, "template": {"html": {"file": "offer.html"}}}
    path = tmp_path / "job.json"
    path.write_bytes(orjson.dumps(job_data(**fallback_job(step))))
    with pytest.raises(InputError, match=r"segments\[0\]\.fallback\[0\]\.template\.html"):
        load_job(path)
    (tmp_path / "offer.html").write_text("<p>{{ item.email }}</p>")
    text = load_job(path).segments[0].fallback[0].template["html"]
    assert (text.text, text.file) == ("<p>{{ item.email }}</p>", "offer.html")
