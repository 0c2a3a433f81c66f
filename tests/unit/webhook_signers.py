"""Signs requests as providers do, with nothing of what verifies them."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import Any
from urllib.parse import urlencode

import jwt

from clarion.receiving.requests import WebhookRequest

SECRET = "a-signature-secret-that-is-long-enough-for-every-algorithm-there-is"
OTHER_SECRET = "another-secret-that-is-long-enough-for-every-algorithm-there-may-be"
URL = "https://answers.test/webhooks/main"


def vonage_token(body: bytes, *, secret: str = SECRET, **claims: Any) -> str:
    """A token as Vonage makes it."""
    payload = {
        "iat": int(time.time()),
        "jti": str(uuid.uuid4()),
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": "abcd1234",
        "application_id": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
        **claims,
    }
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, secret, "HS256")


def signed_token(header: Any, claims: Any, *, secret: str = SECRET) -> str:
    """A token with any header and claims, signed with HMAC-SHA-256."""
    parts = [_base64url(json.dumps(part).encode()) for part in (header, claims)]
    return ".".join([*parts, _base64url(hmac.digest(secret.encode(), ".".join(parts).encode(), "sha256"))])


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def vonage_request(
    body: bytes, *, token: str | None = None, secret: str = SECRET, **claims: Any
) -> WebhookRequest:
    """A signed request of the Messages or Voice API."""
    token = vonage_token(body, secret=secret, **claims) if token is None else token
    return request(body, authorization=f"Bearer {token}", content_type="application/json")


def sms_parameters(
    parameters: dict[str, str], *, secret: str = SECRET, method: str = "sha256", **changed: str
) -> dict[str, str]:
    """The parameters of the SMS API with `sig`, as its document says it is made."""
    signed = {**parameters, "timestamp": str(int(time.time())), **changed}
    text = "".join(
        f"&{name}={value.replace('&', '_').replace('=', '_')}" for name, value in sorted(signed.items())
    )
    if method == "md5hash":
        sig = hashlib.md5((text + secret).encode(), usedforsecurity=False).hexdigest()
    else:
        sig = hmac.new(secret.encode(), text.encode(), method).hexdigest()
    return {**signed, "sig": sig}


def twilio_signature(url: str, form: dict[str, str], *, secret: str = SECRET) -> str:
    """`X-Twilio-Signature`, as its document says it is made."""
    text = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def twilio_request(form: dict[str, str], *, secret: str = SECRET, url: str = URL) -> WebhookRequest:
    """A signed request of Twilio."""
    return request(
        urlencode(form).encode(),
        url=url,
        content_type="application/x-www-form-urlencoded",
        **{"x-twilio-signature": twilio_signature(url, form, secret=secret)},
    )


def request(
    body: bytes, *, method: str = "POST", url: str = URL, query: str = "", **headers: str
) -> WebhookRequest:
    """A request; `content_type` stands for `content-type`."""
    return WebhookRequest(
        method=method,
        url=f"{url}?{query}" if query else url,
        query=query,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
    )
