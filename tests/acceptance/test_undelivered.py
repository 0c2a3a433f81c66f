"""Messages that were not delivered: receipts come after the run has ended, and another channel is tried."""

from pathlib import Path

from clarion.ledger.database import Database
from clarion.ledger.events import store_events
from clarion.ledger.items import read_items
from clarion.ledger.runs import get_run, list_runs
from clarion.receiving.incoming import IncomingEvent
from clarion.sandbox import Sandbox
from flows.handle_events import handle_events
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command
from tests.integration.ledger_runs import assert_counts_add_up, attempts_of

PEOPLE = 6


def write_job_with_mail(home: Path) -> Path:
    """A job that texts everybody, and mails those whom the text does not reach."""
    write_people(home, PEOPLE)
    mail = {
        "action": "send-mail",
        "recipient": "{{ item.id }}@example.com",
        "template": {"message": "Hello by mail, {{ item.id }}"},
    }
    segment = {
        "name": "all",
        "action": "send-sms",
        "template": {"message": "Hello {{ item.id }}"},
        "fallback": [mail],
        "fallback_on": ["undelivered"],
    }
    return write_job(home, segments=[segment], actions={"send-sms": action(), "send-mail": action()})


def tell(database: Database, status: str, *invocation_ids: str) -> None:
    """Stores receipts, as the receiver does."""
    events = [
        IncomingEvent(
            type="action-call-info", provider_event_id=f"{each}:{status}", invocation_id=each, status=status
        )
        for each in invocation_ids
    ]
    with database.write() as connection:
        store_events(connection, "vonage/main", events)


def test_undelivered_texts_are_followed_by_mails(clarion: Command, home: Path, ledger: Database):
    """Once each, to those alone; the run that had ended is taken up and ends again."""
    with Sandbox() as sandbox:
        assert clarion("run", write_job_with_mail(home), "--against", sandbox.url, "--json").code == 0
        (run,) = list_runs(ledger, limit=9)
        ids = [item["invocation_id"] for page in read_items(ledger, run.id) for item in page]
        tell(ledger, "submitted", *ids)
        tell(ledger, "delivered", *ids[:3])
        tell(ledger, "undeliverable", *ids[3:5])
        assert handle_events()["events"] == PEOPLE + 5
        tell(ledger, "delivered", *ids[3:5])
        assert handle_events()["events"] == 2
        sent = [request["body"] for request in sandbox.requests()]
    assert sorted(body["to"] for body in sent[PEOPLE:]) == ["4@example.com", "5@example.com"]
    assert len(sent) == PEOPLE + 2
    items = [item for page in read_items(ledger, run.id) for item in page]
    assert [item["action"] for item in items] == ["send-sms"] * 3 + ["send-mail"] * 2 + ["send-sms"]
    assert {item["status"] for item in items} == {"succeeded"}
    assert [attempt["outcome"] for attempt in attempts_of(ledger, run.id)] == ["undelivered"] * 2
    ended = get_run(ledger, run.id)
    assert (ended.status, ended.reason, ended.pending) == ("completed", None, 0)
    assert_counts_add_up(ledger, run.id)
