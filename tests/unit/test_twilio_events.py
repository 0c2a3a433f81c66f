"""Twilio: its documented requests, and their signature."""

import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from clarion.errors import UnverifiedError
from clarion.models.webhook_credentials import TwilioWebhook
from clarion.receiving.requests import WebhookRequest
from clarion.receiving.twilio import TwilioProvider, twilio_event
from tests.unit.webhook_payloads import TWILIO_CALL, TWILIO_INBOUND, TWILIO_STATUS
from tests.unit.webhook_signers import SECRET, URL, request, twilio_request, twilio_signature

FORM = "application/x-www-form-urlencoded"
PROVIDER = TwilioProvider(TwilioWebhook(auth_token=SecretStr(SECRET)))

DOCUMENTED_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
DOCUMENTED_TOKEN = "12345"
DOCUMENTED_FORM = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
DOCUMENTED_SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def documented(**changed: str) -> WebhookRequest:
    """The request of Twilio's document on security, with its signature."""
    return request(
        urlencode({**DOCUMENTED_FORM, **changed}).encode(),
        url="https://mycompany.com/myapp.php",
        query="foo=1&bar=2",
        content_type=FORM,
        x_twilio_signature=DOCUMENTED_SIGNATURE,
    )


def test_documented_signature_is_taken():
    """The example of Twilio's own document."""
    provider = TwilioProvider(TwilioWebhook(auth_token=SecretStr(DOCUMENTED_TOKEN)))
    assert provider.verify(documented()).token is None
    with pytest.raises(UnverifiedError, match="check auth_token, and --public-url"):
        provider.verify(documented(Digits="1235"))


def test_events_of_twilio():
    """A message, a receipt with an error, a call: the customer is always the recipient."""
    inbound = twilio_event(dict(TWILIO_INBOUND), delivery="d")
    assert (inbound.type, inbound.recipient, inbound.sender, inbound.text) == (
        "recipient-response", "+15017122661", "+15558675310", "Yes, please + more",
    )  # fmt: skip
    assert inbound.provider_event_id == "inbound:SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    status = twilio_event(dict(TWILIO_STATUS), delivery="d")
    assert (status.type, status.status, status.error_code, status.recipient, status.invocation_id) == (
        "action-call-info", "undelivered", "30003", "+15558675310", "SM2xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    )  # fmt: skip
    call = twilio_event(dict(TWILIO_CALL), delivery="d")
    assert (call.type, call.status, call.recipient) == ("action-call-info", "completed", "+15558675310")
    assert call.occurred_at == datetime(2025, 8, 15, 15, 52, 1, tzinfo=UTC)
    assert len({inbound.provider_event_id, status.provider_event_id, call.provider_event_id, "d"}) == 4


def test_events_of_twilio_that_answer():
    """What is quoted, pressed or said; and what nobody knows."""
    quoted = twilio_event({**TWILIO_INBOUND, "OriginalRepliedMessageSid": "SM9"}, delivery="d")
    assert quoted.related_id == "SM9"
    assert twilio_event({**TWILIO_CALL, "Digits": "1"}, delivery="d").text == "1"
    unknown = twilio_event({"EventType": "onUserAdded"}, delivery="d")
    assert (unknown.type, unknown.provider_event_id) == ("unknown", "d")


@pytest.mark.parametrize("form", [TWILIO_INBOUND, TWILIO_STATUS, TWILIO_CALL], ids=["in", "status", "call"])
def test_signed_form_is_taken_with_either_token(form: dict[str, str]):
    """While a token is rotated both are valid; a third one is not."""
    rotating = TwilioProvider(
        TwilioWebhook(auth_token=SecretStr("new-token"), previous_auth_token=SecretStr(SECRET))
    )
    for secret in ("new-token", SECRET):
        rotating.verify(twilio_request(form, secret=secret))
    with pytest.raises(UnverifiedError):
        rotating.verify(twilio_request(form, secret="third"))


@given(data=st.data())
def test_changed_field_is_refused(data: st.DataObject):
    """Whatever becomes of one field, of the URL or of the signature, it is no longer Twilio's request."""
    name = data.draw(st.sampled_from(sorted(TWILIO_INBOUND)))
    value = data.draw(st.text(max_size=20).filter(lambda text: text != TWILIO_INBOUND[name]))
    signed = twilio_request(TWILIO_INBOUND)
    changed = urlencode({**TWILIO_INBOUND, name: value}, errors="replace").encode()
    headers: dict[str, Any] = dict(signed.headers)
    with pytest.raises(UnverifiedError):
        PROVIDER.verify(request(changed, **headers))
    with pytest.raises(UnverifiedError):
        PROVIDER.verify(request(signed.body, url=f"{URL}/x", **headers))
    signature = signed.headers["x-twilio-signature"]
    index = data.draw(st.integers(0, len(signature) - 1))
    letter = data.draw(st.characters().filter(lambda each: each != signature[index]))
    headers["x-twilio-signature"] = signature[:index] + letter + signature[index + 1 :]
    with pytest.raises(UnverifiedError):
        PROVIDER.verify(request(signed.body, **headers))


def test_usual_port_may_be_signed_or_not():
    """Twilio signs the URL with the port of its scheme or without, as it was configured."""
    for url in (URL, URL.replace(".test", ".test:443")):
        signature = twilio_signature(url, TWILIO_INBOUND)
        body = urlencode(TWILIO_INBOUND).encode()
        PROVIDER.verify(request(body, content_type=FORM, x_twilio_signature=signature))
    signature = twilio_signature(URL.replace(".test", ".test:8443"), TWILIO_INBOUND)
    with pytest.raises(UnverifiedError):
        PROVIDER.verify(request(body, content_type=FORM, x_twilio_signature=signature))


def test_body_that_is_no_form_needs_its_hash():
    """A JSON body is signed by its hash in the query; without it anybody could put another one there."""
    body = b'{"property": "value", "boolean": true}'
    query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = twilio_signature(f"{URL}?{query}", {})
    PROVIDER.verify(request(body, query=query, content_type="application/json", x_twilio_signature=signature))
    for changed, told in ((body + b" ", query), (body, "")):
        signature = twilio_signature(f"{URL}?{told}" if told else URL, {})
        with pytest.raises(UnverifiedError, match="not signed"):
            PROVIDER.verify(
                request(changed, query=told, content_type="application/json", x_twilio_signature=signature)
            )


def test_missing_signature_is_refused():
    """A request without the header is nobody's."""
    with pytest.raises(UnverifiedError, match="X-Twilio-Signature"):
        PROVIDER.verify(request(b"Body=STOP", content_type=FORM))
