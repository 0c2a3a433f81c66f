"""The secrets of the endpoints of `clarion serve`, saved as Prefect blocks."""

from collections.abc import Mapping
from types import MappingProxyType

from prefect.blocks.core import Block
from pydantic import HttpUrl

from blocks.documents import document_data, saved_names
from clarion.models import webhook_credentials
from clarion.models.credential_kinds import WEBHOOK_CREDENTIALS, parse_credentials, split_reference
from clarion.models.webhook_credentials import WebhookCredentials

_DOCUMENTATION = HttpUrl("https://github.com/clarion/clarion/blob/main/docs/receiver.md")


class VonageWebhook(Block, webhook_credentials.VonageWebhook):
    """What Vonage signs its webhooks with; `clarion serve` receives them.

    Example:
        ```python
        from blocks.webhook_credentials import VonageWebhook

        vonage_webhook = VonageWebhook.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Vonage Webhook"
    _block_type_slug = "vonage-webhook"
    _documentation_url = _DOCUMENTATION


class TwilioWebhook(Block, webhook_credentials.TwilioWebhook):
    """What Twilio signs its webhooks with; `clarion serve` receives them.

    Example:
        ```python
        from blocks.webhook_credentials import TwilioWebhook

        twilio_webhook = TwilioWebhook.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Twilio Webhook"
    _block_type_slug = "twilio-webhook"
    _documentation_url = _DOCUMENTATION


class GenericWebhook(Block, webhook_credentials.GenericWebhook):
    """The token or the secret of any service that posts to `clarion serve`, and how to read it.

    Example:
        ```python
        from blocks.webhook_credentials import GenericWebhook

        generic_webhook = GenericWebhook.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Generic Webhook"
    _block_type_slug = "generic-webhook"
    _documentation_url = _DOCUMENTATION


WebhookBlock = VonageWebhook | TwilioWebhook | GenericWebhook

WEBHOOK_BLOCKS: Mapping[str, type[WebhookBlock]] = MappingProxyType(
    {block.kind: block for block in (VonageWebhook, TwilioWebhook, GenericWebhook)}
)
"""The blocks by the kind of endpoint."""


def load_webhook_credentials(reference: str) -> WebhookCredentials:
    """The saved credentials of an endpoint such as `vonage-webhook/main`, as a model of the core.

    Raises:
        JobError: The reference is none, nothing is saved there, or what is saved is not valid.
        InputErrors: Several fields of it are not valid.
        SettingError: Prefect's API cannot be used.
    """
    kind, name = split_reference(reference, kinds=WEBHOOK_CREDENTIALS)
    data = document_data(WEBHOOK_BLOCKS[kind], name, save_with=f"clarion credentials save {reference}")
    return parse_credentials(WEBHOOK_CREDENTIALS[kind], data, source=reference)


def saved_webhooks() -> list[str]:
    """The references of all that are saved.

    Raises:
        SettingError: Prefect's API cannot be used.
    """
    return [f"{kind}/{name}" for kind, block in WEBHOOK_BLOCKS.items() for name in saved_names(block)]
