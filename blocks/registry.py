"""All of Clarion's block types."""

from prefect.blocks.core import Block

from blocks.credentials import ApiKey, BasicAuth, BearerToken, VonageApplication, WebhookSecret, WebhookUrl
from blocks.documents import prefect_client
from blocks.http_action import HttpAction
from blocks.job import Job
from blocks.lists import FileList, ItemsList
from blocks.webhook_credentials import GenericWebhook, TwilioWebhook, VonageWebhook
from blocks.webhooks import WebhookSubscriber

ALL_BLOCKS: tuple[type[Block], ...] = (
    BearerToken,
    BasicAuth,
    ApiKey,
    VonageApplication,
    WebhookUrl,
    WebhookSecret,
    VonageWebhook,
    TwilioWebhook,
    GenericWebhook,
    FileList,
    ItemsList,
    HttpAction,
    Job,
    WebhookSubscriber,
)


def register_blocks() -> list[str]:
    """Makes all block types known to Prefect, so that its UI offers them; once more changes nothing.

    Returns:
        Their slugs.

    Raises:
        SettingError: Prefect's API cannot be used.
    """
    with prefect_client():
        for block in ALL_BLOCKS:
            block.register_type_and_schema()
    return [block.get_block_type_slug() for block in ALL_BLOCKS]
