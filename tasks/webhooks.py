"""Outgoing webhooks of this installation: who subscribes, and the posting of what is due."""

import logging

from blocks.credentials import load_credentials
from blocks.documents import saved_documents
from blocks.webhooks import WebhookSubscriber, subscriber_of
from clarion.errors import InputError
from clarion.ledger.webhooks import is_any_due
from clarion.models.subscribers import Subscriber
from clarion.outgoing import deliver_due
from clarion.sending.auth import RequestAuth
from tasks.sessions import ledger

logger = logging.getLogger(__name__)


def installed_subscribers() -> list[Subscriber]:
    """The subscribers of the installation. One that is not valid is told in the log, and left out.

    Raises:
        SettingError: Prefect's API cannot be used.
    """
    found: list[Subscriber] = []
    for document in saved_documents(WebhookSubscriber):
        try:
            found.append(subscriber_of(document))
        except InputError as error:
            logger.warning(
                "A subscriber of webhooks is not valid: %s", error, extra={"subscriber": document.name}
            )
    return found


def deliver_webhooks(*, seconds: float = 30.0) -> dict[str, int]:
    """Posts what is due to subscribers, for about so long; nothing is asked of Prefect where nothing is.

    Not to be called in an event loop. A subscriber that does not answer takes up to 10 seconds of it.

    Returns:
        How many were `delivered`, how many are `pending` again after a failure, how many are `dead`.

    Raises:
        SettingError: Prefect's API cannot be used.
    """
    if not is_any_due(ledger()):
        return {"delivered": 0, "pending": 0, "dead": 0}
    loaded: dict[str, RequestAuth] = {}

    def load(reference: str) -> RequestAuth:
        if reference not in loaded:
            loaded[reference] = load_credentials(reference).auth()
        return loaded[reference]

    return deliver_due(ledger(), subscribers=installed_subscribers(), load_auth=load, seconds=seconds)
