"""The secret that signs outgoing webhooks, as standardwebhooks.com specifies it."""

import base64
import binascii
import secrets
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from clarion.errors import JobError
from clarion.models.credentials import MASK, Credentials, spellings
from clarion.models.subscribers import SECRET_KIND
from clarion.sending.auth import HeaderAuth, RequestAuth
from clarion.sending.signatures import SignatureAuth

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64
"""Length of a secret, as the specification has it."""


class WebhookSecret(Credentials):
    """A secret shared with the receiver of webhooks: requests are signed with it, it is never sent."""

    kind: ClassVar[str] = SECRET_KIND

    secret: SecretStr = Field(
        min_length=1, description="Secret as both sides have it: whsec_ and 24 to 64 bytes in base64."
    )

    @model_validator(mode="after")
    def _is_key(self) -> Self:
        try:
            length = len(self.key())
        except (ValueError, binascii.Error):
            length = 0
        if not LEAST_BYTES <= length <= MOST_BYTES:
            raise JobError(
                "is no secret of webhooks",
                where="secret",
                expected=f"{PREFIX} and {LEAST_BYTES} to {MOST_BYTES} bytes in base64",
            )
        return self

    def key(self) -> bytes:
        """The bytes that sign."""
        text = self.secret.get_secret_value().removeprefix(PREFIX)
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)

    def auth(self) -> RequestAuth:
        """Sets `webhook-id`, `webhook-timestamp` and `webhook-signature`."""
        return SignatureAuth(self.key())

    def masked_auth(self) -> RequestAuth:
        """Sets `webhook-signature: v1,****`."""
        return HeaderAuth({"webhook-signature": f"v1,{MASK}"})

    def secrets(self) -> frozenset[str]:
        """The secret with its prefix and without."""
        text = self.secret.get_secret_value()
        return spellings([text, text.removeprefix(PREFIX)])

    @classmethod
    def dummy(cls) -> Self:
        """A made-up secret."""
        return cls(secret=SecretStr(PREFIX + base64.b64encode(b"rehearsal-" * 3).decode()))


def new_secret() -> str:
    """A secret that nobody has yet."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
