"""What proves that a webhook's request comes from its provider, and how to read one of a service unknown."""

from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, SecretStr, model_validator

from clarion.errors import JobError
from clarion.models.action import ErrorMapping
from clarion.models.answers import EventMapping, InboundMapping
from clarion.models.base import Model, Text

SmsSignature = Literal["", "md5hash", "md5", "sha1", "sha256", "sha512"]


def _none() -> SecretStr:
    return SecretStr("")


class WebhookCredentials(Model):
    """The secrets of an endpoint of `clarion serve`; the endpoint is named as they are.

    Two secrets are valid at once while a new one takes the place of the previous one.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    kind: ClassVar[str]
    """Kind of endpoint: the `vonage-webhook` of `vonage-webhook/main`."""

    def is_open(self) -> bool:
        """Whether anybody may post there, because there is no secret to ask for."""
        return False


class VonageWebhook(WebhookCredentials):
    """What Vonage signs webhooks with: the Messages, SMS and Voice APIs."""

    kind: ClassVar[str] = "vonage-webhook"

    signature_secret: SecretStr = Field(
        min_length=1, description="Signature secret of the account (Settings in Vonage's dashboard)."
    )
    previous_signature_secret: SecretStr = Field(
        default_factory=_none, description="The secret before it, valid too; empty for none."
    )
    max_age_seconds: int = Field(
        default=300, ge=1, le=86_400, description="Longest time since a request was signed, in seconds."
    )
    api_key: Text = Field(default="", description="The only account to accept requests of; empty for any.")
    application_id: Text = Field(
        default="", description="The only application to accept requests of; empty for any."
    )
    sms_signature_method: SmsSignature = Field(
        default="",
        description="Signature method of the account's SMS API, which signs with a parameter: md5hash, md5, "
        "sha1, sha256 or sha512; empty refuses such requests.",
    )

    def secrets(self) -> tuple[bytes, ...]:
        """The valid secrets."""
        return _given(self.signature_secret, self.previous_signature_secret)


class TwilioWebhook(WebhookCredentials):
    """What Twilio signs webhooks with."""

    kind: ClassVar[str] = "twilio-webhook"

    auth_token: SecretStr = Field(min_length=1, description="Auth token of the account.")
    previous_auth_token: SecretStr = Field(
        default_factory=_none, description="The token before it, valid too; empty for none."
    )

    def secrets(self) -> tuple[bytes, ...]:
        """The valid tokens."""
        return _given(self.auth_token, self.previous_auth_token)


class StatusValue(Model):
    """Where a receipt has its status."""

    value: Text = Field(default="{{ event.status }}", min_length=1, description="Template of the status.")


class WebhookMapping(Model):
    """Where a request has its parts, as in an action's `response`; templates over `event`."""

    event: EventMapping = Field(
        default_factory=EventMapping, description="Where a receipt names its call and itself."
    )
    status: StatusValue = Field(default_factory=StatusValue, description="Where a receipt has its status.")
    error: ErrorMapping = Field(
        default_factory=ErrorMapping, description="Where a receipt says what was wrong."
    )
    inbound: InboundMapping | None = Field(
        default=None, description="Where a message has its parts: from, to, text, quoted_id."
    )


class GenericWebhook(WebhookCredentials):
    """A bearer token or an HMAC of the body, and how to read what any service posts."""

    kind: ClassVar[str] = "generic-webhook"

    token: SecretStr = Field(
        default_factory=_none,
        description="Bearer token that the service sends; empty where it signs, or where anybody may post.",
    )
    previous_token: SecretStr = Field(
        default_factory=_none, description="The token before it, valid too; empty for none."
    )
    secret: SecretStr = Field(
        default_factory=_none,
        description="Secret that the service signs the body with (HMAC); empty for none.",
    )
    previous_secret: SecretStr = Field(
        default_factory=_none, description="The secret before it, valid too; empty for none."
    )
    header: Text = Field(
        default="X-Signature",
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        description="Header of the signature, in hexadecimal or base64, also after sha256= and the like.",
    )
    algorithm: Literal["sha256", "sha1", "sha512"] = Field(
        default="sha256", description="Hash of the signature: sha256, sha1 or sha512."
    )
    action: Text = Field(
        default="",
        pattern=r"^(http-action/[^/\s]+)?$",
        description="Saved action (http-action/NAME) whose response mapping reads requests; empty for none.",
    )
    response: WebhookMapping | None = Field(
        default=None, description="How to read the requests where no action says it."
    )

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if self.tokens() and self.secrets():
            raise JobError("is given beside token", where="secret", expected="one of token and secret")
        for name, previous in (("token", self.previous_token), ("secret", self.previous_secret)):
            if previous.get_secret_value() and not getattr(self, name).get_secret_value():
                raise JobError("is given without the new one", where=f"previous_{name}", expected=name)
        if self.action and self.response is not None:
            raise JobError("is given beside action", where="response", expected="one of action and response")
        return self

    def tokens(self) -> tuple[bytes, ...]:
        """The valid bearer tokens."""
        return _given(self.token, self.previous_token)

    def secrets(self) -> tuple[bytes, ...]:
        """The valid secrets of signatures."""
        return _given(self.secret, self.previous_secret)

    def is_open(self) -> bool:
        """Whether there is neither a token nor a secret."""
        return not self.tokens() and not self.secrets()


def _given(*secrets: SecretStr) -> tuple[bytes, ...]:
    return tuple(secret.get_secret_value().encode() for secret in secrets if secret.get_secret_value())
