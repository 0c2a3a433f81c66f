"""Credentials as models: strict, silent about their secrets, ready for a rehearsal."""

import pickle
import traceback
from urllib.parse import quote, quote_plus

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from clarion.errors import InputError, InputErrors, JobError
from clarion.models.credential_kinds import CREDENTIALS, dummy_credentials, parse_credentials, split_reference
from clarion.models.credentials import (
    MASK,
    ApiKey,
    BasicAuth,
    BearerToken,
    Credentials,
    VonageApplication,
    WebhookUrl,
)

SECRET = "s3cret-value-42"


def samples() -> list[Credentials]:
    """One of each kind, and an API key in each of its places."""
    return [
        BearerToken(token=SECRET),
        BasicAuth(username="acme", password=SECRET),
        ApiKey(fields={"X-Api-Key": SECRET}),
        ApiKey(fields={"api_key": SECRET, "api_secret": f"{SECRET}-2"}, location="query"),
        ApiKey(fields={"api_key": SECRET, "api_secret": f"{SECRET}-2"}, location="body"),
        VonageApplication.dummy(),
        WebhookUrl(url=f"https://x.test/services/T1/{SECRET}?sig={SECRET}-2"),
    ]


def raw_secrets(credentials: Credentials) -> list[str]:
    """The values of the secret fields, read off the model itself."""
    values = [getattr(credentials, name) for name in type(credentials).model_fields]
    flat = [each for value in values for each in (value.values() if isinstance(value, dict) else [value])]
    return [each.get_secret_value() for each in flat if isinstance(each, SecretStr)]


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, password: bytes | None = None) -> str:
    """The key in PKCS #8, with a password or without."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@pytest.mark.parametrize("credentials", samples(), ids=lambda each: each.kind)
def test_credentials_show_no_secret_as_text(credentials: Credentials):
    """Neither repr, str, a format nor a dump holds a secret."""
    shown = f"{credentials!r} {credentials!s} {credentials.model_dump()} {credentials.model_dump_json()}"
    assert raw_secrets(credentials)
    for secret in raw_secrets(credentials):
        assert secret not in shown


@pytest.mark.parametrize("credentials", samples(), ids=lambda each: each.kind)
def test_credentials_survive_a_process_border(credentials: Credentials):
    """Worker processes get credentials pickled, with the secrets that they need."""
    assert pickle.loads(pickle.dumps(credentials)) == credentials  # noqa: S301  # our own bytes


@pytest.mark.parametrize("credentials", samples(), ids=lambda each: each.kind)
def test_credentials_refuse_unknown_keys_and_changes(credentials: Credentials):
    """A typing error in a key is an error, and what is made stays as it is."""
    fields = {name: getattr(credentials, name) for name in type(credentials).model_fields}
    with pytest.raises(ValidationError, match="extra_forbidden"):
        type(credentials).model_validate({**fields, "tokn": SECRET})
    with pytest.raises(ValidationError, match="frozen_instance"):
        setattr(credentials, next(iter(fields)), "other")


@pytest.mark.parametrize("credentials", samples(), ids=lambda each: each.kind)
def test_masked_auth_shows_the_places_and_no_secret(credentials: Credentials):
    """A preview shows where the credentials go, with stars for them."""
    request = credentials.masked_auth().apply(httpx.Request("POST", "https://x.test/a?b=c", json={"d": 1}))
    shown = f"{request.url} {request.headers.multi_items()} {request.content.decode()}"
    assert quote_plus(MASK) in shown or MASK in shown
    for secret in raw_secrets(credentials):
        assert secret not in shown


def test_masked_auth_keeps_the_scheme():
    """The word before the secret is no secret."""
    for credentials, shown in ((BearerToken.dummy(), "Bearer ****"), (BasicAuth.dummy(), "Basic ****")):
        request = credentials.masked_auth().apply(httpx.Request("GET", "http://x.test/"))
        assert request.headers["Authorization"] == shown


@pytest.mark.parametrize("credentials", samples(), ids=lambda each: each.kind)
def test_mask_hides_everything_that_was_sent(credentials: Credentials):
    """An answer that echoes the request, as test servers do, can be logged after masking."""
    bare = httpx.Request("POST", "https://x.test/a?b=c", json={"d": 1})
    sent = credentials.auth().apply(httpx.Request("POST", "https://x.test/a?b=c", json={"d": 1}))
    masked = credentials.mask(f"{sent.url} {dict(sent.headers)} {sent.content.decode()}")
    added = sent.headers.get("Authorization", "").partition(" ")[2]
    assert MASK in masked
    assert f"{bare.url}" in masked or isinstance(credentials, WebhookUrl)  # whose URL is the secret
    for secret in [*raw_secrets(credentials), *filter(None, [added])]:
        assert secret not in masked


# No stars, so that the mask is never part of a secret; no lone surrogates, which no URL can hold.
LETTERS = st.characters(codec="utf-8", exclude_characters="*")


@given(secret=st.text(LETTERS, min_size=1), before=st.text(), after=st.text())
def test_mask_knows_each_spelling(secret: str, before: str, after: str):
    """A secret is hidden as it is and percent-encoded, whatever its letters and whatever is around it."""
    credentials = ApiKey(fields={"key": SecretStr(secret)}, location="body")
    for spelling in (secret, quote(secret, safe=""), quote_plus(secret)):
        assert spelling not in credentials.mask(f"{before}|{spelling}|{after}")


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_dummy_credentials_are_ready_to_send(kind: str):
    """A rehearsal needs nothing saved: every kind makes up valid credentials of itself."""
    credentials = dummy_credentials(f"{kind}/never-saved")
    request = credentials.auth().apply(httpx.Request("GET", "http://x.test/"))
    assert type(credentials) is CREDENTIALS[kind]
    proofs = {"authorization", "x-api-key", "webhook-signature"}
    assert proofs & set(request.headers) or kind == "webhook-url"
    assert str(request.url) == "http://x.test/"


@pytest.mark.parametrize("value", ["two words", "line\n", "\r\nX-Evil: 1", "ключ", ""])
def test_bearer_token_refuses_what_no_header_holds(value: str):
    """A line end from a file or an environment variable is told before the first call."""
    with pytest.raises((JobError, ValidationError)) as caught:
        BearerToken(token=SecretStr(value))
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"X-Key": "a\r\nX-Evil: 1"}, "header"),
        ({"X Key": SECRET}, "header"),
        ({"X-Key": "ключ"}, "header"),
        ({"": SECRET}, "body"),
        ({"api_key": ""}, "query"),
    ],
)
def test_api_key_refuses_fields_that_cannot_be_sent(fields: dict[str, str], location: str):
    """Names and values must fit the place they are for."""
    with pytest.raises(JobError, match=r"^fields\.") as caught:
        ApiKey.model_validate({"fields": fields, "location": location})
    assert SECRET not in str(caught.value)


def test_basic_auth_refuses_a_colon_in_the_user_name():
    """RFC 7617: whatever follows the first colon is the password."""
    with pytest.raises(ValidationError, match="username"):
        BasicAuth(username="a:b", password=SecretStr(SECRET))
    with pytest.raises(JobError, match="password"):
        BasicAuth(username="a", password=SecretStr("line\nend"))


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """A key such as a provider gives out."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_private_key_is_read_however_it_was_pasted(key: rsa.RSAPrivateKey):
    """One-line form fields eat line ends, and environment variables spell them out."""
    text = pem(key)
    pkcs1 = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    for pasted in (text, text.replace("\n", ""), text.replace("\n", "\\n"), f"\n  {text}\n", pkcs1):
        credentials = VonageApplication(application_id="app", private_key=SecretStr(pasted))
        assert credentials.auth()


def test_private_key_mistakes_are_told_without_the_key(key: rsa.RSAPrivateKey):
    """Each mistake names the field and what is wrong, and no part of the key."""
    text = pem(key)
    elliptic = pem(ec.generate_private_key(ec.SECP256R1()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    short = pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505  # the mistake to refuse
    cases = {
        "holds no private key": ("key.pem", public, text.replace("-----END", "")),
        "damaged": (text.replace(text[100:200], ""),),
        "encrypted": (pem(key, password=b"pass"),),
        "is no RSA key": (elliptic,),
        "has 1024 bits": (short,),
    }
    for problem, texts in cases.items():
        for given_text in texts:
            with pytest.raises(InputError, match=rf"^private_key: .*{problem}") as caught:
                VonageApplication(application_id="app", private_key=SecretStr(given_text))
            shown = "".join(traceback.format_exception(caught.value))
            assert not any(line in shown for line in given_text.splitlines() if len(line) > 40)


def test_parse_credentials_names_the_field_and_hides_what_was_given():
    """Secrets stand under mistyped keys and in wrong types too: none is repeated."""
    with pytest.raises(InputErrors) as caught:
        parse_credentials(BearerToken, {"tokn": SECRET, "token": [SECRET]}, source="bearer-token/main")
    shown = "".join(traceback.format_exception(caught.value))
    assert "bearer-token/main.tokn: unknown key; expected one of token (did you mean 'token'?)" in shown
    assert "bearer-token/main.token: is not valid" in shown
    assert SECRET not in shown


def test_parse_credentials_tells_what_is_missing():
    """An absent field is an error of its own."""
    with pytest.raises(JobError, match=r"^basic-auth/a\.password: is missing$"):
        parse_credentials(BasicAuth, {"username": "acme"}, source="basic-auth/a")


def test_parse_credentials_places_a_bad_secret():
    """An error from inside a field tells whose field it is."""
    with pytest.raises(JobError, match=r"^vonage-application/main\.private_key: holds no private key"):
        parse_credentials(
            VonageApplication,
            {"application_id": "a", "private_key": SECRET},
            source="vonage-application/main",
        )


def test_split_reference_names_the_nearest_type():
    """A typing error in the type is met with the right one."""
    assert split_reference("vonage-application/main") == ("vonage-application", "main")
    with pytest.raises(JobError, match="did you mean 'vonage-application'"):
        split_reference("vonage-aplication/main")
    for reference in ("main", "bearer-token/", "/main"):
        with pytest.raises(JobError, match="TYPE/NAME"):
            split_reference(reference)
