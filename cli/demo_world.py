"""What is around the campaign of `clarion demo`: a receiver of answers, and people who give them."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from pydantic import SecretStr

from clarion.ledger.answer_tables import SUPPRESSION
from clarion.ledger.answering import is_any_received
from clarion.ledger.database import Database
from clarion.ledger.runs import REACTIONS
from clarion.ledger.suppressions import unsuppress
from clarion.ledger.tables import RUN
from clarion.links.making import LINK_BASE_URL_SETTING
from clarion.links.routes import links_router
from clarion.links.unsubscribe_routes import unsubscribe_router
from clarion.models.webhook_credentials import VonageWebhook
from clarion.receiving.app import create_app
from clarion.receiving.background import serving
from clarion.receiving.endpoints import Endpoint, make_endpoint
from clarion.receiving.server import DEFAULT_HOST, listen, url_of
from clarion.sandbox import Answers, Behaviour, Sandbox, rate_plan
from clarion.sandbox.answers import DUMMY_SECRET
from flows.handle_events import Drainer

ENDPOINT = "demo"
REPLIES = 0.1
ANSWERED_SECONDS = 30.0
"""How long the demo waits for everything that comes back."""

LOOK_SECONDS = 0.1

ERRING = Behaviour(latency_ms=20, error=0.03, reject=0.02, seed=7)
"""A provider as they are: some calls fail and succeed later, some numbers are refused."""


@dataclass(frozen=True)
class World:
    """The provider, and where what comes back is received."""

    sandbox: Sandbox
    receiver_url: str


@contextmanager
def demo_world(database: Database) -> Generator[World]:
    """A receiver on any free port, and a provider whose recipients answer to it; links lead to it too."""
    endpoint = make_endpoint(ENDPOINT, VonageWebhook(signature_secret=SecretStr(DUMMY_SECRET)))
    _let_back(database, endpoint)
    listening = listen(DEFAULT_HOST, 0)
    url = url_of(listening)
    app = create_app(database, [endpoint], routers=[links_router(database), unsubscribe_router(database)])
    answers = Answers(
        webhooks=f"{url}{endpoint.path}", receipts=0.95, replies=rate_plan(REPLIES), clicks=0.2,
        duplicates=0.05, seed=7,
    )  # fmt: skip
    with serving(app, listening), _links_to(url), Sandbox(ERRING, answers=answers) as sandbox:
        yield World(sandbox, url)


@contextmanager
def _links_to(url: str) -> Generator[None]:
    before = os.environ.get(LINK_BASE_URL_SETTING)
    os.environ[LINK_BASE_URL_SETTING] = url
    try:
        yield
    finally:
        os.environ.pop(LINK_BASE_URL_SETTING, None)
        if before is not None:
            os.environ[LINK_BASE_URL_SETTING] = before


def _let_back(database: Database, endpoint: Endpoint) -> None:
    """Takes the made-up people off the suppression list who wrote STOP to an earlier demo."""
    who = f"endpoint {endpoint.reference}"
    theirs = sa.select(SUPPRESSION.c.address, SUPPRESSION.c.scope).where(SUPPRESSION.c.who == who)
    with database.write() as connection:
        for address, scope in connection.execute(theirs).all():
            unsuppress(connection, address, scope=scope, reason="another demo", who="clarion demo")


def handle_answers(database: Database, world: World, *, run_id: int) -> bool:
    """Handles what came back for a run, and what does for the reactions; False where time is over."""
    until = time.monotonic() + ANSWERED_SECONDS
    with Drainer() as drainer:
        drainer.nudge()
        while time.monotonic() < until:
            came = world.sandbox.wait_for_answers(seconds=max(0.0, until - time.monotonic()))
            if came and not is_any_received(database) and not _is_reacting(database, run_id):
                return True
            time.sleep(LOOK_SECONDS)
    return False


def _is_reacting(database: Database, run_id: int) -> bool:
    of_run = (RUN.c.parent_id == run_id) & (RUN.c.kind == REACTIONS)
    with database.read() as connection:
        left = connection.scalar(sa.select(sa.func.sum(RUN.c.pending + RUN.c.sending)).where(of_run))
    return bool(left)
