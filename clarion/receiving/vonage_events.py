"""What Vonage's webhooks say: the Messages API (and its v0.1), the SMS API, the Voice API.

Which of them a payload is of is told by the names in it, so one endpoint serves them all.
"""

from collections.abc import Mapping
from typing import Any

from clarion.receiving.incoming import IncomingEvent
from clarion.receiving.reading import event_id, first, inner, long_text, text_of, time_of

SMS_ERRORS = {
    "1": "Unknown",
    "2": "Absent Subscriber - Temporary",
    "3": "Absent Subscriber - Permanent",
    "4": "Call Barred by User",
    "5": "Portability Error",
    "6": "Anti-Spam Rejection",
    "7": "Handset Busy",
    "8": "Network Error",
    "9": "Illegal Number",
    "10": "Illegal Message",
    "11": "Unroutable",
    "12": "Destination Unreachable",
    "13": "Subscriber Age Restriction",
    "14": "Number Blocked by Carrier",
    "15": "Prepaid Insufficient Funds",
    "99": "General Error",
}
"""What the codes of a receipt of the SMS API mean; it comes without words."""

_INBOUND_NAMES = ("message_type", "text", "message", "reply", "button")
_CALL_NAMES = ("uuid", "call_uuid", "conversation_uuid")


def vonage_event(data: dict[str, Any], *, delivery: str) -> IncomingEvent:
    """One payload as an event; `delivery` is the id of one that has none of its own."""
    if "msisdn" in data or "messageId" in data:
        return _sms(data, delivery=delivery)
    if text_of(data.get("status")) and "message_uuid" in data:
        return _message_receipt(data)
    if any(name in data for name in _INBOUND_NAMES):
        return _message(data, delivery=delivery)
    if any(name in data for name in _CALL_NAMES):
        return _call(data, delivery=delivery)
    return IncomingEvent(type="unknown", provider_event_id=delivery, data=data)


def _message_receipt(data: dict[str, Any]) -> IncomingEvent:
    uuid, status, code = text_of(data["message_uuid"]), text_of(data["status"]), _error_code(data)
    return IncomingEvent(
        type="action-call-info",
        provider_event_id=event_id("status", uuid, status, code),
        occurred_at=time_of(data.get("timestamp")),
        recipient=_address(data.get("to")),
        sender=_address(data.get("from")),
        invocation_id=uuid,
        client_ref=text_of(data.get("client_ref")),
        status=status,
        error_code=code,
        error=_error_reason(data),
        data=data,
    )


def _message(data: dict[str, Any], *, delivery: str) -> IncomingEvent:
    uuid = text_of(data.get("message_uuid"))
    return IncomingEvent(
        type="recipient-response",
        provider_event_id=event_id("inbound", uuid) if uuid else delivery,
        occurred_at=time_of(data.get("timestamp")),
        recipient=_address(data.get("from")),
        sender=_address(data.get("to")),
        related_id=text_of(inner(data, "context", "message_uuid")),
        client_ref=text_of(data.get("client_ref")),
        text=_message_text(data),
        data=data,
    )


def _message_text(data: Mapping[str, Any]) -> str | None:
    """What was written: also the title of a chosen button, or the caption of a picture."""
    kind = text_of(data.get("message_type")) or text_of(inner(data, "message", "content", "type")) or "text"
    places = (
        ("text",),
        ("reply", "title"),
        ("button", "text"),
        (kind, "caption"),
        ("message", "content", "text"),
    )
    return next((text for place in places if (text := long_text(inner(data, *place)))), None)


def _error_code(data: Mapping[str, Any]) -> str | None:
    """The number of an error: its title, or what follows the `#` of its type."""
    title = text_of(inner(data, "error", "title"))
    if title is not None and title.isdecimal():
        return title
    number = (text_of(inner(data, "error", "type")) or "").rpartition("#")[2]
    return (number if number.isdecimal() else None) or title or text_of(inner(data, "error", "code"))


def _error_reason(data: Mapping[str, Any]) -> str | None:
    places = ("detail", "details", "reason", "title")
    return next((text for name in places if (text := long_text(inner(data, "error", name)))), None)


def _sms(data: dict[str, Any], *, delivery: str) -> IncomingEvent:
    """The SMS API: what has a status is a receipt, anything else a message."""
    number, status = text_of(data.get("messageId")), text_of(data.get("status"))
    code = text_of(data.get("err-code"))
    failed = code is not None and code.strip("0") != ""
    parts = ("receipt", number, status, code) if status else ("sms", number)
    shared: dict[str, Any] = {
        "provider_event_id": event_id(*parts) if number else delivery,
        "occurred_at": time_of(data.get("message-timestamp")) or time_of(data.get("timestamp")),
        "recipient": _address(data.get("msisdn")),
        "sender": _address(data.get("to")),
        "client_ref": text_of(data.get("client-ref")),
        "data": data,
    }
    if not status:
        return IncomingEvent(type="recipient-response", text=long_text(data.get("text")), **shared)
    return IncomingEvent(
        type="action-call-info",
        invocation_id=number,
        status=status,
        error_code=code if failed else None,
        error=SMS_ERRORS.get(code or "") if failed else None,
        **shared,
    )


def _call(data: dict[str, Any], *, delivery: str) -> IncomingEvent:
    """The Voice API: what becomes of a call, and what the person called presses or says."""
    uuid, status, text = (
        first(data.get("uuid"), data.get("call_uuid")),
        text_of(data.get("status")),
        _said(data),
    )
    inbound = data.get("direction") == "inbound"
    shared: dict[str, Any] = {
        "provider_event_id": delivery,
        "occurred_at": time_of(data.get("timestamp")),
        "recipient": _address(data.get("from" if inbound else "to")),
        "sender": _address(data.get("to" if inbound else "from")),
        "invocation_id": uuid,
        "data": data,
    }
    if uuid and (status or text):
        shared["provider_event_id"] = event_id(
            "call", uuid, status or "input", text_of(data.get("timestamp"))
        )
    if text is not None:
        return IncomingEvent(type="recipient-response", text=text, **shared)
    if status is None:
        return IncomingEvent(type="unknown", **shared)
    reason = long_text(data.get("reason")) or long_text(data.get("detail"))
    return IncomingEvent(type="action-call-info", status=status, error=reason, **shared)


def _said(data: Mapping[str, Any]) -> str | None:
    """The keys that were pressed, or what was understood."""
    pressed = text_of(data.get("dtmf")) or text_of(inner(data, "dtmf", "digits"))
    results = inner(data, "speech", "results")
    best = results[0] if isinstance(results, list) and results else None
    return pressed or (long_text(best.get("text")) if isinstance(best, Mapping) else None)


def _address(value: Any) -> str | None:
    """A number or an id: bare, or as `{type, number}` in the older API."""
    if isinstance(value, Mapping):
        return first(value.get("number"), value.get("id"), value.get("user"))
    return text_of(value)
