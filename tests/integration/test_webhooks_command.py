"""`clarion webhooks` against a real Prefect server, a real ledger and a real receiver."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from standardwebhooks.webhooks import Webhook
from typer.testing import CliRunner

from blocks.credentials import load_credentials
from blocks.webhooks import load_subscribers
from clarion.errors import InputError, JobError
from clarion.ledger.answer_tables import WEBHOOK_DELIVERY
from clarion.ledger.database import Database, database_url
from clarion.ledger.webhooks import enqueue
from clarion.models.subscribers import Subscriber
from clarion.models.webhook_secret import WebhookSecret
from cli.webhooks import register
from tasks.sessions import database_at
from tasks.webhooks import deliver_webhooks, installed_subscribers
from tests.integration.answered_runs import add_event
from tests.integration.webhook_receiver import receiving

Clarion = Callable[..., Any]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The ledger that the commands use."""
    monkeypatch.setenv("CLARION_HOME", str(tmp_path))
    monkeypatch.delenv("CLARION_DATABASE_URL", raising=False)
    return database_at(database_url())


@pytest.fixture
def clarion(prefect_server: None, ledger: Database) -> Clarion:
    """Runs `clarion` with arguments and `--json`; gives what it printed, raises what it raises."""

    def run(*arguments: str, code: int = 0) -> Any:
        app = typer.Typer()
        register(app)
        result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture
def name() -> str:
    """A name that no other test has: blocks outlive a test."""
    return f"crm-{secrets.token_hex(4)}"


def test_webhooks_are_added_posted_to_and_removed(clarion: Clarion, ledger: Database, name: str):
    """From the first command to the signed request: the secret that is shown is the one that signs."""
    with receiving() as receiver:
        url = f"{receiver.url}/hooks"
        added = clarion("webhooks", "add", name, "--url", url, "--event", "click", "--event", "unsubscribe")
        assert added["new"]
        assert clarion("webhooks", "test", name) == {
            "subscriber": name, "taken": True, "status_code": 200, "error": None,
        }  # fmt: skip
        assert (
            Webhook(added["secret"]).verify(receiver.received[0].body, receiver.received[0].headers)["type"]
            == "clarion.test"
        )
        event = add_event(ledger, "click", name="offer")
        with ledger.write() as connection:
            enqueue(connection, [event], subscribers=load_subscribers())
        assert deliver_webhooks()["delivered"] == 1
        Webhook(added["secret"]).verify(receiver.received[1].body, receiver.received[1].headers)
    (row,) = [row for row in clarion("webhooks", "list") if row["subscriber"] == name]
    assert row == {
        "subscriber": name, "url": url, "events": ["click", "unsubscribe"],
        "secret": f"webhook-secret/{name}", "delivered": 1, "pending": 0, "dead": 0,
    }  # fmt: skip
    assert clarion("webhooks", "remove", name) == {"removed": name}
    assert name not in [each.name for each in load_subscribers()]
    with pytest.raises(InputError, match=f"there is no subscriber '{name}'"):
        clarion("webhooks", "remove", name)


def test_webhooks_secret_is_made_once(clarion: Clarion, name: str):
    """A subscriber that is replaced keeps the secret that its receiver has; it is not shown again."""
    options = ("--url", "http://127.0.0.1:9/", "--event", "click")
    made = clarion("webhooks", "add", name, *options)["secret"]
    saved = load_credentials(f"webhook-secret/{name}")
    assert isinstance(saved, WebhookSecret)
    assert saved.secret.get_secret_value() == made
    with pytest.raises(JobError, match="saved already"):
        clarion("webhooks", "add", name, *options)
    replaced = clarion("webhooks", "add", name, *options, "--replace")
    assert replaced == {"saved": f"webhook-subscriber/{name}", "new": False, "secret": None}
    assert made not in json.dumps(clarion("webhooks", "list"))
    other = f"{name}-too"
    clarion("webhooks", "add", other, *options, "--secret", f"webhook-secret/{name}")
    with pytest.raises(JobError, match="saved already"):
        clarion("webhooks", "add", other, *options)
    with pytest.raises(JobError, match="is saved"):
        load_credentials(f"webhook-secret/{other}")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--url", "ftp://x/", "--event", "click"), "must be an http or https URL"),
        (("--url", "http://x/", "--event", "clicks"), "events"),
        (("--url", "http://x/", "--event", "click", "--secret", "bearer-token/x"), "webhook-secret/main"),
        (("--url", "http://x/", "--event", "click", "--secret", "webhook-secret/nowhere"), "is saved"),
    ],
)
def test_webhooks_mistakes_save_nothing(clarion: Clarion, name: str, options: tuple[str, ...], problem: str):
    """A person's mistake is told by its place, and neither a subscriber nor a secret is left behind."""
    with pytest.raises(InputError, match=problem):
        clarion("webhooks", "add", name, *options)
    assert name not in [each.name for each in load_subscribers()]
    with pytest.raises(JobError):
        load_credentials(f"webhook-secret/{name}")


def test_webhooks_test_tells_what_was_answered(clarion: Clarion, name: str, tmp_path: Path):
    """A refusal, and nobody there, end with exit code 1; a job's subscriber is posted to as well."""
    with receiving(lambda _: (500, {})) as receiver:
        clarion("webhooks", "add", name, "--url", receiver.url, "--event", "click")
        assert clarion("webhooks", "test", name, code=1)["status_code"] == 500
        job = {
            "name": "renewals", "recipients": {"include": [{"items": [{"n": "1"}]}]},
            "recipient": "{{ item.n }}", "segments": [{"name": "all", "action": "send"}],
            "actions": {"send": {"command": {"url": "http://127.0.0.1:9/"}}},
            "webhooks": [{"name": "own", "url": f"{receiver.url}/own", "events": ["click"],
                          "secret": f"webhook-secret/{name}"}],
        }  # fmt: skip
        file = tmp_path / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        assert clarion("webhooks", "test", "own", "--job", str(file), code=1)["status_code"] == 500
        assert [request.path for request in receiver.received] == ["/", "/own"]
        with pytest.raises(InputError, match="did you mean 'own'"):
            clarion("webhooks", "test", "onw", "--job", str(file))
    told = clarion("webhooks", "test", name, code=1)
    assert (told["taken"], told["status_code"]) == (False, None)
    assert told["error"].startswith("ConnectError")


def test_webhooks_dead_letters_are_listed_and_replayed(clarion: Clarion, ledger: Database, name: str):
    """What was given up is posted once more by one command."""
    with receiving() as receiver:
        clarion("webhooks", "add", name, "--url", receiver.url, "--event", "click")
        event = add_event(ledger, "click")
        with ledger.write() as connection:
            enqueue(
                connection, [event], subscribers=[each for each in load_subscribers() if each.name == name]
            )
            connection.execute(
                WEBHOOK_DELIVERY.update().values(status="dead", attempts=9, error="answered 500")
            )
        (letter,) = clarion("webhooks", "dead", "--subscriber", name)
        assert (letter["subscriber"], letter["attempts"], letter["error"]) == (name, 9, "answered 500")
        replayed = clarion("webhooks", "replay", "--event", letter["event_id"])
        assert replayed == {"replayed": 1, "delivered": 1, "pending": 0, "dead": 0}
        assert len(receiver.received) == 1
    assert clarion("webhooks", "dead") == []
    assert clarion("webhooks", "replay") == {"replayed": 0, "delivered": 0, "pending": 0, "dead": 0}


def test_subscriber_that_is_not_valid_is_left_out(
    clarion: Clarion, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """One that a newer version or a person's hand has spoilt keeps no event from the others."""
    clarion("webhooks", "add", name, "--url", "http://127.0.0.1:9/", "--event", "click")
    others = {each.name for each in installed_subscribers()}
    validate = Subscriber.model_validate
    spoilt = {"name": name, "url": "", "events": [], "secret": ""}
    monkeypatch.setattr(
        Subscriber, "model_validate", lambda data: validate(spoilt if data["name"] == name else data)
    )
    assert {each.name for each in installed_subscribers()} == others - {name}
    assert "is not valid" in caplog.text
