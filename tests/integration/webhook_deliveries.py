"""Subscribers and their deliveries, as the tests of outgoing webhooks need them."""

from typing import Any

import orjson
from pydantic import SecretStr

from clarion.errors import JobError
from clarion.ledger.answer_tables import WEBHOOK_DELIVERY
from clarion.ledger.database import Database, utc_now
from clarion.ledger.webhooks import enqueue
from clarion.models.subscribers import Subscriber
from clarion.models.webhook_secret import WebhookSecret
from clarion.outgoing import deliver_due
from clarion.sending.auth import RequestAuth

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
REFERENCE = "webhook-secret/main"
ALL = ["recipient-response", "click", "action-call-failed"]


def load_auth(reference: str) -> RequestAuth:
    """The one secret that is saved."""
    if reference != REFERENCE:
        raise JobError(f"no block {reference} is saved")
    return WebhookSecret(secret=SecretStr(SECRET)).auth()


def subscriber(url: str, **changes: Any) -> Subscriber:
    """One that wants all of ALL."""
    given = {"name": "crm", "url": url, "events": ALL, "secret": REFERENCE, **changes}
    return Subscriber.model_validate(given)


def job_with(*subscribers: Subscriber) -> str:
    """A run's job, as far as its webhooks go."""
    return orjson.dumps({"webhooks": [each.model_dump() for each in subscribers]}).decode()


def delivered(database: Database, *subscribers: Subscriber) -> dict[str, int]:
    """One go at what is due."""
    return deliver_due(database, subscribers=subscribers, load_auth=load_auth, seconds=30)


def enqueued(database: Database, *ids: int, subscribers: tuple[Subscriber, ...] = ()) -> int:
    """Enqueues in a transaction."""
    with database.write() as connection:
        return enqueue(connection, list(ids), subscribers=subscribers)


def make_due(database: Database) -> None:
    """Lets every wait be over."""
    with database.write() as connection:
        pending = WEBHOOK_DELIVERY.c.status == "pending"
        connection.execute(WEBHOOK_DELIVERY.update().where(pending).values(due_at=utc_now()))
