"""Status and inbound webhooks of the Vonage Messages API, as its documents have them, signed as it signs."""

import base64
import hashlib
import hmac
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from clarion.sandbox.message import Answer, Request

REJECTED_CODE = "1300"
REJECTED_WORDS = "Not part of the provider network"
_ERRORS = "https://developer.vonage.com/api-errors/messages"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message that was accepted."""

    uuid: str
    recipient: str
    sender: str
    text: str
    channel: str
    client_ref: str | None


def message_of(request: Request, recipient: str, answer: Answer | None) -> Message:
    """The message of a request; one whose answer was lost has an id that the sender never learns."""
    fields, told = request.fields, orjson.loads(answer.body) if answer else {}
    reference = fields.get("client_ref")
    return Message(
        uuid=str(told.get("message_uuid") or uuid.uuid4()),
        recipient=recipient,
        sender=str(fields.get("from") or ""),
        text=str(fields.get("text") or ""),
        channel=str(fields.get("channel") or "sms"),
        client_ref=None if reference is None else str(reference),
    )


def status_of(message: Message, *, delivered: bool) -> bytes:
    """The status webhook of a message, as JSON."""
    error = {
        "type": f"{_ERRORS}#{REJECTED_CODE}",
        "title": REJECTED_CODE,
        "detail": REJECTED_WORDS,
        "instance": uuid.uuid4().hex,
    }
    content = {
        "message_uuid": message.uuid,
        "to": message.recipient,
        "from": message.sender,
        "timestamp": _now(),
        "status": "delivered" if delivered else "rejected",
        **({} if delivered else {"error": error}),
        **({} if message.client_ref is None else {"client_ref": message.client_ref}),
        "usage": {"currency": "EUR", "price": "0.0333"},
        "channel": message.channel,
        **({"destination": {"network_code": "12345"}} if message.channel == "sms" else {}),
    }
    return orjson.dumps(content)


def reply_to(message: Message, text: str) -> bytes:
    """The inbound webhook of an answer to a message, as JSON. An SMS does not say what it answers."""
    content: dict[str, Any] = {
        "channel": message.channel,
        "message_uuid": str(uuid.uuid4()),
        "to": message.sender,
        "from": message.recipient,
        "timestamp": _now(),
        "message_type": "text",
        "text": text,
    }
    if message.channel == "sms":
        words = text.upper().split()
        content |= {
            "sms": {"num_messages": "1", "keyword": words[0] if words else ""},
            "origin": {"network_code": "12345"},
        }
    else:
        content["context"] = {"message_uuid": message.uuid, "message_from": message.sender}
    return orjson.dumps(content)


def authorization(body: bytes, *, secret: str) -> str:
    """The header of a webhook: a token signed with the account's secret, over the hash of the raw body."""
    claims = {
        "iat": int(time.time()),
        "jti": str(uuid.uuid4()),
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": "sandbox",
        "application_id": str(uuid.UUID(int=0)),
    }
    return f"Bearer {_token(claims, secret=secret)}"


def _token(claims: dict[str, Any], *, secret: str) -> str:
    """A JWT (HS256, RFC 7519). By hand, as the library warns of every secret as short as Vonage's may be."""
    parts = [_encoded(orjson.dumps(each)) for each in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signature = hmac.digest(secret.encode(), ".".join(parts).encode(), "sha256")
    return ".".join([*parts, _encoded(signature)])


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
