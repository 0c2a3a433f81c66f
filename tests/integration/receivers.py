"""A receiver on a real socket, in a thread of its own."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import sqlalchemy as sa
import uvicorn
from pydantic import SecretStr

from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import Database
from clarion.models.webhook_credentials import GenericWebhook, TwilioWebhook, VonageWebhook
from clarion.receiving.app import create_app
from clarion.receiving.endpoints import Endpoint, make_endpoint
from clarion.receiving.server import listen, url_of
from tests.unit.webhook_signers import SECRET, vonage_token

PUBLIC_URL = "https://answers.test"
VONAGE_PATH = "/webhooks/vonage-webhook/main"
TWILIO_PATH = "/webhooks/twilio-webhook/main"
GENERIC_PATH = "/webhooks/generic-webhook/main"


def endpoints() -> list[Endpoint]:
    """One endpoint of each kind, all with the secret of the tests."""
    secret = SecretStr(SECRET)
    return [
        make_endpoint("main", VonageWebhook(signature_secret=secret, sms_signature_method="sha256")),
        make_endpoint("main", TwilioWebhook(auth_token=secret)),
        make_endpoint("main", GenericWebhook(token=secret)),
    ]


@contextmanager
def receiver(
    database: Database,
    *,
    served: Sequence[Endpoint] | None = None,
    on_stored: Callable[[], None] | None = None,
    **options: Any,
) -> Generator[httpx.Client]:
    """A client of a receiver that serves `endpoints()` until the block ends."""
    app = create_app(
        database,
        endpoints() if served is None else served,
        on_stored=on_stored,
        public_url=PUBLIC_URL,
        **options,
    )
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none"))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=url_of(listening), trust_env=False, timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def post_vonage(client: httpx.Client, body: bytes, *, token: str | None = None, **claims: Any) -> int:
    """Posts a signed body; gives the status of the answer."""
    signed = vonage_token(body, **claims) if token is None else token
    headers = {"Authorization": f"Bearer {signed}", "Content-Type": "application/json"}
    return client.post(VONAGE_PATH, content=body, headers=headers).status_code


def stored(database: Database) -> list[dict[str, Any]]:
    """All stored events, in the order of their ids."""
    with database.read() as connection:
        return [dict(row) for row in connection.execute(sa.select(EVENT).order_by(EVENT.c.id)).mappings()]
