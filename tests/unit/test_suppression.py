"""What a suppression is of, and what a plan makes of it."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from clarion.errors import InputError, SettingError
from clarion.planning import PlannedItem
from clarion.sources import ListReader
from clarion.suppression import Scopes, caused_by, check_scope, held_by, of_event, scope_of
from tests.unit.campaigns import SEND, make_campaign, make_reader, plan

ANN, BOB = "+447700900001", "+447700900002"


def test_scope_is_of_everything_a_channel_or_a_job():
    """One of them, never two."""
    assert (scope_of(), scope_of(channel="sms"), scope_of(job="a")) == ("", "channel:sms", "job:a")
    with pytest.raises(SettingError, match="one channel or of one job"):
        scope_of(channel="sms", job="a")


@pytest.mark.parametrize("scope", ["", "channel:sms", "job:a:b"])
def test_scope_is_taken_as_it_is_stored(scope: str):
    """As an export has it."""
    assert check_scope(scope) == scope


@pytest.mark.parametrize("scope", ["sms", "chanel:sms", "channel:", "job", ":"])
def test_scope_that_is_none_is_refused(scope: str):
    """It would hold nobody back."""
    with pytest.raises(InputError, match="is no scope"):
        check_scope(scope)


def test_scopes_hold_back_what_they_are_of():
    """Everything; the channel of the action; the job."""
    scopes = {"a": {"channel:sms": "x"}, "b": {"job:news": "y"}, "c": {"": "z", "job:news": "y"}}
    assert held_by(scopes, "a", job="news", channel="sms") == ["x"]
    assert held_by(scopes, "a", job="news", channel="email") == []
    assert held_by(scopes, "a", job="news", channel=None) == []
    assert held_by(scopes, "b", job="news", channel=None) == ["y"]
    assert held_by(scopes, "b", job="other", channel="sms") == []
    assert held_by(scopes, "c", job="news", channel="sms") == ["z", "y"]
    assert held_by(scopes, None, job="news", channel="sms") == []


def test_reason_tells_which_event_it_was():
    """That event alone."""
    assert caused_by(of_event("opt-out word", "u1"), "u1")
    assert not caused_by(of_event("opt-out word", "u1"), "u2")
    assert not caused_by("by hand", "u1")


def reader_of(scopes: Scopes) -> tuple[ListReader, list[list[str]]]:
    """A reader that knows these suppressions, and what it is asked."""
    asked: list[list[str]] = []

    def suppressions(recipients: Iterable[str]) -> Scopes:
        asked.append(list(recipients))
        return {each: scopes[each] for each in asked[-1] if each in scopes}

    reader = make_reader()
    reader.suppressions = suppressions
    return reader, asked


def people(*phones: str) -> dict[str, Any]:
    """A job's lists with these people, each with an address of their own."""
    items = [{"phone": phone, "email": f"p{n}@example.com"} for n, phone in enumerate(phones)]
    return {"include": [{"items": items}]}


def fate(item: PlannedItem) -> tuple[str, str | None, str | None]:
    """What a planned item is to become."""
    return item.status, item.reason, item.dedupe_key


def test_plan_leaves_out_who_is_suppressed():
    """Without a dedupe key, so that nobody is a duplicate of somebody who gets nothing; one look a frame."""
    reader, asked = reader_of({ANN: {"": "why"}})
    items = plan(make_campaign(recipients=people(ANN, BOB)), reader=reader)
    assert [fate(item) for item in items] == [("skipped", "suppressed", None), ("pending", None, BOB)]
    assert asked == [[ANN, BOB]]


def test_plan_tells_channels_and_jobs_apart():
    """A suppression of another channel or another job holds nobody back."""
    scopes = {ANN: {"channel:email": "why"}, BOB: {"job:others": "why"}}
    actions = {"send": SEND | {"channel": "sms"}}
    items = plan(make_campaign(recipients=people(ANN, BOB), actions=actions), reader=reader_of(scopes)[0])
    assert [item.status for item in items] == ["pending", "pending"]
    scopes = {ANN: {"channel:sms": "why"}, BOB: {"job:greetings": "why"}}
    items = plan(make_campaign(recipients=people(ANN, BOB), actions=actions), reader=reader_of(scopes)[0])
    assert [item.reason for item in items] == ["suppressed", "suppressed"]


def test_plan_passes_over_fallback_steps_to_who_is_suppressed():
    """For the step's own channel; excluded steps keep their reason."""
    steps = [{"action": "call"}, {"action": "mail", "recipient": "{{ item.email }}"}]
    campaign = make_campaign(
        recipients=people(ANN, BOB)
        | {"exclude": [{"items": [{"e": "p1@example.com"}], "recipient": "{{ item.e }}"}]},
        segments=[{"name": "all", "action": "send", "fallback": steps}],
        actions={name: SEND | {"channel": name} for name in ("send", "call", "mail")},
    )
    scopes = {ANN: {"channel:call": "why"}, "p0@example.com": {"": "why"}, "p1@example.com": {"": "why"}}
    reader, asked = reader_of(scopes)
    first, second = plan(campaign, reader=reader)
    assert (first.status, second.status) == ("pending", "pending")
    reasons = [[step[1] for step in orjson.loads(item.fallback or "")] for item in (first, second)]
    assert reasons == [["suppressed", "suppressed"], [None, "excluded"]]
    assert sorted(asked[0]) == sorted([ANN, BOB, ANN, "p0@example.com", BOB, "p1@example.com"])
