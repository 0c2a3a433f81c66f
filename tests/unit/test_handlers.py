"""Handlers: what they may say, and which events they react to."""

import datetime as dt
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.compiling import compile_job
from clarion.compiling_handlers import EVENT_ATTRIBUTES
from clarion.errors import InputError
from clarion.handlers import Occurrence, matching_handlers
from clarion.handling import event_scope
from clarion.jobfile import load_job
from clarion.ledger.attribution import AttributedEvent
from clarion.rendering import job_scope
from tests.unit.campaigns import job_data, make_campaign, make_job

NOW = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)
SEND = {
    "parameters": [{"name": "sender"}],
    "command": {
        "url": "https://api.test/messages",
        "payload": {
            "to": "{{ recipient }}",
            "from": "{{ parameters.sender }}",
            "text": "{{ template.message }}",
        },
    },
}
SEGMENT = {
    "name": "all",
    "action": "send",
    "parameters": {"sender": "Acme"},
    "template": {"message": "Hello {{ item.name }}"},
}
ANSWER = {
    "name": "answer",
    "condition": 'event.type == "recipient-response"',
    "action": "send",
    "template": {"message": "Thanks for {{ event.text }}"},
}


def job(*handlers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The data of a job with handlers."""
    return job_data(**{"segments": [SEGMENT], "actions": {"send": SEND}, "events": list(handlers)} | changes)


def refusal(*handlers: dict[str, Any], **changes: Any) -> str:
    """Why a job with these handlers is refused."""
    with pytest.raises(InputError) as caught:
        compile_job(make_job(**job(*handlers, **changes)))
    return str(caught.value)


def occurrence(event: dict[str, Any], **scopes: Any) -> Occurrence:
    """An event of the given attributes."""
    scopes = {"item": {}, "run_item": {}} | scopes
    return Occurrence(event=event, **scopes)


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (ANSWER | {"action": None}, "events[0]: takes one of action, unsubscribe, add_to_list"),
        (ANSWER | {"unsubscribe": "everything"}, "not action and unsubscribe"),
        (
            {"name": "out", "condition": "event.text", "unsubscribe": "job", "template": {"a": "b"}},
            "template goes with action",
        ),
        (
            {"name": "out", "condition": "event.text", "unsubscribe": "job", "windows": "respect"},
            "windows goes with action",
        ),
        (ANSWER | {"unsubscribe": "evrything", "action": None, "template": {}}, "did you mean 'everything'"),
        ({"name": "answer", "action": "send"}, "events[0].condition: is missing"),
        (
            {"name": "told", "condition": "event.text", "notify": {"block": "slack", "body": "x"}},
            "events[0].notify.block: 'slack' is no saved block",
        ),
    ],
)
def test_handler_that_says_too_much_or_too_little_is_refused(handler: dict[str, Any], told: str):
    """It has one reaction, and what goes with that."""
    given = {key: value for key, value in handler.items() if value is not None}
    assert told in refusal(given)


def test_two_handlers_of_one_name_are_refused():
    """A reaction is known by its event and its handler."""
    assert "two handlers are named 'answer'" in refusal(ANSWER, ANSWER)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"condition": 'event.txt == "a"'},
            "events[0].condition: event has no attribute 'txt' (did you mean 'text'?)",
        ),
        ({"condition": "run_item.stat == 1"}, "events[0].condition: run_item has no attribute 'stat'"),
        ({"condition": "run.id == 1"}, "events[0].condition: "),
        ({"action": "sned"}, "events[0].action: no action is named 'sned'"),
        (
            {"template": {"message": "{{ event.txt }}"}},
            "events[0].template.message: event has no 'txt'",
        ),
        ({"template": {"massage": "Hi"}}, "the action 'send' uses template.message"),
        (
            {"parameters": {"sendr": "x"}},
            "events[0].parameters.sendr: the action 'send' has no parameter 'sendr'",
        ),
        ({"recipient": "{{ event.reciient }}"}, "events[0].recipient.value: event has no 'reciient'"),
        ({"windows": "respect"}, "events[0].windows: goes with windows or holidays of the job"),
    ],
)
def test_mistakes_in_a_handler_are_found_with_the_job(changes: dict[str, Any], told: str):
    """With their place, before anything is sent."""
    assert told in refusal(ANSWER | changes)


def test_parameter_that_neither_handler_nor_segment_gives_is_told():
    """The action needs it, and one of the segments does not have it."""
    other = SEGMENT | {"name": "rest", "action": "plain", "parameters": {}}
    actions = {"send": SEND, "plain": {"command": SEND["command"] | {"payload": {"to": "{{ recipient }}"}}}}
    told = refusal(ANSWER, segments=[SEGMENT, other], actions=actions)
    assert "the action 'send' needs the parameter 'sender'" in told
    given = ANSWER | {"parameters": {"sender": "Desk"}}
    compile_job(make_job(**job(given, segments=[SEGMENT, other], actions=actions)))


def test_handler_inherits_the_parameters_of_the_segment_that_is_answered():
    """The same sender answers; what the handler gives itself goes before."""
    other = SEGMENT | {"name": "rest", "parameters": {"sender": "Other"}}
    campaign = make_campaign(**job(ANSWER, segments=[SEGMENT, other]))
    sending = campaign.handler("answer").sending
    senders = {name: each.parameters["sender"].render({}) for name, each in sending.items()}
    assert senders == {"all": "Acme", "rest": "Other"}
    own = make_campaign(**job(ANSWER | {"parameters": {"sender": "Desk"}}, segments=[SEGMENT, other]))
    sending = own.handler("answer").sending
    assert {each.parameters["sender"].render({}) for each in sending.values()} == {"Desk"}


def test_handler_by_the_channel_of_a_fallback_step_inherits_from_that_step():
    """An e-mail is answered by the sender of the e-mails, though the segment begins with a text message."""
    mail = {"parameters": [{"name": "sender"}], "command": {"url": "https://mail.test", "payload": {}}}
    step = {"action": "mail", "parameters": {"sender": "desk@acme.test"}}
    handler = {"name": "answer", "condition": ANSWER["condition"], "action": "mail"}
    campaign = make_campaign(
        **job(handler, segments=[SEGMENT | {"fallback": [step]}], actions={"send": SEND, "mail": mail})
    )
    assert campaign.handler("answer").sending["all"].parameters["sender"].render({}) == "desk@acme.test"


def test_channel_of_which_nobody_knows_is_refused():
    """Who is unsubscribed of a channel must have been written to by one."""
    told = refusal({"name": "out", "condition": "event.text == 1", "unsubscribe": "channel"})
    assert "events[0].unsubscribe.scope: the action 'send' (of segments[0]) has no channel" in told


def test_attributes_of_handlers_are_held_against_the_lists():
    """A condition or text that names what no list has is found before the run."""
    campaign = make_campaign(**job(ANSWER | {"condition": 'item.plam == "gold"'}))
    with pytest.raises(InputError, match="item has no attribute 'plam'"):
        campaign.check_attributes(["plan", "name", "phone"])


def test_event_scope_has_what_handlers_may_name():
    """No attribute that compiles is missing from an event, and none is there that does not compile."""
    required = [each.name for each in fields(AttributedEvent) if each.default is MISSING]
    given = {"id": 1, "uid": "u", "type": "click", "received_at": NOW, "data": {}}
    event = AttributedEvent(**{**dict.fromkeys(required), **given})
    scope = event_scope(event)
    assert scope.keys() == set(EVENT_ATTRIBUTES)
    assert (scope["id"], scope["occurred_at"]) == ("u", NOW.isoformat())


def test_text_of_a_handler_may_be_a_file(tmp_path: Path):
    """It is read with the job, relative to its folder, as the texts of segments are."""
    (tmp_path / "thanks.txt").write_text("Thanks for {{ event.text }}", encoding="utf-8")
    handler = ANSWER | {"template": {"message": {"file": "thanks.txt"}}}
    (tmp_path / "job.json").write_text(json.dumps(job(handler)), encoding="utf-8")
    campaign = compile_job(load_job(tmp_path / "job.json"))
    text = campaign.handler("answer").sending["all"].texts["message"]
    assert text.render_text({"event": {"text": "all"}}) == "Thanks for all"


ANSWERS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["recipient-response", "click", "conversion"]),
        "text": st.none() | st.sampled_from(["yes", "No", "YES!", ""]),
        "value": st.none() | st.sampled_from([0, 1.5, 20]),
        "data": st.sampled_from([{}, {"keyword": "YES"}, {"keyword": None}, {"tags": ["a"]}]),
    }
)
ITEMS = st.dictionaries(st.sampled_from(["plan", "age"]), st.sampled_from(["gold", "7", 7, None, True]))
RUN_ITEMS = st.fixed_dictionaries(
    {"segment": st.sampled_from(["all", "rest"]), "attempts": st.integers(0, 3)}
)
CONDITIONS = [
    'event.type == "recipient-response" and contains(lower(event.text), "yes")',
    'event.type == "click" or item.plan == "gold"',
    "event.value > 1",
    'event.data.keyword == "YES"',
    'run_item.segment == "rest" and run_item.attempts >= 2',
    "isnull(item.age)",
    'job.name == "greetings" and not event.text == "yes"',
    "item.age == 7",
]


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(ANSWERS, ITEMS, RUN_ITEMS), max_size=8),
    conditions=st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=4),
    matching=st.sampled_from(["first", "all"]),
)
def test_batch_is_judged_as_each_event_by_itself(
    rows: list[tuple[dict, dict, dict]], conditions: list[str], matching: str
):
    """Over whole columns, an event has the handlers that a plain look at it finds, in their order."""
    handlers = [
        {"name": f"h{number}", "condition": condition, "unsubscribe": "job"}
        for number, condition in enumerate(conditions)
    ]
    campaign = make_campaign(**job(*handlers, matching_handlers=matching))
    occurrences = [Occurrence(event=event, item=item, run_item=of) for event, item, of in rows]
    found = matching_handlers(campaign, occurrences, now=NOW)
    plain = []
    for each in occurrences:
        scopes = {
            "event": each.event, "item": each.item, "run_item": each.run_item, "job": job_scope(campaign)
        }  # fmt: skip
        hits = [handler for handler in campaign.handlers if handler.condition.holds(scopes, now=NOW)]
        plain.append(hits[:1] if matching == "first" else hits)
    assert [[each.name for each in hits] for hits in found] == [
        [each.name for each in hits] for hits in plain
    ]
