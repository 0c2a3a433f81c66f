"""Vonage: whether a webhook is signed as its Messages, Voice and SMS APIs sign.

Messages and Voice: a JWT (HS256) with the hash of the raw body. SMS: a parameter `sig` over the others.
https://developer.vonage.com/en/getting-started/concepts/webhooks and .../signing-messages, November 2026.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from clarion.errors import UnverifiedError
from clarion.models.webhook_credentials import VonageWebhook
from clarion.receiving.incoming import IncomingEvent
from clarion.receiving.reading import FORM, event_id, number_of, objects, parameters
from clarion.receiving.requests import Proof, WebhookRequest
from clarion.receiving.signatures import hmac_base64url, hmac_digest, matches
from clarion.receiving.vonage_events import vonage_event

CLOCK_SKEW_SECONDS = 60
"""How far the signer's clock may be ahead of ours."""

_REPLACED = str.maketrans("&=", "__")


class VonageProvider:
    """Webhooks of Vonage.

    Args:
        credentials: The signature secrets; None believes everything (an open endpoint).
        clock: Seconds since 1970.
    """

    def __init__(self, credentials: VonageWebhook | None, *, clock: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self._clock = clock

    def verify(self, request: WebhookRequest) -> Proof:
        """As `Provider.verify`: by the JWT of the Authorization header, else by the parameter `sig`."""
        if self._credentials is None:
            return Proof()
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            _check_covered(request)
            return self._by_token(request, token.strip(), self._credentials)
        signed = _signed_parameters(request)
        if "sig" in signed:
            return self._by_parameter(signed, self._credentials)
        raise UnverifiedError(
            "has no Authorization: Bearer header; check that webhooks are signed (Vonage's dashboard)"
        )

    def events(self, request: WebhookRequest, *, delivery: str) -> Sequence[IncomingEvent]:
        """As `Provider.events`."""
        return [
            vonage_event(data, delivery=event_id(delivery, str(number)))
            for number, data in enumerate(objects(request))
        ]

    def _by_token(self, request: WebhookRequest, token: str, credentials: VonageWebhook) -> Proof:
        signed, _, signature = token.rpartition(".")
        expected = [hmac_base64url(secret, signed.encode()) for secret in credentials.secrets()]
        if not token.isascii() or not matches(signature, expected):
            raise UnverifiedError("has a wrong signature; check signature_secret")
        header, claims = (_segment(part) for part in (*signed.split("."), "", "")[:2])
        if header.get("alg") != "HS256":
            raise UnverifiedError("is signed by another method than HS256")
        self._check_age(claims.get("iat"), credentials, what="iat")
        self._check_account(claims, credentials)
        _check_body(request, claims.get("payload_hash"))
        return Proof(token=_identity(claims.get("jti"), what="jti"))

    def _by_parameter(self, parameters: Mapping[str, str], credentials: VonageWebhook) -> Proof:
        method = credentials.sms_signature_method
        if not method:
            raise UnverifiedError("is signed by the parameter sig; check sms_signature_method")
        text = "".join(
            f"&{name}={value.translate(_REPLACED)}"
            for name, value in sorted(parameters.items())
            if name != "sig"
        )
        expected = [_sms_signature(text.encode(), secret, method) for secret in credentials.secrets()]
        sig = parameters["sig"].lower()
        if not matches(sig, expected):
            raise UnverifiedError("has a wrong sig; check signature_secret and sms_signature_method")
        self._check_age(number_of(parameters.get("timestamp")), credentials, what="timestamp")
        # As it is signed: of all spellings that the signature covers there is one token.
        nonce = parameters.get("nonce", "").translate(_REPLACED)
        return Proof(token=_identity(nonce or sig, what="nonce"))

    def _check_age(self, signed_at: Any, credentials: VonageWebhook, *, what: str) -> None:
        if isinstance(signed_at, bool) or not isinstance(signed_at, int | float):
            raise UnverifiedError(f"does not say when it was signed ({what})")
        age = self._clock() - signed_at
        if age > credentials.max_age_seconds:
            raise UnverifiedError(f"was signed {age:,.0f} seconds ago; check max_age_seconds and the clock")
        if age < -CLOCK_SKEW_SECONDS:
            raise UnverifiedError(f"is signed {-age:,.0f} seconds ahead; check the clock")

    @staticmethod
    def _check_account(claims: Mapping[str, Any], credentials: VonageWebhook) -> None:
        for name in ("api_key", "application_id"):
            wanted = getattr(credentials, name)
            if wanted and claims.get(name) != wanted:
                raise UnverifiedError(f"is of another account; check {name}")


def _check_covered(request: WebhookRequest) -> None:
    """The token has the hash of a body, and that body is JSON."""
    if request.method == "GET":
        raise UnverifiedError("is a GET, whose parameters its token does not cover; have Vonage use POST")
    if request.content_type == FORM:
        raise UnverifiedError("has a token, which is for JSON, and calls itself a form")


def _check_body(request: WebhookRequest, payload_hash: Any) -> None:
    digest = hashlib.sha256(request.body).hexdigest()
    if not isinstance(payload_hash, str) or not matches(payload_hash, [digest]):
        raise UnverifiedError("has another body than the one that was signed (payload_hash)")


def _identity(token: Any, *, what: str) -> str:
    if not isinstance(token, str) or not token:
        raise UnverifiedError(f"has no {what}, so nobody could tell a replay")
    return event_id(token.encode("utf-8", "replace").decode().replace("\x00", ""))


def _segment(part: str) -> dict[str, Any]:
    """The JSON object of a part of a JWT."""
    try:
        value = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnverifiedError("has a token that is no JWT")
    return value


def _signed_parameters(request: WebhookRequest) -> dict[str, str]:
    """What the SMS API signs: the query of a GET, the form or the JSON object of a POST.

    Nothing where the signature would not cover all of it: a list has more entries than one, and a name with
    `&` or `=` in it reads as several.
    """
    try:
        found = parameters(request)
    except ValueError:
        return {}
    return {} if any(mark in name for name in found for mark in "&=") else found


def _sms_signature(text: bytes, secret: bytes, method: str) -> str:
    if method == "md5hash":
        return hashlib.md5(text + secret, usedforsecurity=False).hexdigest()
    return hmac_digest(secret, text, method).hex()
