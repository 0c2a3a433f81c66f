"""Twilio: `X-Twilio-Signature`, messages and their status callbacks, the status of calls.

https://www.twilio.com/docs/usage/security and /docs/messaging/guides/webhook-request, read in November 2026.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from clarion.errors import UnverifiedError
from clarion.models.webhook_credentials import TwilioWebhook
from clarion.receiving.incoming import IncomingEvent
from clarion.receiving.reading import FORM, event_id, first, long_text, objects, pairs, text_of, time_of
from clarion.receiving.requests import Proof, WebhookRequest
from clarion.receiving.signatures import hmac_digest, matches

_PORTS = {"https": 443, "http": 80}


class TwilioProvider:
    """Webhooks of Twilio.

    Args:
        credentials: The auth tokens; None believes everything (an open endpoint).
    """

    def __init__(self, credentials: TwilioWebhook | None) -> None:
        self._credentials = credentials

    def verify(self, request: WebhookRequest) -> Proof:
        """As `Provider.verify`: HMAC-SHA1 over the public URL and the sorted fields of the form."""
        if self._credentials is None:
            return Proof()
        signature = request.headers.get("x-twilio-signature")
        if not signature:
            raise UnverifiedError("has no X-Twilio-Signature")
        fields = _signed_fields(request)
        expected = [
            _signature(secret, url, fields)
            for secret in self._credentials.secrets()
            for url in _spellings(request.url)
        ]
        if not matches(signature, expected):
            raise UnverifiedError(
                f"has a wrong signature for {request.url.partition('?')[0]}; check auth_token, and"
                " --public-url where that is not the URL that Twilio calls"
            )
        return Proof()

    def events(self, request: WebhookRequest, *, delivery: str) -> Sequence[IncomingEvent]:
        """As `Provider.events`; what was signed as a form is read as one, whatever it looks like."""
        entries = objects(request, as_form=request.content_type == FORM)
        return [
            twilio_event(data, delivery=event_id(delivery, str(number)))
            for number, data in enumerate(entries)
        ]


def _signed_fields(request: WebhookRequest) -> list[tuple[str, str]]:
    """The fields that are signed beside the URL: those of a form; a body of another kind by its hash.

    Raises:
        UnverifiedError: The body is not signed.
    """
    if request.method == "GET":
        return []
    if request.content_type == FORM:
        try:
            return pairs(request.body.decode())
        except ValueError:
            raise UnverifiedError("has a form that cannot be read") from None
    hashes = parse_qs(request.query).get("bodySHA256", [])
    if not hashes or not matches(hashes[0], [hashlib.sha256(request.body).hexdigest()]):
        raise UnverifiedError("has a body that is no form and is not signed (bodySHA256)")
    return []


def _signature(secret: bytes, url: str, fields: Iterable[tuple[str, str]]) -> str:
    text = url + "".join(f"{name}{value}" for name, value in sorted(set(fields)))
    return base64.b64encode(hmac_digest(secret, text.encode("utf-8", "surrogatepass"), "sha1")).decode()


def _spellings(url: str) -> list[str]:
    """The URL without and with the port of its scheme: Twilio signs either."""
    parts = urlsplit(url)
    usual = _PORTS.get(parts.scheme)
    host = parts.netloc.removesuffix(f":{usual}")
    named = host if host.rpartition(":")[2].isdecimal() else f"{host}:{usual}"
    return list(dict.fromkeys(url.replace(f"//{parts.netloc}", f"//{each}", 1) for each in (host, named)))


def twilio_event(data: dict[str, Any], *, delivery: str) -> IncomingEvent:
    """One payload as an event; `delivery` is the id of one that has none of its own."""
    sid = first(data.get("MessageSid"), data.get("SmsSid"), data.get("SmsMessageSid"))
    status = first(data.get("MessageStatus"), data.get("SmsStatus"))
    if status not in {None, "received", "receiving"} and sid:
        return _receipt(data, sid=sid, status=str(status))
    if "Body" in data or status is not None:
        return _message(data, sid=sid, delivery=delivery)
    if "CallSid" in data:
        return _call(data, delivery=delivery)
    return IncomingEvent(type="unknown", provider_event_id=delivery, data=data)


def _message(data: dict[str, Any], *, sid: str | None, delivery: str) -> IncomingEvent:
    return IncomingEvent(
        type="recipient-response",
        provider_event_id=event_id("inbound", sid) if sid else delivery,
        recipient=text_of(data.get("From")),
        sender=text_of(data.get("To")),
        related_id=text_of(data.get("OriginalRepliedMessageSid")),
        text=long_text(data.get("Body")) or long_text(data.get("ButtonText")),
        data=data,
    )


def _receipt(data: dict[str, Any], *, sid: str, status: str) -> IncomingEvent:
    code = text_of(data.get("ErrorCode"))
    return IncomingEvent(
        type="action-call-info",
        provider_event_id=event_id("status", sid, status, code),
        occurred_at=time_of(data.get("Timestamp")),
        recipient=text_of(data.get("To")),
        sender=text_of(data.get("From")),
        invocation_id=sid,
        status=status,
        error_code=None if code == "0" else code,
        error=long_text(data.get("ErrorMessage")),
        data=data,
    )


def _call(data: dict[str, Any], *, delivery: str) -> IncomingEvent:
    sid, status = text_of(data["CallSid"]), text_of(data.get("CallStatus"))
    said = text_of(data.get("Digits")) or long_text(data.get("SpeechResult"))
    inbound = data.get("Direction") == "inbound"
    shared: dict[str, Any] = {
        "provider_event_id": delivery,
        "occurred_at": time_of(data.get("Timestamp")),
        "recipient": text_of(data.get("From" if inbound else "To")),
        "sender": text_of(data.get("To" if inbound else "From")),
        "invocation_id": sid,
        "data": data,
    }
    if said is not None:
        return IncomingEvent(type="recipient-response", text=said, **shared)
    if not sid or status is None:
        return IncomingEvent(type="unknown", **shared)
    shared["provider_event_id"] = event_id("call", sid, status, text_of(data.get("SequenceNumber")))
    return IncomingEvent(type="action-call-info", status=status, **shared)
