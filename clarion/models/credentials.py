"""Credentials: secrets, and where a request carries them."""

import base64
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from functools import cache
from typing import ClassVar, Literal, Self
from urllib.parse import quote, quote_plus, unquote
from uuid import UUID

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from clarion.errors import JobError
from clarion.models.base import Model, Text
from clarion.sending.auth import (
    ApplicationTokenAuth,
    BodyAuth,
    HeaderAuth,
    NoAuth,
    PathAuth,
    QueryAuth,
    RequestAuth,
    load_private_key,
)

MASK = "****"
"""What stands where a secret would."""

REHEARSAL_HOST = "rehearsal.invalid"
"""The host of made-up webhooks; `.invalid` is nobody's (RFC 2606)."""

SECRET_CHARACTERS = 8
"""A longer part of a webhook's path is masked wherever it stands; `services` is no secret."""

_TOKEN = re.compile(r"[!-~]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


class Credentials(Model):
    """Secrets of one account, and where a request carries them.

    A secret that is not valid raises `JobError`, because Pydantic's own error would carry the secret.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    kind: ClassVar[str]
    """What a reference names it by: the `bearer-token` of `bearer-token/main`."""

    @abstractmethod
    def auth(self) -> RequestAuth:
        """What puts these credentials on requests; make it once a run, it may keep a token."""

    @abstractmethod
    def masked_auth(self) -> RequestAuth:
        """The same with `****` for every secret, for a request that is only shown."""

    @abstractmethod
    def secrets(self) -> frozenset[str]:
        """Every text that must not be shown, in each spelling that a request or an answer may hold."""

    @classmethod
    @abstractmethod
    def dummy(cls) -> Self:
        """Made-up credentials, for a rehearsal against a server of one's own."""

    def mask(self, text: str) -> str:
        """The text with `****` for every secret in it."""
        for secret in sorted(self.secrets(), key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text


class BearerToken(Credentials):
    """A token in the `Authorization` header."""

    kind: ClassVar[str] = "bearer-token"

    token: SecretStr = Field(min_length=1, description="Token, without the word Bearer.")

    @model_validator(mode="after")
    def _fits_a_header(self) -> Self:
        if not _TOKEN.fullmatch(self.token.get_secret_value()):
            raise JobError(
                "holds blanks, line ends or letters beyond ASCII", where="token", expected="the bare token"
            )
        return self

    def auth(self) -> RequestAuth:
        """Sets `Authorization: Bearer TOKEN`."""
        return HeaderAuth({"Authorization": f"Bearer {self.token.get_secret_value()}"})

    def masked_auth(self) -> RequestAuth:
        """Sets `Authorization: Bearer ****`."""
        return HeaderAuth({"Authorization": f"Bearer {MASK}"})

    def secrets(self) -> frozenset[str]:
        """The token."""
        return spellings([self.token.get_secret_value()])

    @classmethod
    def dummy(cls) -> Self:
        """A made-up token."""
        return cls(token=SecretStr("rehearsal-token"))


class BasicAuth(Credentials):
    """A user name and a password in the `Authorization` header (RFC 7617)."""

    kind: ClassVar[str] = "basic-auth"

    username: Text = Field(
        min_length=1, pattern=r"^[^:\x00-\x1f\x7f]+$", description="User name, without a colon."
    )
    password: SecretStr = Field(description="Password; it may be empty.")

    @model_validator(mode="after")
    def _no_control_characters(self) -> Self:
        if _CONTROL.search(self.password.get_secret_value()):
            raise JobError("holds a line end or another control character", where="password")
        return self

    def auth(self) -> RequestAuth:
        """Sets `Authorization: Basic ...`."""
        return HeaderAuth({"Authorization": f"Basic {self._encoded()}"})

    def masked_auth(self) -> RequestAuth:
        """Sets `Authorization: Basic ****`."""
        return HeaderAuth({"Authorization": f"Basic {MASK}"})

    def secrets(self) -> frozenset[str]:
        """The password, and user name and password as the header carries them."""
        return spellings([self.password.get_secret_value()]) | {self._encoded()}

    @classmethod
    def dummy(cls) -> Self:
        """A made-up account."""
        return cls(username="rehearsal", password=SecretStr("rehearsal-password"))

    def _encoded(self) -> str:
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return base64.b64encode(pair.encode()).decode()


class ApiKey(Credentials):
    """Secret fields of the header, the query or the body."""

    kind: ClassVar[str] = "api-key"

    fields: dict[str, SecretStr] = Field(
        min_length=1,
        description="Secret values by name: X-Api-Key for a header, or api_key and api_secret for a body.",
    )
    location: Literal["header", "query", "body"] = Field(
        default="header",
        description="Where a request carries the fields: header, query or body (JSON or form).",
    )

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        for name, secret in self.fields.items():
            value = secret.get_secret_value()
            if not name or not value:
                raise JobError("is empty", where=f"fields.{name}", expected="a name and its secret")
            if self.location == "header" and not (
                _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)
            ):
                raise JobError(
                    "is no header",
                    where=f"fields.{name}",
                    expected="a header's name, and a value of ASCII characters without line ends",
                )
        return self

    def auth(self) -> RequestAuth:
        """Sets the fields where `location` says."""
        return self._auth({name: secret.get_secret_value() for name, secret in self.fields.items()})

    def masked_auth(self) -> RequestAuth:
        """Sets `****` for the value of every field."""
        return self._auth(dict.fromkeys(self.fields, MASK))

    def secrets(self) -> frozenset[str]:
        """The values of the fields."""
        return spellings(secret.get_secret_value() for secret in self.fields.values())

    @classmethod
    def dummy(cls) -> Self:
        """A made-up `X-Api-Key` header."""
        return cls(fields={"X-Api-Key": SecretStr("rehearsal-key")})

    def _auth(self, fields: Mapping[str, str]) -> RequestAuth:
        places: dict[str, type[HeaderAuth | QueryAuth | BodyAuth]] = {
            "header": HeaderAuth,
            "query": QueryAuth,
            "body": BodyAuth,
        }
        return places[self.location](fields)


class VonageApplication(Credentials):
    """A Vonage application: its id, and the private key that signs its tokens (JWT, RS256)."""

    kind: ClassVar[str] = "vonage-application"

    application_id: Text = Field(min_length=1, description="Id of the application.")
    private_key: SecretStr = Field(
        min_length=1, description="RSA private key of the application in PEM form, all of its lines."
    )
    lifetime_seconds: int = Field(
        default=900,
        ge=30,
        le=86_400,
        description="How long a token is valid, in seconds; it is renewed before.",
    )

    @field_validator("private_key")
    @classmethod
    def _signs(cls, private_key: SecretStr) -> SecretStr:
        load_private_key(private_key.get_secret_value())
        return private_key

    def auth(self) -> RequestAuth:
        """Sets `Authorization: Bearer JWT`; the token is made once and renewed before it ends."""
        return ApplicationTokenAuth(
            application_id=self.application_id,
            private_key=load_private_key(self.private_key.get_secret_value()),
            lifetime_seconds=self.lifetime_seconds,
        )

    def masked_auth(self) -> RequestAuth:
        """Sets `Authorization: Bearer ****`."""
        return HeaderAuth({"Authorization": f"Bearer {MASK}"})

    def secrets(self) -> frozenset[str]:
        """The private key; tokens are not among them, `mask` knows those by their form."""
        return spellings([self.private_key.get_secret_value()])

    def mask(self, text: str) -> str:
        """The text with `****` for the key and for every token, whichever key signed it."""
        return _JWT.sub(MASK, super().mask(text))

    @classmethod
    def dummy(cls) -> Self:
        """A made-up application with a key of its own, the same one throughout a process."""
        return cls(application_id=str(UUID(int=0)), private_key=SecretStr(_dummy_key()))


class WebhookUrl(Credentials):
    """The URL of an incoming webhook, whose path or query is the secret (Slack, Teams, Discord)."""

    kind: ClassVar[str] = "webhook-url"

    url: SecretStr = Field(min_length=1, description="The whole https URL of the webhook.")

    @model_validator(mode="after")
    def _is_a_secret_url(self) -> Self:
        try:
            url = httpx.URL(self.url.get_secret_value().strip())
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme != "https" or not url.host or url.userinfo or url.raw_path in {b"", b"/"}:
            raise JobError(
                "is no webhook's URL", where="url", expected="https://HOST/PATH, as it was given out"
            )
        return self

    def auth(self) -> RequestAuth:
        """Replaces the path and the query of the action's URL; its host must be the webhook's."""
        return self._auth(self._parsed().raw_path.decode("ascii"))

    def masked_auth(self) -> RequestAuth:
        """Replaces them by `/****`; a made-up webhook has nothing to hide."""
        return self._auth(f"/{MASK}")

    def secrets(self) -> frozenset[str]:
        """The URL, its path and query, and what of them is long enough to be a secret by itself."""
        url, target = self._parsed(), self._parsed().raw_path.decode("ascii")
        parts = [part for part in re.split(r"[/?&=]", target) if len(part) > SECRET_CHARACTERS]
        return spellings(
            [self.url.get_secret_value(), str(url), target, url.path, *parts, *map(unquote, parts)]
        )

    @classmethod
    def dummy(cls) -> Self:
        """A made-up webhook: the URL of the file is called as it stands there."""
        return cls(url=SecretStr(f"https://{REHEARSAL_HOST}/rehearsal-webhook"))

    def _auth(self, target: str) -> RequestAuth:
        url = self._parsed()
        if url.host == REHEARSAL_HOST:
            return NoAuth()
        return PathAuth(target, host=url.netloc.decode("ascii"))

    def _parsed(self) -> httpx.URL:
        return httpx.URL(self.url.get_secret_value().strip())


def spellings(secrets: Iterable[str]) -> frozenset[str]:
    """Each secret as it is, percent-encoded, and as JSON writes it."""
    found = {
        spelling
        for secret in secrets
        for spelling in (
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
        )
    }
    return frozenset(found - {""})


@cache
def _dummy_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
