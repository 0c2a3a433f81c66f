"""Telling people of a run that its provider's errors have paused."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from pydantic import SecretStr

from blocks.credentials import BearerToken
from blocks.notifications import load_notifier
from clarion.errors import JobError
from clarion.ledger.circuits import pause_for_errors
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord, get_run
from tasks import notify
from tests.integration.ledger_databases import SqliteFiles
from tests.integration.ledger_runs import planned_run
from tests.unit.campaigns import make_job

REASON = "3 provider errors in a row: status 500"


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Keeps what is posted."""
        told = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append(json.loads(told))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def sqlite_database(sqlite: SqliteFiles) -> Iterator[Database]:
    """A ledger: what is told does not depend on its kind."""
    url = sqlite.migrated()
    database = Database(url)
    yield database
    database.close()
    sqlite.drop(url)


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    """A server that takes notifications; they are in its `told`."""
    server = HTTPServer(("127.0.0.1", 0), _Hook)
    server.told = []  # ty: ignore[unresolved-attribute]  # ours
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The Prefect events that are emitted."""
    emitted: list[dict[str, Any]] = []
    monkeypatch.setattr(notify, "emit_event", lambda **event: emitted.append(event))
    return emitted


def paused_run(database: Database, *, reason: str | None, block: str | None) -> RunRecord:
    """A run of a job that notifies `block`, as it is after the circuit broke."""
    job = make_job(pause_after_errors=3, notify=block)
    run_id = planned_run(database, 1, job=job.model_dump_json(), job_name=job.name)
    if reason is not None:
        pause_for_errors(database, run_id, reason=reason)
    return get_run(database, run_id)


def webhook(name: str, port: int) -> str:
    """The reference of a saved notification block that posts to this port."""
    CustomWebhookNotificationBlock(
        name=name,
        url=f"http://127.0.0.1:{port}/",
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    ).save(name, overwrite=True)
    return f"custom-webhook/{name}"


def test_pause_for_errors_is_told_with_its_reason(
    prefect_server: None, sqlite_database: Database, hook: HTTPServer, events: list[dict[str, Any]]
):
    """A Prefect event, which automations can act on, and the job's notification block."""
    run = paused_run(sqlite_database, reason=REASON, block=webhook("alerts", hook.server_port))
    notify.tell_paused(run)
    assert hook.told == [  # ty: ignore[unresolved-attribute]  # ours
        {
            "subject": "greetings is paused",
            "body": f"Run {run.uid} of greetings is paused: {REASON}. `clarion resume {run.uid}` goes on.",
        }
    ]
    (event,) = events
    assert (event["event"], event["payload"]["reason"]) == ("clarion.run.paused", REASON)
    assert event["resource"]["prefect.resource.id"] == f"clarion.run.{run.uid}"


def test_pause_that_a_person_asked_for_is_told_nobody(
    sqlite_database: Database, events: list[dict[str, Any]]
):
    """Who pauses knows of it."""
    notify.tell_paused(paused_run(sqlite_database, reason=None, block="custom-webhook/never-saved"))
    assert events == []


def test_notification_that_cannot_be_sent_holds_up_nothing(
    prefect_server: None,
    sqlite_database: Database,
    events: list[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
):
    """The run is paused all the same; the log says that nobody was told."""
    run = paused_run(sqlite_database, reason=REASON, block="custom-webhook/never-saved")
    with caplog.at_level(logging.ERROR, logger="tasks.notify"):
        notify.tell_paused(run)
    (message,) = [record.message for record in caplog.records if record.name == "tasks.notify"]
    assert message.startswith("A notification could not be sent: notify: custom-webhook/never-saved is no")
    assert len(events) == 1


@pytest.mark.parametrize(
    "reference", ["custom-webhook/none-such", "no-such-type/x", "bearer-token/no-notifier"]
)
def test_notifier_that_is_none_is_told(prefect_server: None, reference: str):
    """A typing error is found before the run, not at the moment of need."""
    BearerToken(token=SecretStr("x")).save("no-notifier", overwrite=True)
    with pytest.raises(JobError) as caught:
        load_notifier(reference)
    assert str(caught.value).startswith(
        f"notify: {reference} is no saved notification block; expected one of"
    )
