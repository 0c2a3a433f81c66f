"""How a process that handles events takes its turns: nothing that is due is left until it looks by itself."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from clarion.errors import SettingError
from clarion.handling import handle_batch
from clarion.ledger.database import Database
from flows import handle_events
from flows.handle_events import Handling
from tasks import answering, outside
from tests.integration.handled_runs import THANKS, answered_run, attributed, reply, store
from tests.integration.sender_runs import until

CRM = {
    "name": "crm",
    "url": "http://127.0.0.1:9/",
    "secret": "webhook-secret/crm",
    "events": ["recipient-response"],
}


@pytest.fixture
def handling(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Handling]:
    """A process's part in handling, of the test's ledger."""
    for module in (answering, outside, handle_events):
        monkeypatch.setattr(module, "ledger", lambda: database)
    with Handling(lambda _: handle_batch(database, attributed(database))) as handling:
        monkeypatch.setattr(handling._subscribers, "now", list)
        yield handling


def test_reaction_that_comes_while_the_last_is_ending_is_begun_at_the_next_turn(
    database: Database, handling: Handling, monkeypatch: pytest.MonkeyPatch
):
    """Who sends has looked for the last time, and ends after it was seen at work: another turn is due."""
    ends, begun = threading.Event(), list[Any]()

    def send(run: Any) -> None:
        begun.append(run)
        assert ends.wait(60)

    monkeypatch.setattr(handling._answering, "_answer", send)
    answered_run(database, people=2, events=[THANKS])
    store(database, reply(1))
    handling.turn()
    store(database, reply(2))
    handling.turn()
    ends.set()
    until(lambda: all(each.done() for each in handling._answering._at_work.values()))
    assert handling.busy
    handling.turn()
    assert len(begun) == 2


def test_webhooks_that_cannot_be_posted_are_left_alone_for_a_while(
    database: Database, handling: Handling, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Prefect's API is away: it is tried again after a rest, and nobody is kept at work by it."""
    monkeypatch.setattr(
        handle_events, "deliver_webhooks", lambda **_: (_ for _ in ()).throw(SettingError("is away"))
    )
    answered_run(database, webhooks=[CRM], events=[])
    store(database, reply(1))
    handling.turn()
    until(lambda: handling._posting is None or handling._posting.done())
    for _ in range(3):
        handling.turn()
    assert not handling.busy
    assert caplog.text.count("Webhooks could not be posted") == 1
