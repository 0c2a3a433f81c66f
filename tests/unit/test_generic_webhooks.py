"""Webhooks of any service: bearer tokens, HMACs, and the templates that read them."""

import base64
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from clarion.errors import InputError, JobError, TemplateError, UnverifiedError
from clarion.models.action import Action
from clarion.models.credential_kinds import WEBHOOK_CREDENTIALS, parse_credentials
from clarion.models.webhook_credentials import GenericWebhook
from clarion.receiving.endpoints import make_endpoint, open_endpoint
from clarion.receiving.generic import GenericMapping, GenericProvider
from tests.unit.webhook_signers import SECRET, request

MAPPING: dict[str, Any] = {
    "event": {
        "id": "{{ event.eventId }}",
        "invocation_id": "{{ event.message.id }}",
        "occurred_at": "{{ event.at }}",
        "client_ref": "{{ event.ref }}",
        "recipient": "{{ event.to }}",
    },
    "status": {"value": "{{ event.state }}"},
    "error": {"code": "{{ event.problem.code }}", "reason": "{{ event.problem.text }}"},
    "inbound": {
        "from": "{{ event.sender }}",
        "to": "{{ event.receiver }}",
        "text": "{{ event.content }}",
        "quoted_id": "{{ event.quoted }}",
    },
}


def provider(**fields: Any) -> GenericProvider:
    """A provider of credentials as a person gives them."""
    credentials = parse_credentials(GenericWebhook, fields, source="generic-webhook/test")
    mapping = credentials.response and GenericMapping(credentials.response, where="response")
    return GenericProvider(credentials, mapping=mapping)


def post(payload: Any, **headers: str) -> Any:
    """A request with a JSON body."""
    return request(json.dumps(payload).encode(), content_type="application/json", **headers)


def test_receipt_is_read_by_templates():
    """Every part stands where its template says."""
    payload = {
        "eventId": "e-1", "message": {"id": 4711}, "at": "2020-01-01T14:00:00Z", "ref": "item.0.0",
        "to": "+447700900000", "state": "failed", "problem": {"code": 30, "text": "no such number"},
    }  # fmt: skip
    [event] = provider(token=SECRET, response=MAPPING).events(post(payload), delivery="d")
    assert (event.type, event.provider_event_id, event.invocation_id) == (
        "action-call-info",
        "id:e-1:failed",
        "4711",
    )
    assert event.occurred_at == datetime(2020, 1, 1, 14, tzinfo=UTC)
    assert (event.recipient, event.client_ref, event.status) == ("+447700900000", "item.0.0", "failed")
    assert (event.error_code, event.error) == ("30", "no such number")
    assert event.data == payload


def test_message_is_read_by_templates():
    """A text from somebody is an answer; a list holds one event an entry."""
    payload = {"sender": "ann@test.example", "receiver": "us@test.example", "content": "Yes", "quoted": "m-1"}
    found = provider(token=SECRET, response=MAPPING).events(
        post([payload, {"state": "sent"}, {}]), delivery="d"
    )
    assert [event.type for event in found] == ["recipient-response", "action-call-info", "unknown"]
    assert (found[0].recipient, found[0].sender, found[0].text) == (
        "ann@test.example",
        "us@test.example",
        "Yes",
    )
    assert found[0].related_id == "m-1"
    assert len({event.provider_event_id for event in found}) == 3


def test_status_of_the_same_message_is_another_event():
    """A service that names the message, not the event, as the id loses no later status."""
    reads = provider(token=SECRET, response=MAPPING)
    ids = [
        reads.events(post({"eventId": "m", "state": state}), delivery="d")[0].provider_event_id
        for state in ("sent", "delivered", "sent")
    ]
    assert ids[0] == ids[2] != ids[1]


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_payload_is_some_event(payload: Any):
    """Whatever a service posts, the templates make an event of it or leave it unknown."""
    for reads in (provider(token=SECRET, response=MAPPING), provider(token=SECRET)):
        [event] = reads.events(post(payload), delivery="d")
        assert event.type in {"unknown", "recipient-response", "action-call-info"}


def test_mapping_of_an_action_reads_too():
    """The `response` of an action serves the endpoint; templates over a call's answer say nothing."""
    action = Action.model_validate(
        {
            "command": {"url": "https://api.test/send"},
            "response": {
                "event": {"invocation_id": "{{ event.id }}"},
                "status": {"value": "{{ event.status }}", "success_statuses": ["ok"]},
                "error": {"code": "{{ response.body.code }}", "reason": "{{ event.why }}"},
            },
        }
    )
    credentials = GenericWebhook(token=SecretStr(SECRET), action="http-action/send")
    endpoint = make_endpoint("crm", credentials, load_action=lambda _: action)
    [event] = endpoint.provider.events(post({"id": "m-1", "status": "ok", "why": "because"}), delivery="d")
    assert (event.invocation_id, event.status, event.error_code, event.error) == (
        "m-1",
        "ok",
        None,
        "because",
    )
    assert endpoint.path == "/webhooks/generic-webhook/crm"


@given(st.text(max_size=40).filter(lambda text: text not in {SECRET, "new"}))
def test_bearer_token_is_asked_for(token: str):
    """The token and the one before it; nothing else."""
    asks = provider(token="new", previous_token=SECRET)
    for known in ("new", SECRET):
        asks.verify(post({}, authorization=f"Bearer {known}"))
    with pytest.raises(UnverifiedError, match="check token"):
        asks.verify(post({}, authorization=f"Bearer {token}"))
    with pytest.raises(UnverifiedError, match="Authorization"):
        asks.verify(post({}))


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@given(data=st.data())
def test_hmac_of_the_body_is_asked_for(algorithm: str, data: st.DataObject):
    """In hexadecimal or base64, with the name of the hash or without; and no other body or signature."""
    asks = provider(secret=SECRET, algorithm=algorithm, header="X-Hub-Signature")
    body = b'{"state": "sent", "to": "447700900000"}'
    digest = hmac.new(SECRET.encode(), body, algorithm)
    hexadecimal, base = digest.hexdigest(), base64.b64encode(digest.digest()).decode()
    for signature in (hexadecimal, hexadecimal.upper(), f"{algorithm}={hexadecimal}", base):
        asks.verify(request(body, x_hub_signature=signature))
    index, byte = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 255))
    changed = body[:index] + bytes([byte]) + body[index + 1 :]
    place, letter = data.draw(st.integers(0, len(hexadecimal) - 1)), data.draw(st.characters())
    other = hexadecimal[:place] + letter + hexadecimal[place + 1 :]
    for each, signature in ((changed, hexadecimal), (body, other)):
        if (each, signature) == (body, hexadecimal):
            continue
        with pytest.raises(UnverifiedError, match="check secret and algorithm"):
            asks.verify(request(each, x_hub_signature=signature))


def test_get_is_no_proof_where_the_body_is_signed():
    """The parameters of a GET are not in its body: a signature of nothing would let all of them through."""
    asks = provider(secret=SECRET)
    signature = hmac.new(SECRET.encode(), b"", "sha256").hexdigest()
    with pytest.raises(UnverifiedError, match="GET"):
        asks.verify(request(b"", method="GET", query="state=sent", x_signature=signature))
    with pytest.raises(UnverifiedError, match="X-Signature"):
        asks.verify(request(b"", method="GET", query="state=sent"))


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""]
)
def test_signed_body_is_read_as_what_it_is(content_type: str):
    """The HMAC covers the body and not its Content-Type: JSON stays JSON, and a form a form."""
    reads = provider(secret=SECRET, response=MAPPING)
    for body in (
        b'{"sender": "ann", "content": "a&sender=bob&content=STOP&x="}',
        b"sender=ann&content=a%26sender%3Dbob%26content%3DSTOP%26x%3D",
    ):
        [event] = reads.events(request(body, content_type=content_type), delivery="d")
        assert (event.recipient, event.text) == ("ann", "a&sender=bob&content=STOP&x=")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"token": "a", "secret": "b"}, "secret"),
        ({"previous_token": "a"}, "previous_token"),
        ({"secret": "a", "algorithm": "md5"}, "algorithm"),
        ({"token": "a", "action": "send-sms"}, "action"),
        ({"token": "a", "action": "http-action/a", "response": {}}, "response"),
        ({"token": "a", "response": {"inbound": {"text": "{{ event.text }}"}}}, "inbound"),
        ({"token": "a", "header": "X Y"}, "header"),
    ],
)
def test_credentials_that_contradict_themselves_are_refused(fields: dict[str, Any], where: str):
    """Each mistake names its field, and no secret."""
    with pytest.raises(JobError, match=where):
        provider(**fields)


def test_template_that_does_not_parse_names_its_place():
    """At the start of the receiver, not with the first request."""
    credentials = GenericWebhook.model_validate({"response": {"status": {"value": "{{ event. }}"}}})
    with pytest.raises(TemplateError, match=r"generic-webhook/crm\.response\.status\.value"):
        make_endpoint("crm", credentials)
    with pytest.raises(InputError, match="item"):
        GenericMapping(
            GenericWebhook.model_validate({"response": {"status": {"value": "{{ item.a }}"}}}).response,
            where="x",
        )  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sorted(WEBHOOK_CREDENTIALS))
def test_open_endpoint_believes_everything(kind: str):
    """Whoever asks for an open endpoint gets one: no proof, and every event."""
    endpoint = open_endpoint(kind, "demo")
    assert endpoint.is_open
    assert endpoint.provider.verify(post({"a": 1})).token is None
    assert [event.type for event in endpoint.provider.events(post({"a": 1}), delivery="d")] == ["unknown"]
