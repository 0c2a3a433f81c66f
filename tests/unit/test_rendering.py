"""From an item to the HTTP request: bytes, headers and URL are exactly what was written."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.campaign import Campaign
from clarion.errors import RenderError
from clarion.jobfile import inline_templates
from clarion.rendering import render_request, request_scope
from tests.unit.campaigns import RUN, make_action, make_campaign, make_job

URL = "https://api.test/v1/messages"
ITEM = {"name": 'Zoë "Z" <b>', "plan": "gold", "days": 7, "tags": ["a", "b"], "rate": 1.5, "vip": True}
SCOPE: dict[str, Any] = {
    "item": ITEM,
    "recipient": "+447700900001",
    "job": {"name": "greetings", "description": None, "tags": []},
    "run": RUN,
    "run_item": {"id": "r1-1", "row": 1, "segment": "all"},
    "parameters": {},
    "template": {},
}


def request_of(
    scope: dict[str, Any] | None = None, *, against: str | None = None, **fields: Any
) -> httpx.Request:
    """The request of an action with these fields; other keys are those of its command."""
    own = {name: fields.pop(name) for name in ("idempotency_header", "timeout_seconds") if name in fields}
    action = make_action(command={"url": URL} | fields, **own)
    return render_request(
        action,
        SCOPE if scope is None else scope,
        idempotency_key="r1-1.0.0",
        against=None if against is None else httpx.URL(against),
    )


def test_payload_is_json_with_native_types():
    """A text that is one expression keeps its type; all else is text; nulls stay."""
    payload = {
        "to": "{{ recipient }}",
        "days": "{{ item.days }}",
        "rate": "{{ item.rate }}",
        "vip": "{{ item.vip }}",
        "tags": "{{ item.tags }}",
        "text": "{{ item.days }} days",
        "deep": [{"name": "{{ item.name }}"}, None, True, 5],
    }
    request = request_of(payload=payload)
    assert json.loads(request.content) == {
        "to": "+447700900001",
        "days": 7,
        "rate": 1.5,
        "vip": True,
        "tags": ["a", "b"],
        "text": "7 days",
        "deep": [{"name": 'Zoë "Z" <b>'}, None, True, 5],
    }
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.content))


def test_payload_is_utf8():
    """Characters go as they are."""
    assert request_of(payload="{{ item.name }}").content.decode() == '"Zoë \\"Z\\" <b>"'


def test_form_is_urlencoded():
    """Blanks, ampersands and accents survive; truth is `true`, none is nothing, a list is JSON."""
    form = {
        "to": "{{ recipient }}",
        "text": "a&b=c {{ item.name }}",
        "vip": "{{ item.vip }}",
        "rate": "{{ item.rate }}",
        "tags": "{{ item.tags }}",
        "none": "{{ item.missing | default(none) }}",
    }
    request = request_of(form=form)
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert dict(parse_qsl(request.content.decode(), keep_blank_values=True)) == {
        "to": "+447700900001",
        "text": 'a&b=c Zoë "Z" <b>',
        "vip": "true",
        "rate": "1.5",
        "tags": '["a","b"]',
        "none": "",
    }


def test_body_is_the_text_as_it_renders():
    """A body is sent as it is, in UTF-8, without a content type of our own."""
    request = request_of(body="<sms>{{ item.name }}</sms>\r\n")
    assert request.content == '<sms>Zoë "Z" <b></sms>\r\n'.encode()
    assert "content-type" not in request.headers


def test_request_without_a_body_has_none():
    """A GET is its URL and headers."""
    request = request_of(method="GET")
    assert (request.method, request.content) == ("GET", b"")
    assert "content-type" not in request.headers


def test_content_type_of_the_action_stands():
    """Who names a content type, in any case, gets that one alone."""
    request = request_of(payload={}, headers={"content-TYPE": "application/vnd.api+json"})
    assert request.headers.get_list("content-type") == ["application/vnd.api+json"]


@pytest.mark.parametrize(
    ("fields", "header", "value"),
    [
        ({}, "Idempotency-Key", "r1-1.0.0"),
        ({"idempotency_header": "X-Request-Id"}, "X-Request-Id", "r1-1.0.0"),
        ({"headers": {"idempotency-key": "{{ run_item.id }}"}}, "Idempotency-Key", "r1-1"),
    ],
)
def test_request_carries_its_idempotency_key(fields: dict[str, Any], header: str, value: str):
    """Under the name that the provider reads; an action that writes the header itself is left alone."""
    assert request_of(**fields).headers.get_list(header) == [value]


def test_request_without_idempotency_header_carries_no_key():
    """Null switches it off."""
    request = request_of(idempotency_header=None)
    assert "r1-1.0.0" not in str(request.headers.raw)


def test_headers_are_templates():
    """A header may name anything of the item."""
    request = request_of(
        headers={"X-Plan": "{{ item.plan }}/{{ item.days }}", "X-Campaign": "{{ job.name }}"}
    )
    assert (request.headers["x-plan"], request.headers["x-campaign"]) == ("gold/7", "greetings")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\x7f", "Łódź", "💥"])
def test_header_value_that_would_break_out_is_refused(value: str):
    """An item never writes a header of its own, and what no header can carry is never bent."""
    with pytest.raises(RenderError, match=r"^actions\.send\.command\.headers\.X-Name: the header's value"):
        request_of(SCOPE | {"item": {"name": value}}, headers={"X-Name": "{{ item.name }}"})


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "javascript:alert(1)", "ftp://host/x", "/v1/messages", "api.test/v1",
        "//host/x", "http://",
        "https:///x", "", "http://[::1", "http://host:port/", "http://a\nb/", "data:text/plain,x",
    ],
)  # fmt: skip
def test_url_that_is_not_absolute_http_is_refused(url: str):
    """An item decides where in a provider's API a call goes, never what kind of call it is."""
    with pytest.raises(RenderError, match=r"^actions\.send\.command\.url: renders to no ") as caught:
        request_of(SCOPE | {"item": {"url": url}}, url="{{ item.url }}")
    assert len(str(caught.value)) < 100


def test_url_keeps_path_and_query():
    """Unicode is encoded, what is encoded already stays."""
    request = request_of(url="HTTP://api.test:8080/a%2Fb/{{ item.name | urlencode }}?q=é&x=%20#f")
    assert str(request.url.copy_with(fragment=None)) == (
        "http://api.test:8080/a%2Fb/Zo%C3%AB%20%22Z%22%20%3Cb%3E?q=%C3%A9&x=%20"
    )


@pytest.mark.parametrize(
    ("against", "url"),
    [
        ("http://127.0.0.1:8099", "http://127.0.0.1:8099/v1/messages?a=b%20c"),
        ("http://127.0.0.1:8099/", "http://127.0.0.1:8099/v1/messages?a=b%20c"),
        ("http://127.0.0.1:8099/sink/", "http://127.0.0.1:8099/sink/v1/messages?a=b%20c"),
        ("https://sandbox.test/?x=1", "https://sandbox.test/v1/messages?a=b%20c"),
    ],
)
def test_rehearsal_goes_to_another_host_under_the_same_path(against: str, url: str):
    """Host and port are the rehearsal's, path and query the action's; nothing else changes."""
    fields = {
        "url": "https://user:secret@api.test:444/v1/messages?a=b%20c",
        "payload": {"to": "{{ recipient }}"},
    }
    real, rehearsed = request_of(**fields), request_of(**fields, against=against)
    assert str(rehearsed.url) == url
    assert rehearsed.content == real.content
    assert rehearsed.headers["host"] == httpx.URL(against).netloc.decode()


def test_request_has_the_action_s_time_out():
    """Every phase is bounded, in seconds."""
    timeout = request_of(timeout_seconds=2.5).extensions["timeout"]
    assert timeout == dict.fromkeys(("connect", "read", "write", "pool"), 2.5)


def test_item_that_lacks_an_attribute_is_a_render_error():
    """The error says where and what is missing, nothing of what the item holds."""
    with pytest.raises(RenderError) as caught:
        request_of(payload={"text": "{{ item.plann }}"})
    assert (
        str(caught.value) == "actions.send.command.payload.text: item has no 'plann' (did you mean 'plan'?)"
    )


def scope_of(campaign: Campaign, item: dict[str, Any]) -> dict[str, Any]:
    """The scope of one item in the campaign's first segment."""
    return request_scope(
        campaign,
        campaign.segments[0],
        item=item,
        recipient="+447700900001",
        run=RUN,
        run_item={"id": "r1-1", "row": 1, "segment": "all"},
    )


def texts(item: dict[str, Any], **template: Any) -> dict[str, str]:
    """The message texts of one item."""
    segment = {"name": "all", "action": "send", "template": template}
    return scope_of(make_campaign(segments=[segment]), item)["template"]


def test_texts_see_item_recipient_and_parameters():
    """Parameters render first, then the texts, then the request."""
    campaign = make_campaign(
        segments=[
            {
                "name": "all",
                "action": "send",
                "parameters": {"sender": "{{ item.brand }} via {{ job.name }}"},
                "template": {"message": "{{ parameters.sender }} to {{ recipient }}, row {{ run_item.row }}"},
            }
        ],
        actions={
            "send": {
                "parameters": [{"name": "sender"}],
                "command": {"url": URL, "payload": {"text": "{{ template.message }}!"}},
            }
        },
    )
    scope = scope_of(campaign, {"brand": "Acme"})
    request = render_request(campaign.actions["send"], scope, idempotency_key="k")
    assert json.loads(request.content) == {"text": "Acme via greetings to +447700900001, row 1!"}


def test_html_is_escaped_by_name():
    """What a customer calls themselves is no markup in an e-mail, and is itself in an SMS."""
    found = texts(ITEM, html="<p>{{ item.name }}</p>", message="{{ item.name }}")
    assert found == {"html": "<p>Zoë &#34;Z&#34; &lt;b&gt;</p>", "message": 'Zoë "Z" <b>'}


def test_html_is_escaped_by_file(tmp_path: Path):
    """A text from an HTML file is escaped under any name."""
    (tmp_path / "offer.html").write_text("<p>{{ item.name }}</p>")
    (tmp_path / "offer.txt").write_text("{{ item.name }}")
    template = {"body": {"file": "offer.html"}, "plain": {"file": "offer.txt"}}
    job = inline_templates(
        make_job(segments=[{"name": "all", "action": "send", "template": template}]), base=tmp_path
    )
    from clarion.compiling import compile_job

    found = scope_of(compile_job(job), ITEM)["template"]
    assert found == {"body": "<p>Zoë &#34;Z&#34; &lt;b&gt;</p>", "plain": 'Zoë "Z" <b>'}


@settings(deadline=None)
@given(
    value=st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.just("{{ 7*7 }}{% if 1 %}{#")
)
def test_item_values_are_never_rendered(value: str):
    """Whatever an item holds arrives as it is, through parameter, text and payload, never as a template."""
    campaign = make_campaign(
        segments=[
            {
                "name": "all",
                "action": "send",
                "parameters": {"sender": "{{ item.x }}"},
                "template": {"message": "{{ item.x }}"},
            }
        ],
        actions={
            "send": {
                "parameters": [{"name": "sender"}],
                "command": {
                    "url": URL,
                    "payload": ["{{ item.x }}", "{{ template.message }}", "{{ parameters.sender }}"],
                },
            }
        },
    )
    scope = scope_of(campaign, {"x": value})
    request = render_request(campaign.actions["send"], scope, idempotency_key="k")
    assert json.loads(request.content) == [value, value, value]
