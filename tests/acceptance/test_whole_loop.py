"""Everything that comes back, in one campaign on real sockets: the report's numbers are the provider's."""

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from blocks.credentials import WebhookSecret
from blocks.documents import save_document
from clarion.conversions import routes as conversions
from clarion.ledger.answering import is_any_received
from clarion.ledger.database import DATABASE_URL_SETTING, Database
from clarion.ledger.runs import find_run
from clarion.ledger.webhooks import count_deliveries
from clarion.links.making import LINK_BASE_URL_SETTING
from clarion.links.routes import links_router
from clarion.links.unsubscribe_routes import unsubscribe_router
from clarion.models.webhook_credentials import GenericWebhook, VonageWebhook
from clarion.models.webhook_secret import new_secret
from clarion.receiving.app import create_app
from clarion.receiving.background import serving
from clarion.receiving.endpoints import make_endpoint
from clarion.receiving.server import listen, url_of
from clarion.reporting import build_report
from clarion.sandbox import Answers, Sandbox, reply_plan
from clarion.sandbox.answers import DUMMY_SECRET
from flows.handle_events import Drainer
from tasks.sessions import ledger as shared_ledger
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command
from tests.acceptance.replies import THANKS, reactions_run, thanked
from tests.integration.sender_runs import until
from tests.integration.webhook_receiver import Receiver, receiving

PEOPLE = 120
STOPPERS = range(PEOPLE - 9, PEOPLE + 1)
AGREEING = range(1, 21)
TOKEN = "token-of-the-shop-0123456789"
SHOP = "https://shop.example/offer"


@dataclass(frozen=True)
class Answered:
    """Where what comes back is received, and who is told of it."""

    url: str
    crm: Receiver
    secret: str
    drainer: Drainer


@pytest.fixture
def ledger(home: Path, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The ledger of everyone here, once on SQLite and once on PostgreSQL."""
    monkeypatch.setenv(DATABASE_URL_SETTING, empty_url)
    with Database(empty_url) as database:
        yield database


@pytest.fixture
def answered(
    home: Path, prefect_server: None, ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Answered]:
    """A receiver of everything, which handles it as it comes, and a subscriber."""
    vonage = make_endpoint("main", VonageWebhook(signature_secret=SecretStr(DUMMY_SECRET)))
    shop = make_endpoint("conversions", GenericWebhook(token=SecretStr(TOKEN)))
    listening = listen("127.0.0.1", 0)
    monkeypatch.setenv(LINK_BASE_URL_SETTING, url_of(listening))
    database, secret = shared_ledger(), new_secret()
    with Drainer() as drainer, receiving() as crm:
        app = create_app(
            database,
            [vonage],
            routers=[
                links_router(database),
                unsubscribe_router(database),
                conversions.conversions_router(database, shop, on_stored=drainer.nudge),
            ],
            on_stored=drainer.nudge,
        )
        with serving(app, listening):
            yield Answered(url_of(listening), crm, secret, drainer)


def phone(number: int) -> str:
    """As the provider gets it."""
    return f"+1202555{number:04d}"


def write_campaign(folder: Path, sandbox: Sandbox, answered: Answered) -> Path:
    """Two messages to each: the first with a link and fast, the second slowly, after it."""
    name = f"crm-{secrets.token_hex(4)}"
    save_document(WebhookSecret(secret=SecretStr(answered.secret)), name, replace=False)
    write_people(folder, PEOPLE)
    command = action()["command"] | {"url": f"{sandbox.url}/v1/messages"}
    text = f"{{{{ link('{SHOP}', name='offer') }}}} for number {{{{ item.id }}}}"
    receipts = action()["response"] | {
        "status": {"value": "{{ event.status }}", "success_statuses": ["delivered"]}
    }
    return write_job(
        folder,
        matching="all",
        segments=[
            {"name": "first", "action": "send-sms", "template": {"message": text}},
            {"name": "second", "action": "remind", "template": {"message": "Still time, {{ item.id }}"}},
        ],
        actions={
            "send-sms": action(command=command, response=receipts),
            # Ten seconds after the first message, so that every STOP is there before, on a busy machine too.
            "remind": action(command=command, response=receipts, tps=11),
        },
        events=[THANKS],
        webhooks=[
            {
                "name": "crm", "url": f"{answered.crm.url}/hooks", "events": ["recipient-response"],
                "secret": f"webhook-secret/{name}",
            }
        ],
    )  # fmt: skip


def write_replies(folder: Path) -> Path:
    """Some say yes, others STOP, once each."""
    lines = [f"{phone(n)},Yes please" for n in AGREEING] + [f"{phone(n)},STOP" for n in STOPPERS]
    file = folder / "replies.csv"
    file.write_text("\n".join(["recipient,text", *lines]), encoding="utf-8")
    return file


def convert(answered: Answered, recipients: list[str]) -> None:
    """The shop tells of what these have bought."""
    for number, recipient in enumerate(recipients):
        body = {"recipient": recipient, "name": "order", "value": 10.5, "currency": "EUR"}
        body["event_id"] = f"order-{number}"
        posted = httpx.post(
            f"{answered.url}{conversions.PATH}",
            json=body,
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        )
        assert posted.is_success, posted.text


def test_whole_loop_adds_up(clarion: Command, home: Path, ledger: Database, answered: Answered):
    """Run, receipts, replies and reactions, a STOP in the middle, clicks, conversions, outgoing webhooks."""
    answers = Answers(
        webhooks=f"{answered.url}/webhooks/vonage-webhook/main", receipts=0.9, clicks=0.3, duplicates=0.2,
        delay_ms=1, seed=3, replies=reply_plan(str(write_replies(home))),
    )  # fmt: skip
    with Sandbox(answers=answers) as sandbox:
        job = write_campaign(home, sandbox, answered)
        report = clarion("run", job, "--json").json
        assert report["status"] == "completed"
        assert sandbox.wait_for_answers()
        converted = sorted(sandbox.stats()["answers"]["clicks"])[:7]
        convert(answered, converted)
        run = find_run(ledger, report["run_id"])

        def is_quiet() -> bool:
            events = is_any_received(ledger) or not sandbox.wait_for_answers()
            child = reactions_run(ledger)
            posted = count_deliveries(ledger).get("hello/crm", {})
            return not (events or child.counts["pending"] or child.counts["sending"] or posted.get("pending"))

        until(is_quiet)
        stats = sandbox.stats()
        thanks = thanked(sandbox)
    told, report = stats["answers"], build_report(ledger, run)
    child = build_report(ledger, reactions_run(ledger))
    came_back = report["answers"]
    assert_receipts(told, came_back, child)
    assert came_back["responded"] == len(told["replies"]) == len(AGREEING) + len(STOPPERS)
    assert came_back["clicked"] == len(told["clicks"]) == sum(told["clicks"].values()) > 10
    assert (came_back["converted"], came_back["values"]) == (7, {"EUR": 73.5})
    assert came_back["unsubscribed"] == len(STOPPERS)
    assert thanks == dict.fromkeys(map(phone, AGREEING), 1)
    assert came_back["reactions"] == len(AGREEING)
    assert report["skipped_by_reason"] == {"suppressed": len(STOPPERS)}
    assert {each: stats["recipients"][each] for each in map(phone, STOPPERS)} == dict.fromkeys(
        map(phone, STOPPERS), 1
    )
    assert stats["accepted"] == 2 * PEOPLE - len(STOPPERS) + len(AGREEING)
    assert_told(answered, told["replies"])


def assert_receipts(told: dict[str, Any], came_back: dict[str, Any], child: dict[str, Any]) -> None:
    """What the provider says it delivered is what the campaign and its reactions say."""
    for name, count in (("delivered", told["delivered"]), ("undelivered", told["rejected"])):
        assert came_back[name] + child["answers"].get(name, 0) == sum(count.values()) > 0


def assert_told(answered: Answered, replies: dict[str, int]) -> None:
    """The subscriber has heard of every reply once, and each time signed."""
    webhook = Webhook(answered.secret)
    events = [webhook.verify(each.body, each.headers) for each in answered.crm.received]
    assert Counter(f"+{event['data']['recipient']}" for event in events) == replies
    assert {event["type"] for event in events} == {"recipient-response"}
    assert {event["data"]["job"] for event in events} == {"hello"}
