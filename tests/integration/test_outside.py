"""What happens outside the ledger: people are told at most once, and nothing tells the key of a webhook."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from clarion.errors import JobError
from clarion.handling import handle_batch
from clarion.ledger import answering
from clarion.ledger.answering import OutsideReaction, begin_once, claim_outside, settle_outside
from clarion.ledger.database import Database
from tasks import notify, outside
from tests.integration.handled_runs import answered_run, attributed, reactions, reply, store

TELL = {
    "name": "tell",
    "condition": 'event.type == "recipient-response"',
    "notify": {"block": "custom-webhook/desk", "body": "{{ event.text }}"},
}


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Keeps the path of what is posted, and refuses it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append(self.path)  # type: ignore[attr-defined]
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def hook() -> Iterator[Any]:
    """A server that refuses notifications; their paths are in its `told`."""
    server: Any = HTTPServer(("127.0.0.1", 0), _Hook)
    server.told = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def told(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """One reply to be told of; called, it does what is due, and gives the reaction's row."""
    monkeypatch.setattr(outside, "ledger", lambda: database)
    monkeypatch.setattr(answering, "FIRST_WAIT_SECONDS", 0.0)
    answered_run(database, events=[TELL])
    store(database, reply(1))
    handle_batch(database, attributed(database))

    def tell() -> Any:
        at_work = outside.Outside({})
        at_work.look()
        at_work.leave()
        (row,) = reactions(database, "status", "attempts", "error")
        return row

    return tell


def saved(monkeypatch: pytest.MonkeyPatch, notifier: object) -> None:
    """Makes this the saved block; an exception is what loading raises."""

    def load(_: str) -> object:
        if isinstance(notifier, Exception):
            raise notifier
        return notifier

    monkeypatch.setattr(outside, "load_notifier", load)


def webhook(port: int) -> CustomWebhookNotificationBlock:
    """A block whose URL is a secret."""
    return CustomWebhookNotificationBlock(
        name="desk",
        url=f"http://127.0.0.1:{port}/hook/{{{{key}}}}",
        secrets={"key": "SECRET"},
        json_data={"text": "{{body}}"},
    )


def test_refused_notification_is_not_sent_again_and_tells_no_secret(
    told: Callable[[], Any], hook: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Neither the log nor the ledger has the URL, which is the key; it may have reached somebody."""
    saved(monkeypatch, webhook(hook.server_port))
    with caplog.at_level(logging.DEBUG, logger="tasks"):
        assert told() == ("failed", 1, "an error (HTTPStatusError)")
        assert told() == ("failed", 1, "an error (HTTPStatusError)")
    assert hook.told == ["/hook/SECRET"]
    (record,) = [each for each in caplog.records if each.name == "tasks.outside"]
    assert record.getMessage().startswith("A reaction could not be done: an error (HTTPStatusError) at ")
    assert record.exc_info is None
    assert "SECRET" not in "".join(map(str, (record.getMessage(), record.exc_text)))


def test_notification_that_has_certainly_not_left_is_tried_again(
    told: Callable[[], Any], hook: Any, monkeypatch: pytest.MonkeyPatch
):
    """A block that cannot be loaded, and a connection that was never there, have told nobody."""
    saved(monkeypatch, JobError("nothing is saved"))
    assert told() == ("pending", 1, "nothing is saved")
    with socket.socket() as bound:  # and never listens
        bound.bind(("127.0.0.1", 0))
        saved(monkeypatch, webhook(bound.getsockname()[1]))
        assert told() == ("pending", 2, "an error (ConnectError)")
    saved(monkeypatch, webhook(hook.server_port))
    assert told() == ("failed", 3, "an error (HTTPStatusError)")
    assert len(hook.told) == 1


class _Dying(NotificationBlock):
    """A block that sends, and with which the process dies."""

    async def notify(self, body: str, subject: str | None = None) -> None:  # noqa: ARG002  # Prefect's signature
        """Dies after it has sent."""
        raise SystemExit


def test_process_that_dies_while_it_tells_is_followed_by_nobody(
    told: Callable[[], Any], database: Database, monkeypatch: pytest.MonkeyPatch
):
    """The ledger calls it done before it leaves."""
    saved(monkeypatch, _Dying())
    assert told() == ("done", 1, None)
    assert claim_outside(database, most=9) == []


def test_notification_is_begun_by_the_last_who_claimed_it(
    told: Callable[[], Any], database: Database, monkeypatch: pytest.MonkeyPatch
):
    """Whoever was slower than the lease leaves it alone, and does not speak of it afterwards."""
    (first,) = claim_outside(database, most=9)
    settle_outside(database, first, error="slow", final=False)
    (second,) = claim_outside(database, most=9)
    assert isinstance(second, OutsideReaction)
    assert [begin_once(database, each) for each in (first, second, second)] == [False, True, False]
    settle_outside(database, first, error="late", final=True, begun=True)
    assert reactions(database, "status") == ["done"]
    saved(monkeypatch, _Dying())
    assert told() == ("done", 2, "slow")


def test_block_of_which_nothing_is_known_is_not_tried_again():
    """Only of Prefect's own webhook it is known what a failed connection means."""
    error = notify.httpx.ConnectError("refused")
    assert notify.is_unsent(webhook(9), error)
    assert not notify.is_unsent(webhook(9), notify.httpx.ReadTimeout("slow"))
    assert not notify.is_unsent(_Dying(), error)
