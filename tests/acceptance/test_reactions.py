"""Reactions of every kind, on real sockets: opt-outs are confirmed, jobs started, people told."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from blocks.documents import save_document
from blocks.job import Job
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run, list_runs
from clarion.sandbox import Sandbox
from flows import handle_events as handling
from flows.handle_events import handle_events
from flows.start_job import start_job
from tests.acceptance.campaigns import action, write_people
from tests.acceptance.conftest import Command
from tests.acceptance.replies import THANKS, reactions_run, say, thanked, write_answered_job
from tests.integration.handled_runs import reactions
from tests.integration.ledger_runs import rows_of

REPLY = 'event.type == "recipient-response"'


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Keeps what is posted; the first so many requests fail."""
        server: Any = self.server
        server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(500 if len(server.told) <= server.failures else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def hook(prefect_server: None) -> Iterator[Any]:
    """A server that takes notifications, in its `told`; the saved block `custom-webhook/desk` posts there."""
    server: Any = HTTPServer(("127.0.0.1", 0), _Hook)
    server.told, server.failures = [], 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    CustomWebhookNotificationBlock(
        name="desk",
        url=f"http://127.0.0.1:{server.server_port}/",
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    ).save("desk", overwrite=True)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def at(sandbox: Sandbox) -> dict[str, Any]:
    """What makes the action of the tests call a sandbox as if it were the provider itself."""
    return {"command": action()["command"] | {"url": f"{sandbox.url}/v1/messages"}}


def sent_to(sandbox: Sandbox, number: int) -> list[str]:
    """The texts that somebody got."""
    recipient = f"+1202555{number:04d}"
    return [request["body"]["text"] for request in sandbox.requests(recipient=recipient)]


def test_stop_is_confirmed_once_and_nothing_more_goes_out(clarion: Command, home: Path, ledger: Database):
    """The answer to a STOP leaves although its recipient is suppressed by then; later ones get none."""
    write_people(home, 2)
    confirm = THANKS | {"name": "bye", "condition": REPLY, "template": {"message": "You are out."}}
    with Sandbox() as sandbox:
        job = write_answered_job(home, events=[confirm, confirm | {"name": "again"}], **at(sandbox))
        assert clarion("run", job, "--json").code == 0
        say(ledger, range(1, 2), "STOP")
        handle_events()
        say(ledger, range(1, 2), "stop")
        say(ledger, range(1, 2), "Are you there?")
        handle_events()
        assert sent_to(sandbox, 1) == ["Hello 1", "You are out."]
        assert clarion("run", job, "--new", "--json").json["skipped_by_reason"] == {"suppressed": 1}
        assert sent_to(sandbox, 1) == ["Hello 1", "You are out."]
    child = reactions_run(ledger)
    assert sorted(rows_of(ledger, child.id, "status", "reason")) == sorted(
        [("succeeded", None), *[("skipped", "suppressed")] * 5]
    )


def test_answer_starts_another_job_for_that_recipient_once(
    clarion: Command, home: Path, ledger: Database, monkeypatch: pytest.MonkeyPatch
):
    """A run of the saved job with the one item, though it is started again before that could be noted."""
    write_people(home, 3)
    with Sandbox() as sandbox:
        welcome = json.loads(
            write_answered_job(home, events=[], **at(sandbox)).read_text(encoding="utf-8")
        ) | {
            "name": "welcome",
            "recipients": {"include": [{"items": [{"id": 0, "phone": "x"}], "key": "id"}]},
        }
        welcome["segments"][0]["template"] = {"message": "Welcome, {{ item['First Name'] }}"}
        save_document(Job.model_validate(welcome), "welcome", replace=True)
        job = write_answered_job(
            home, events=[{"name": "on", "condition": REPLY, "run_job": "welcome"}], **at(sandbox)
        )
        assert clarion("run", job, "--json").code == 0
        say(ledger, range(2, 3))

        def start_twice(reaction: Any) -> None:
            start_job(reaction)
            start_job(reaction)

        monkeypatch.setattr(handling, "start_job", start_twice)
        assert handle_events() == {"events": 1, "reactions": 1}
        assert sent_to(sandbox, 2) == ["Hello 2", "Welcome, Ann 2"]
        assert len(sandbox.requests()) == 4
    started, parent = list_runs(ledger, limit=9, children=True)
    assert (started.job_name, started.kind, started.parent_id) == ("welcome", "reaction", parent.id)
    assert (started.status, started.counts["succeeded"], started.total) == ("completed", 1, 1)
    assert reactions(ledger, "kind", "status", "attempts") == [("run_job", "done", 1)]
    assert [run.id for run in list_runs(ledger, limit=9)] == [parent.id]


def test_people_are_told_by_a_notification_block(
    clarion: Command, home: Path, ledger: Database, hook: Any, monkeypatch: pytest.MonkeyPatch
):
    """Its texts are templates; what was refused may have reached somebody, and does not come again."""
    monkeypatch.setattr("clarion.ledger.answering.FIRST_WAIT_SECONDS", 0.05)
    hook.failures = 1
    write_people(home, 2)
    told = {
        "block": "custom-webhook/desk",
        "subject": "{{ job.name }}",
        "body": "{{ item.id }} says {{ event.text }}",
    }
    with Sandbox() as sandbox:
        events = [{"name": "tell", "condition": REPLY, "notify": told}]
        job = write_answered_job(home, events=events, **at(sandbox))
        assert clarion("run", job, "--json").code == 0
        say(ledger, range(1, 2), "Call me")
        handle_events()
        say(ledger, range(2, 3), "Me too")
        handle_events()
    assert hook.told == [
        {"subject": "hello", "body": "1 says Call me"},
        {"subject": "hello", "body": "2 says Me too"},
    ]
    assert reactions(ledger, "status", "attempts", "error") == [
        ("failed", 1, "an error (HTTPStatusError)"),
        ("done", 1, None),
    ]


def test_reactions_run_that_is_stopped_answers_nothing_more(clarion: Command, home: Path, ledger: Database):
    """It has ended with the last answer; a person may stop it all the same, and pause it before."""
    write_people(home, 3)
    with Sandbox() as sandbox:
        job = write_answered_job(home, **at(sandbox))
        assert clarion("run", job, "--json").code == 0
        say(ledger, range(1, 2))
        handle_events()
        child = reactions_run(ledger)
        assert clarion("pause", child.uid).code == 0
        say(ledger, range(2, 3))
        handle_events()
        assert (get_run(ledger, child.id).status, len(thanked(sandbox))) == ("paused", 1)
        assert clarion("resume", child.uid).code == 0
        assert (get_run(ledger, child.id).status, len(thanked(sandbox))) == ("completed", 2)
        assert clarion("stop", child.uid).code == 0
        say(ledger, range(3, 4))
        handle_events()
        assert (get_run(ledger, child.id).status, len(thanked(sandbox))) == ("stopped", 2)
    assert rows_of(ledger, child.id, "status", "reason") == [
        ("succeeded", None),
        ("succeeded", None),
        ("skipped", "stopped"),
    ]


@pytest.mark.parametrize(
    ("reaction", "told"),
    [
        ({"run_job": "nowhere"}, "events[0].run_job: no block job/nowhere is saved"),
        ({"notify": {"block": "slack-webhook/none", "body": "x"}}, "events[0].notify: "),
        ({"add_to_list": "nowhere"}, "events[0].add_to_list: list: there is no managed list 'nowhere'"),
        ({"emit": "nowhere"}, "events[0].emit: there is no subscriber 'nowhere'"),
    ],
)
def test_handler_that_names_what_is_not_there_is_refused(
    clarion: Command, home: Path, ledger: Database, reaction: dict[str, Any], told: str
):
    """Before the run: an answer may come when nobody looks."""
    write_people(home, 1)
    job = write_answered_job(home, events=[{"name": "x", "condition": REPLY, **reaction}])
    outcome = clarion("run", job)
    assert outcome.code == 2
    assert told in outcome.err
    assert list_runs(ledger, limit=1) == []
