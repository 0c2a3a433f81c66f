"""How the rehearsal's recipients answer: receipts, replies and clicks, and where these are posted to."""

from typing import Annotated

import httpx
from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from clarion.models.base import Model
from clarion.sandbox.behaviour import Rate
from clarion.sandbox.replies import ReplyPlan

SIGNATURE_SECRET_SETTING = "VONAGE_SIGNATURE_SECRET"  # noqa: S105  # the setting's name
DUMMY_SECRET = "sandbox-signature-secret-for-rehearsals"  # noqa: S105  # nobody's


def _is_address(value: str) -> str:
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("an http or https URL")
    return value


class Answers(Model):
    """What comes back for accepted messages; the default is nothing.

    Whether somebody's messages arrive, whether they answer and click is a property of the recipient: the same
    for the same seed.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    webhooks: Annotated[str, AfterValidator(_is_address)] | None = None
    """Where receipts and replies are posted to. None for nowhere."""

    receipts: Rate | None = None
    """Share of the recipients whose messages arrive; the others' are rejected. None for no receipts."""

    replies: ReplyPlan | None = None
    """Who writes back, and what. None for nobody."""

    clicks: Rate = 0.0
    """Share of the recipients who follow the links to this machine in their messages."""

    duplicates: Rate = 0.0
    """Share of the webhooks that are posted twice, as providers do."""

    delay_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False)] = 200
    """From the answer to a message until its receipt; its reply, and its clicks, take twice as long."""

    seed: int = 0
    """Decides who is who."""

    secret: SecretStr = SecretStr(DUMMY_SECRET)
    """Signs the webhooks, as Vonage's signature secret."""

    @property
    def any(self) -> bool:
        """Whether anything comes back at all."""
        return bool(self.clicks) or self.receipts is not None or self.replies is not None

    def describe(self) -> str:
        """The answers in words, for a person."""
        parts = [
            f"{self.receipts:.2%} of the recipients get their messages" if self.receipts is not None else "",
            self.replies.describe() if self.replies else "",
            f"{self.clicks:.2%} follow links" if self.clicks else "",
            f"{self.duplicates:.2%} of the webhooks twice" if self.duplicates else "",
        ]
        told = ", ".join(filter(None, parts))
        return f"{told}; posted to {self.webhooks}" if self.webhooks else told
