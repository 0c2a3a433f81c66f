"""From a message to its links: what an example sends is followed, and left, as its recipients would."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa

from clarion.ledger.answer_tables import EVENT, SUPPRESSION
from clarion.ledger.database import Database
from clarion.links.routes import links_router
from clarion.links.unsubscribe_routes import unsubscribe_router
from clarion.sandbox import Sandbox
from tests.acceptance.rehearsals import EXAMPLES, rehearse
from tests.integration.link_servers import served

JOB = EXAMPLES / "sendgrid-email" / "job.yaml"
SERVED_AT = "https://go.example.com"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A ledger of the test's own."""
    found = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield found
    found.close()


@pytest.fixture
def mails(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The e-mails of the example, as the provider got them."""
    monkeypatch.setenv("CLARION_LINK_BASE_URL", SERVED_AT)
    with Sandbox() as sandbox:
        rehearse(JOB, database=database, against=sandbox.url)
        return [request["body"] for request in sandbox.requests()]


@pytest.fixture
def client(database: Database) -> Iterator[httpx.Client]:
    """Who follows links, for it does not matter under which name the server is known."""
    with served(database, links_router(database), unsubscribe_router(database)) as client:
        yield client


def recipient_of(mail: dict[str, Any]) -> str:
    """To whom an e-mail was."""
    return mail["personalizations"][0]["to"][0]["email"]


def test_mail_program_unsubscribes_by_the_headers_of_a_message(
    database: Database, mails: list[dict[str, Any]], client: httpx.Client
):
    """RFC 8058: both headers, an HTTPS address, and a POST of what the second one says."""
    first, *_ = mails
    found = re.fullmatch(r"<(https://[^>]+)>", first["headers"]["List-Unsubscribe"])
    assert found
    answer = client.post(
        urlsplit(found[1]).path,
        content=first["headers"]["List-Unsubscribe-Post"],
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200
    with database.read() as connection:
        assert list(connection.scalars(sa.select(SUPPRESSION.c.address))) == [recipient_of(first)]


def test_recipients_follow_the_links_of_their_messages(
    database: Database, mails: list[dict[str, Any]], client: httpx.Client
):
    """Each gets to the page of their own, from the text and from the HTML, and is counted by name."""
    for mail in mails:
        text, html = (part["value"] for part in mail["content"])
        links = re.findall(rf"{SERVED_AT}(/l/[\w-]+)", text + html)
        assert len(links) == 2
        assert len(set(links)) == 1
        assert re.fullmatch(r"https://example\.com/renew\?id=C\d+", client.get(links[0]).headers["location"])
    query = sa.select(EVENT.c.recipient, EVENT.c.name).where(EVENT.c.type == "click").order_by(EVENT.c.id)
    with database.read() as connection:
        clicks = [tuple(row) for row in connection.execute(query)]
    assert clicks == [(recipient_of(mail), "renew") for mail in mails]
