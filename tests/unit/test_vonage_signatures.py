"""Vonage's signatures: what is signed is taken, and nothing that differs from it by a byte."""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import vonage_jwt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from clarion.errors import UnverifiedError
from clarion.models.webhook_credentials import VonageWebhook
from clarion.receiving.requests import WebhookRequest
from clarion.receiving.vonage import CLOCK_SKEW_SECONDS, VonageProvider
from tests.unit.webhook_payloads import SMS_INBOUND, VONAGE, as_body
from tests.unit.webhook_signers import (
    OTHER_SECRET,
    SECRET,
    request,
    signed_token,
    sms_parameters,
    vonage_request,
    vonage_token,
)

FORM = "application/x-www-form-urlencoded"
METHODS = ("md5hash", "md5", "sha1", "sha256", "sha512")
BODY = as_body(VONAGE["inbound-sms"])


def provider(secret: str = SECRET, **fields: Any) -> VonageProvider:
    """A provider with one signature secret."""
    return VonageProvider(VonageWebhook(signature_secret=SecretStr(secret), **fields))


def verdict(of: VonageProvider, given: WebhookRequest) -> str | None:
    """Why a request is refused; None where it is taken."""
    try:
        of.verify(given)
    except UnverifiedError as exc:
        return exc.message
    return None


@pytest.mark.parametrize("name", sorted(VONAGE))
def test_documented_payload_goes_through_signed(name: str):
    """Each documented payload, signed as Vonage's own library takes it, is taken and read."""
    token = vonage_token(as_body(VONAGE[name]), jti="a-token")
    assert vonage_jwt.verify_signature(token, SECRET)
    signed = vonage_request(as_body(VONAGE[name]), token=token)
    assert provider().verify(signed).token == "a-token"
    assert [event.data for event in provider().events(signed, delivery="d")] == [VONAGE[name]]


@given(st.data())
def test_any_changed_byte_is_refused(data: st.DataObject):
    """One other byte in the body, in the token or in the secret, and the request is nobody's."""
    name = data.draw(st.sampled_from(sorted(VONAGE)))
    body = as_body(VONAGE[name])
    signed = vonage_request(body)
    token = signed.headers["authorization"].removeprefix("Bearer ")
    other_body = _with_another_byte(data, body)
    other_token = _with_another_byte(data, token.encode()).decode("latin-1")
    other_secret = _with_another_byte(data, SECRET.encode()).decode("latin-1")
    assert verdict(provider(), signed) is None
    assert verdict(provider(), vonage_request(other_body, token=token))
    assert verdict(provider(), vonage_request(body, token=other_token))
    assert verdict(provider(other_secret), signed)


def _with_another_byte(data: st.DataObject, text: bytes) -> bytes:
    index = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != text[index]))
    return text[:index] + bytes([byte]) + text[index + 1 :]


def test_every_other_last_character_is_refused():
    """Decoders drop the last bits of base64: a text that only differs there is refused all the same."""
    token = vonage_token(BODY)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for each in [token[:-1] + letter for letter in alphabet if letter != token[-1]]:
        assert verdict(provider(), vonage_request(BODY, token=each))


JUNK = st.one_of(st.none(), st.text(max_size=20), st.integers(), st.lists(st.integers(), max_size=3))


@given(st.text(max_size=60), st.one_of(JUNK, st.dictionaries(st.sampled_from(["alg", "typ"]), JUNK)), JUNK)
def test_junk_for_a_token_is_refused(token: str, header: Any, claims: Any):
    """Rubbish, signed or not, is refused and never an error."""
    good = {"iat": int(time.time()), "jti": "j", "payload_hash": hashlib.sha256(BODY).hexdigest()}
    junk = [token, signed_token({"alg": "HS256"}, claims), signed_token({"alg": "HS256"}, good)[:-1]]
    if not isinstance(header, dict) or header.get("alg") != "HS256":
        junk.append(signed_token(header, good))
    for each in junk:
        assert verdict(provider(), vonage_request(BODY, token=each))


@pytest.mark.parametrize("algorithm", ["none", "None", "hs256", "HS384", "RS256", None])
def test_other_algorithms_are_refused(algorithm: str | None):
    """Only HS256, whatever the signature is: a token does not choose how it is verified."""
    claims = {"iat": int(time.time()), "jti": "j", "payload_hash": hashlib.sha256(BODY).hexdigest()}
    assert verdict(provider(), vonage_request(BODY, token=signed_token({"alg": "HS256"}, claims))) is None
    signed = signed_token({"alg": algorithm}, claims)
    for token in (signed, signed.rpartition(".")[0] + "."):
        assert verdict(provider(), vonage_request(BODY, token=token))


@pytest.mark.parametrize(
    ("seconds", "refused"),
    [
        (0, None),
        (290, None),
        (400, "max_age_seconds"),
        (86_400, "max_age_seconds"),
        (-30, None),
        (-120, "ahead"),
    ],
)
def test_age_of_a_request_is_bounded(seconds: int, refused: str | None):
    """A token is good for five minutes, and for a clock that is a minute ahead of ours."""
    assert CLOCK_SKEW_SECONDS == 60
    found = verdict(provider(), vonage_request(BODY, iat=int(time.time()) - seconds))
    assert (refused is None and found is None) or str(refused) in str(found)


def test_age_is_configurable():
    """Where retries carry the token of the first try, the bound can be a day."""
    old = vonage_request(BODY, iat=int(time.time()) - 80_000)
    assert verdict(provider(), old)
    assert verdict(provider(max_age_seconds=86_400), old) is None


@pytest.mark.parametrize("claim", ["iat", "jti", "payload_hash"])
@pytest.mark.parametrize("value", [None, "", "1", True, [], 1e400])
def test_claim_of_another_kind_is_refused(claim: str, value: Any):
    """Without a time, an id or the hash of the body a token proves too little."""
    if claim == "jti" and value == "1":
        return
    assert verdict(provider(), vonage_request(BODY, **{claim: value}))


def test_two_secrets_are_valid_while_one_is_rotated():
    """The new one and the previous one; no third, and no empty one."""
    rotating = provider(OTHER_SECRET, previous_signature_secret=SecretStr(SECRET))
    assert verdict(rotating, vonage_request(BODY, secret=OTHER_SECRET)) is None
    assert verdict(rotating, vonage_request(BODY)) is None
    assert "signature_secret" in str(verdict(rotating, vonage_request(BODY, secret="t" * 40)))
    claims = {"iat": int(time.time()), "jti": "j", "payload_hash": hashlib.sha256(BODY).hexdigest()}
    assert verdict(provider(), vonage_request(BODY, token=signed_token({"alg": "HS256"}, claims, secret="")))


def test_other_accounts_are_refused_where_one_is_named():
    """A signature secret may be shared by accounts; the claims say whose request it is."""
    only = {"api_key": "abcd1234", "application_id": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"}
    assert verdict(provider(**only), vonage_request(BODY)) is None
    for name in only:
        assert name in str(verdict(provider(**only), vonage_request(BODY, **{name: "another"})))


def test_request_without_a_token_says_what_to_check():
    """Nothing, or another scheme: the reason names the setting."""
    assert "dashboard" in str(verdict(provider(), request(BODY)))
    assert "dashboard" in str(verdict(provider(), request(BODY, authorization="Basic YTpi")))
    assert "sms_signature_method" in str(
        verdict(provider(), request(b"", method="GET", query=urlencode(sms_parameters(SMS_INBOUND))))
    )


@pytest.mark.parametrize("method", METHODS)
def test_sms_parameters_are_taken_by_every_method(method: Any):
    """The SMS API's own signature: GET, form and JSON; digits of either case."""
    by = provider(sms_signature_method=method)
    signed = sms_parameters(SMS_INBOUND, method=method)
    requests = [
        request(b"", method="GET", query=urlencode(signed)),
        request(urlencode(signed).encode(), content_type=FORM),
        request(json.dumps(signed).encode(), content_type="application/json"),
        request(b"", method="GET", query=urlencode({**signed, "sig": signed["sig"].upper()})),
    ]
    for each in requests:
        assert by.verify(each).token == SMS_INBOUND["nonce"]
        [event] = by.events(each, delivery="d")
        assert (event.type, event.text) == ("recipient-response", SMS_INBOUND["text"])


@given(st.data())
def test_changed_sms_parameter_is_refused(data: st.DataObject):
    """Another value of a parameter, another signature, or another method: refused.

    What Vonage signs has `_` for `&` and `=`, so that exchanging these in a text cannot be seen.
    """
    signed = sms_parameters(SMS_INBOUND)
    name = data.draw(st.sampled_from(sorted(signed)))
    text = st.text(st.characters(exclude_characters="&=_", exclude_categories=["Cs"]), max_size=40)
    value = data.draw(text.filter(lambda each: each != signed[name]))
    changed = request(b"", method="GET", query=urlencode({**signed, name: value}))
    assert verdict(provider(sms_signature_method="sha256"), changed)
    as_signed = request(b"", method="GET", query=urlencode(signed))
    assert verdict(provider(sms_signature_method="sha512"), as_signed)
    assert verdict(provider("another", sms_signature_method="sha256"), as_signed)


def test_sms_parameters_get_old():
    """The parameter `timestamp` is bounded as `iat` is."""
    signed = sms_parameters(SMS_INBOUND, timestamp=str(int(time.time()) - 1_000))
    refused = verdict(
        provider(sms_signature_method="sha256"), request(b"", method="GET", query=urlencode(signed))
    )
    assert "max_age_seconds" in str(refused)


def test_get_with_a_token_is_refused():
    """The token of a GET covers nothing that its query says: anybody could put another one behind it."""
    for token in (vonage_token(b""), vonage_token(b"", payload_hash=None)):
        bearer = f"Bearer {token}"
        for query in (SMS_INBOUND, sms_parameters(SMS_INBOUND)):
            given = request(b"", method="GET", query=urlencode(query), authorization=bearer)
            assert "GET" in str(verdict(provider(sms_signature_method="sha256"), given))


def test_token_is_for_json():
    """The hash covers the body and not its name: as a form it would be another message."""
    body = as_body({**VONAGE["inbound-sms"], "text": "hi&msisdn=447700900777&text=STOP&messageId=1"})
    bearer = f"Bearer {vonage_token(body)}"
    assert "form" in str(verdict(provider(), request(body, authorization=bearer, content_type=FORM)))
    for content_type in ("application/json; charset=utf-8", "text/plain", ""):
        given = request(body, authorization=bearer, content_type=content_type)
        assert verdict(provider(), given) is None
        assert provider().events(given, delivery="d")[0].recipient == VONAGE["inbound-sms"]["from"]


FORGED = {"msisdn": "447700900777", "to": "447700900999", "messageId": "F1", "text": "STOP"}
Change = Callable[[dict[str, Any]], Any]


def split(signed: dict[str, Any]) -> dict[str, Any]:
    """The same text to sign, with the end of a field and the nonce in a field's name."""
    rest = {name: value for name, value in signed.items() if name not in {"msisdn", "nonce"}}
    return {**rest, f"msisdn={signed['msisdn']}&nonce": signed["nonce"]}


CHANGES: dict[str, Change] = {
    "another entry": lambda signed: [signed, FORGED],
    "a list of one": lambda signed: [signed],
    "a field in a name": split,
    "a list as a value": lambda signed: {**signed, "text": [signed["text"]]},
    "an object beside": lambda signed: {**signed, "more": {"text": "STOP"}},
    "null beside": lambda signed: {**signed, "more": None},
    "a boolean beside": lambda signed: {**signed, "more": True},
    "a float beside": lambda signed: {**signed, "more": 1.5},
    "a list as sig": lambda signed: {**signed, "sig": ["x"]},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_sms_signature_is_of_one_flat_object(change: Change):
    """What `sig` does not cover is not taken along: another entry, a field in a field's name."""
    by = provider(sms_signature_method="sha256")
    signed = sms_parameters(SMS_INBOUND)  # signed now: it ages
    assert verdict(by, request(json.dumps(signed).encode())) is None
    assert verdict(by, request(json.dumps(change(signed)).encode()))


def test_sms_fields_that_come_twice_are_refused():
    """In a query and in a form: which of them was signed nobody can tell."""
    by = provider(sms_signature_method="sha256")
    twice = f"{urlencode(sms_parameters(SMS_INBOUND))}&text=STOP"
    assert verdict(by, request(b"", method="GET", query=twice))
    assert verdict(by, request(twice.encode(), content_type=FORM))


def test_sms_signature_has_one_token_in_every_spelling():
    """Digits of either case, and `_` and `&`, which the signature does not tell apart: one replay token."""
    by = provider(sms_signature_method="sha256")
    without = {name: value for name, value in SMS_INBOUND.items() if name != "nonce"}
    for fields in (without, {**SMS_INBOUND, "nonce": "a_b"}):
        signed = sms_parameters(fields)
        spelled = [signed, {**signed, "sig": signed["sig"].upper()}]
        spelled += [{**each, "nonce": "a&b"} for each in spelled if "nonce" in each]
        tokens = {by.verify(request(json.dumps(each).encode())).token for each in spelled}
        assert tokens == {signed.get("nonce", signed["sig"])}


@pytest.mark.parametrize("levels", [1, 200, 300, 1_000, 1_025, 100_000])
def test_depth_without_a_proof_is_refused(levels: int):
    """However deep a body is that nobody signed, the answer is no, and no error."""
    deep = "[" * levels + "]" * levels
    for body in (deep, "[" * levels, f'{{"sig": "x", "a": {deep}}}', '{"sig":' * levels):
        given = request(body.encode(), content_type="application/json")
        assert verdict(provider(sms_signature_method="sha256"), given)
