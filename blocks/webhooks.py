"""Subscribers of the whole installation, saved as Prefect blocks."""

from prefect.blocks.core import Block
from prefect.client.schemas.objects import BlockDocument
from pydantic import HttpUrl

from blocks.documents import saved_documents
from clarion.jobfile import parse_model
from clarion.models import subscribers
from clarion.models.subscribers import Subscriber


class WebhookSubscriber(Block, subscribers.Subscription):
    """Who gets events of all jobs, by signed requests; the block's name is the subscriber's.

    Example:
        ```python
        from blocks.webhooks import WebhookSubscriber

        webhook_subscriber = WebhookSubscriber.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Webhook Subscriber"
    _block_type_slug = "webhook-subscriber"
    _documentation_url = HttpUrl("https://github.com/clarion/clarion/blob/main/docs/webhooks.md")


def load_subscribers() -> list[Subscriber]:
    """The subscribers of the installation, by name.

    Raises:
        JobError: What is saved for one of them is not valid.
        SettingError: Prefect's API cannot be used.
    """
    return [subscriber_of(document) for document in saved_documents(WebhookSubscriber)]


def subscriber_of(document: BlockDocument) -> Subscriber:
    """A saved block as the core knows it. Raises as `load_subscribers`."""
    name = document.name or ""
    data = {"name": name, **document.data}
    return parse_model(Subscriber, data, source=f"webhook-subscriber/{name}")
