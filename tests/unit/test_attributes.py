"""What templates name is there: the texts that actions ask for, and the attributes of items."""

from typing import Any

import pytest

from clarion.errors import InputError, InputErrors
from clarion.templating import compile_value
from tests.unit.campaigns import make_campaign, make_reader, plan

CALL = {"url": "https://api.test", "payload": {"text": "{{ template.message }}"}}


def refusal(*, template: dict[str, str], command: dict[str, Any] | None = None) -> str:
    """Why a job whose segment has these texts does not compile."""
    with pytest.raises(InputError) as caught:
        make_campaign(
            segments=[{"name": "all", "action": "send", "template": template}],
            actions={"send": {"command": command or CALL}},
        )
    return str(caught.value)


def test_text_that_the_segment_does_not_give_is_refused_with_the_nearest():
    """A message name that is misspelt, here or there, is found before anything is read."""
    assert refusal(template={"mesage": "Hello"}) == (
        "segments[0].template: the action 'send' uses template.message "
        "(at actions.send.command.payload.text), which is not given here; "
        "expected one of mesage there, or message here (did you mean 'mesage'?)"
    )
    assert "expected message here" in refusal(template={})


def test_every_missing_text_is_told_once():
    """Also those of the URL and of the headers."""
    command = {
        "url": "https://api.test/{{ template.path }}",
        "headers": {"X-A": "{{ template.path }}{{ template.tag }}"},
        "body": "{{ template.tag }}",
    }
    told = refusal(template={"message": "x"}, command=command).splitlines()
    assert [line.split(" (at ")[1].split(")")[0] for line in told] == [
        "actions.send.command.url",
        "actions.send.command.headers.X-A",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{{ template.html | default('') }}",
        "{{ template['html'] | d(none) }}",
        "{% if template.html is defined %}{{ template.html }}{% endif %}",
        "{% if template.html is not none %}{{ template.html }}{% endif %}",
        "{% if 'html' in template %}{{ template.html }}{% endif %}",
    ],
)
def test_text_that_is_asked_for_may_be_missing(text: str):
    """An action that several segments share takes what each of them has."""
    make_campaign(actions={"send": {"command": {"url": "https://api.test", "payload": {"html": text}}}})


def campaign_with(text: str, **changes: Any) -> Any:
    """A campaign over one item with phone and plan, whose message is `text`."""
    return make_campaign(
        segments=[{"name": "all", "action": "send", "template": {"message": text}}],
        actions={"send": {"command": CALL}},
        **changes,
    )


@pytest.mark.parametrize(
    "text",
    [
        "{{ item.plam }}",
        "{{ item['plam'] | upper }}",
        "{{ item.phone | default(item.plam) }}",
        "{{ item.plam.name }}",
        "{% if item.plam == 'gold' %}x{% endif %}",
        "{{ item.other | default('') }}{{ item.plam }}",
    ],
)
def test_attribute_of_a_template_that_no_list_has_is_refused(text: str):
    """As in a condition, and told with its path and the nearest name."""
    with pytest.raises(InputError) as caught:
        campaign_with(text).check_attributes(["phone", "plan"])
    assert str(caught.value) == (
        "segments[0].template.message: no list has the attribute 'plam' (did you mean 'plan'?)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{{ item.nickname | default('x') }}",
        "{{ item.address.city | default('x') }}",
        "{{ (item.nickname or item.name) | default('x') }}",
        "{{ item.nickname if item.nickname is defined else 'x' }}",
        "{{ 'x' if item.nickname is undefined else item.nickname }}",
        "{% if 'nickname' not in item %}x{% else %}{{ item.nickname }}{% endif %}",
        "{{ item[parameters.column] | default('x') }}",
        "{{ item.plan }}",
    ],
)
def test_attribute_that_is_asked_for_may_be_in_no_list(text: str):
    """A default is given, or the template asks: nothing is misspelt there for certain."""
    segments = [
        {"name": "all", "action": "send", "parameters": {"column": "x"}, "template": {"message": text}}
    ]
    action = {"command": CALL, "parameters": [{"name": "column"}]}
    make_campaign(segments=segments, actions={"send": action}).check_attributes(["phone", "plan"])


def test_attributes_are_checked_wherever_items_are_rendered():
    """Region, parameters, URL, headers and answers; all are told at once, each with its own path."""
    campaign = make_campaign(
        recipient={"value": "{{ item.phone }}", "type": "phone", "region": "{{ item.a }}"},
        segments=[{"name": "all", "action": "send", "parameters": {"p": "{{ item.b }}"}}],
        actions={
            "send": {
                "parameters": [{"name": "p"}],
                "command": {"url": "https://{{ item.c }}", "headers": {"X-A": "{{ item.d }}"},
                            "form": {"f": "{{ item.e }}"}},
                "response": {"invocation_id": "{{ item.f }}"},
            },
            "unused": {"command": {"url": "https://{{ item.g }}"}},
        },
    )  # fmt: skip
    with pytest.raises(InputErrors) as caught:
        campaign.check_attributes(["phone"])
    assert [problem.where for problem in caught.value.problems] == [
        "recipient.region",
        "segments[0].parameters.p",
        "actions.send.command.url",
        "actions.send.command.headers.X-A",
        "actions.send.command.form.f",
        "actions.send.response.invocation_id",
    ]
    campaign.check_attributes(["phone", *"abcdef"])


def test_attribute_of_some_rows_is_an_attribute_of_the_list():
    """Rows of a list may differ; the header of a list without one is what any of its rows has."""
    items = [{"phone": "1"}, {"phone": "2", "plan": "gold"}]
    campaign = campaign_with("{{ item.plan }}", recipients={"include": [{"items": items}]})
    make_reader().check(campaign)
    assert [each.status for each in plan(campaign)] == ["pending", "pending"]
    with pytest.raises(InputError, match="no list has the attribute 'plan'"):
        make_reader().check(campaign_with("{{ item.plan }}"))


def test_place_of_a_required_attribute_is_that_of_its_text():
    """A payload has many texts; the first that needs the attribute is told."""
    payload = {"a": "{{ item.x | default(1) }}", "b": [{"c": "{{ item.x }}"}, "{{ item.x }}"]}
    compiled = compile_value(payload, where="payload", scopes=("item",))
    assert dict(compiled.required) == {("item", "x"): "payload.b[0].c"}
