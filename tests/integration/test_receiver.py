"""The receiver on real sockets: verified, stored, acknowledged; and nothing stored that is not verified."""

import json
import logging
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest
import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import SecretStr

from clarion.ledger.answer_tables import SUPPRESSION, WEBHOOK_TOKEN
from clarion.ledger.database import Database
from clarion.models.webhook_credentials import VonageWebhook
from clarion.receiving import writer
from clarion.receiving.endpoints import make_endpoint, open_endpoint
from tests.integration.receivers import (
    GENERIC_PATH,
    PUBLIC_URL,
    TWILIO_PATH,
    VONAGE_PATH,
    post_vonage,
    receiver,
    stored,
)
from tests.unit.webhook_payloads import (
    INBOUND_SMS,
    MESSAGE_STATUS,
    SMS_INBOUND,
    SMS_RECEIPT,
    TWILIO_INBOUND,
    TWILIO_STATUS,
    VONAGE,
    as_body,
)
from tests.unit.webhook_signers import OTHER_SECRET, SECRET, sms_parameters, twilio_signature, vonage_token

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def client(database: Database) -> Iterator[httpx.Client]:
    """A client of a receiver with one endpoint of each kind."""
    with receiver(database) as client:
        yield client


def suppressed(database: Database) -> list[str]:
    """The addresses that nothing is sent to."""
    with database.read() as connection:
        return list(connection.scalars(sa.select(SUPPRESSION.c.address)))


def inbound(number: int, *, text: str = "Hello") -> bytes:
    """The body of an inbound message of its own."""
    return as_body({**INBOUND_SMS, "message_uuid": f"message-{number}", "text": text})


@pytest.mark.parametrize("name", sorted(VONAGE))
def test_documented_payload_is_stored_before_its_answer(client: httpx.Client, database: Database, name: str):
    """Every documented payload of Vonage, signed, is one stored event with all that came."""
    assert post_vonage(client, as_body(VONAGE[name])) == 200
    [row] = stored(database)
    assert orjson.loads(row["data"]) == VONAGE[name]
    assert (row["endpoint"], row["state"]) == ("vonage-webhook/main", "received")
    assert row["received_at"] is not None
    assert len(row["uid"]) == 36


def test_addresses_are_stored_in_one_spelling(client: httpx.Client, database: Database):
    """An index finds a number however a provider writes it."""
    signature = twilio_signature(f"{PUBLIC_URL}{TWILIO_PATH}", TWILIO_INBOUND)
    headers = {**FORM, "X-Twilio-Signature": signature}
    assert client.post(TWILIO_PATH, content=urlencode(TWILIO_INBOUND), headers=headers).status_code == 200
    [row] = stored(database)
    assert (row["recipient"], row["sender"]) == ("15017122661", "15558675310")
    assert orjson.loads(row["data"])["From"] == "+15017122661"


def test_sms_api_is_taken_by_get_and_post(client: httpx.Client, database: Database):
    """Inbound messages and receipts of the SMS API: in the query, as a form, as JSON; each stored once."""
    message, receipt = sms_parameters(SMS_INBOUND), sms_parameters({**SMS_RECEIPT, "nonce": "of-the-receipt"})
    answers = [
        client.get(VONAGE_PATH, params=message),
        client.post(VONAGE_PATH, data=message),
        client.post(VONAGE_PATH, json=receipt),
        client.get(VONAGE_PATH, params=receipt),
    ]
    # A nonce is good for one content: the same parameters in another place are not what was signed with it.
    assert [answer.status_code for answer in answers] == [200, 401, 200, 401]
    assert [row["type"] for row in stored(database)] == ["recipient-response", "action-call-info"]


def test_twilio_receipt_is_stored_and_a_wrong_url_refused(client: httpx.Client, database: Database):
    """The public URL is what Twilio signs; its answer is empty, so that Twilio says nothing."""
    for url, status in ((f"{PUBLIC_URL}{TWILIO_PATH}", 200), (f"http://127.0.0.1{TWILIO_PATH}", 401)):
        headers = {**FORM, "X-Twilio-Signature": twilio_signature(url, TWILIO_STATUS)}
        answer = client.post(TWILIO_PATH, content=urlencode(TWILIO_STATUS), headers=headers)
        assert answer.status_code == status
        assert (answer.content == b"") == (status == 200)
    assert [row["status"] for row in stored(database)] == ["undelivered"]


def test_redelivery_is_acknowledged_and_stored_once(client: httpx.Client, database: Database):
    """The same event again, by the same token or by a new one, is answered 200 and kept once."""
    body = inbound(1)
    token = vonage_token(body)
    assert [post_vonage(client, body, token=each) for each in (token, token, None)] == [200, 200, 200]
    assert len(stored(database)) == 1
    unknown = as_body({"kind": "without an id"})
    tokens = [vonage_token(unknown) for _ in range(2)]
    assert [post_vonage(client, unknown, token=each) for each in (*tokens, *tokens)] == [200] * 4
    assert len(stored(database)) == 3  # two tokens, so two events; each delivered twice


def test_same_body_of_a_constant_token_is_stored_once(client: httpx.Client, database: Database):
    """A service without ids of events: the same token and body is a redelivery."""
    for payload in ({"a": 1}, {"a": 1}, {"a": 2}):
        assert client.post(GENERIC_PATH, json=payload, headers=BEARER).status_code == 200
    assert [orjson.loads(row["data"]) for row in stored(database)] == [{"a": 1}, {"a": 2}]


def test_replayed_token_with_another_body_is_refused(
    client: httpx.Client, database: Database, caplog: pytest.LogCaptureFixture
):
    """A token that was used is good for nothing else, also after a restart of the receiver."""
    assert post_vonage(client, inbound(1), jti="once") == 200
    assert post_vonage(client, inbound(2), jti="once") == 401
    with receiver(database) as another:
        assert post_vonage(another, inbound(3), jti="once") == 401
        assert post_vonage(another, inbound(1), jti="once") == 200
    assert [row["provider_event_id"] for row in stored(database)] == ["inbound:message-1"]
    assert "a replay" in caplog.text


def test_get_with_a_token_is_refused(client: httpx.Client, database: Database):
    """Whoever sees a token of a GET, which covers no parameter, cannot put any behind it."""
    headers = {"Authorization": f"Bearer {vonage_token(b'')}"}
    assert client.get(VONAGE_PATH, params=SMS_INBOUND, headers=headers).status_code == 401
    assert stored(database) == []


def test_signed_body_under_another_name_is_no_other_message(client: httpx.Client, database: Database):
    """The same body and token as a form: what it would say as one suppresses nobody."""
    body = inbound(1, text="hi&msisdn=447700900777&text=STOP&messageId=Q")
    headers = {"Authorization": f"Bearer {vonage_token(body)}"}
    for media, status in (("application/json", 200), (FORM["Content-Type"], 401), ("text/plain", 200)):
        answer = client.post(VONAGE_PATH, content=body, headers={**headers, "Content-Type": media})
        assert answer.status_code == status
    assert len(stored(database)) == 1
    assert suppressed(database) == []


def test_signed_parameters_bring_nothing_along(client: httpx.Client, database: Database):
    """A list with a second entry, and the nonce hidden in a name: neither is stored nor suppresses."""
    signed = sms_parameters(SMS_INBOUND)
    hidden = {name: value for name, value in signed.items() if name not in {"msisdn", "nonce"}}
    hidden[f"msisdn={signed['msisdn']}&nonce"] = signed["nonce"]
    forged = {**SMS_INBOUND, "msisdn": "447700900777", "messageId": "F1", "text": "STOP"}
    for sent in ([signed, forged], [hidden, forged], hidden):
        assert client.post(VONAGE_PATH, json=sent).status_code == 401
    assert client.post(VONAGE_PATH, json=signed).status_code == 200
    assert len(stored(database)) == 1
    assert suppressed(database) == []


@pytest.mark.parametrize("levels", [100, 300, 1_000, 1_025, 20_000])
def test_opt_out_in_a_deep_body_is_heard(client: httpx.Client, database: Database, levels: int):
    """A field that is nested too deeply is kept as text; the message beside it is read, and acted on."""
    body = b'{"extra": %s, %s' % (b"[" * levels + b"]" * levels, inbound(1, text="STOP").removeprefix(b"{"))
    assert post_vonage(client, body) == 200
    [row] = stored(database)
    assert row["text"] == "STOP"
    assert orjson.loads(row["data"])["text"] == "STOP"
    assert suppressed(database) == [row["recipient"]]


def test_list_of_too_many_entries_is_refused(
    client: httpx.Client, database: Database, caplog: pytest.LogCaptureFixture
):
    """A request has so many events; of one with more nothing is read, and both sides are told."""
    for entries, status in ((1_001, 413), (100_000, 413), (1_000, 200)):
        answer = client.post(GENERIC_PATH, json=[{"n": 1}] * entries, headers=BEARER)
        assert answer.status_code == status
        assert status == 200 or answer.json() == {"error": "more than 1,000 entries in one request"}
        assert len(stored(database)) == (1_000 if status == 200 else 0)
    assert "more than 1,000 entries" in caplog.text


OF_ANOTHER_BODY = "Bearer of another body"


@pytest.mark.parametrize("header", [None, "Bearer x.y.z", "Basic YTpi", OF_ANOTHER_BODY])
def test_unverified_request_is_refused_and_its_setting_named(
    client: httpx.Client, database: Database, caplog: pytest.LogCaptureFixture, header: str | None
):
    """401, nothing stored, and the log says what to check without an address or a token."""
    if header == OF_ANOTHER_BODY:
        header = f"Bearer {vonage_token(b'other')}"  # signed now: it ages
    headers = {} if header is None else {"Authorization": header}
    answer = client.post(VONAGE_PATH, content=as_body(MESSAGE_STATUS), headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": "not verified"}
    assert stored(database) == []
    [record] = [each for each in caplog.records if each.name == "clarion.receiving.app"]
    assert record.getMessage().startswith("vonage-webhook/main: a request ")
    assert any(word in record.getMessage() for word in ("signature_secret", "dashboard", "payload_hash"))
    assert "447700900000" not in caplog.text
    assert "x.y.z" not in caplog.text


def test_rotated_secrets_are_both_taken(database: Database):
    """For as long as the previous secret is saved beside the new one."""
    credentials = VonageWebhook(
        signature_secret=SecretStr(OTHER_SECRET), previous_signature_secret=SecretStr(SECRET)
    )
    with receiver(database, served=[make_endpoint("main", credentials)]) as client:
        assert post_vonage(client, inbound(1), secret=OTHER_SECRET) == 200
        assert post_vonage(client, inbound(2), secret=SECRET) == 200
        assert post_vonage(client, inbound(3), secret="t" * 40) == 401
    assert len(stored(database)) == 2


def test_body_limit_is_kept(database: Database):
    """One byte too many is 413, told in advance or not; nothing of it is read on or stored."""
    with receiver(database, max_body_bytes=2_000) as client:
        body = inbound(1, text="x" * 3_000)
        assert post_vonage(client, body) == 413
        chunks = client.post(VONAGE_PATH, content=iter([body[:1_500], body[1_500:]]))
        assert chunks.status_code == 413
        assert post_vonage(client, inbound(2, text="x" * 1_000)) == 200
    assert len(stored(database)) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("POST", "/webhooks/vonage-webhook/other", 404),
        ("POST", "/webhooks/nothing/main", 404),
        ("HEAD", VONAGE_PATH, 405),
        ("PUT", VONAGE_PATH, 405),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
    ],
)
def test_pages_that_are_there_and_not_there(client: httpx.Client, method: str, path: str, status: int):
    """Health, the endpoints, and nothing else."""
    assert client.request(method, path).status_code == status


def test_opt_out_suppresses_in_the_same_transaction(client: httpx.Client, database: Database):
    """Once a STOP is acknowledged, its sender is suppressed."""
    assert post_vonage(client, inbound(1, text=" stop! ")) == 200
    with database.read() as connection:
        assert connection.scalars(sa.select(SUPPRESSION.c.address)).all() == ["447700900001"]


def test_on_stored_is_called_for_new_events_only(database: Database):
    """The nudge comes after the commit, in another thread, and not for what was there."""
    nudged: list[int] = []
    with receiver(database, on_stored=lambda: nudged.append(len(stored(database)))) as client:
        for _ in range(3):
            assert post_vonage(client, inbound(1)) == 200
        assert post_vonage(client, inbound(2)) == 200
    assert nudged == [1, 2]


def test_routers_are_served_beside(database: Database):
    """Links, pages and conversions are routers of the same application, with their start and end."""
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None]:
        told.append("begin")
        yield
        told.append("end")

    router = APIRouter(lifespan=lifespan)
    router.add_api_route("/l/{token}", lambda token: told.append(str(token)))
    with receiver(database, routers=[router]) as client:
        assert client.get("/l/abc").status_code == 200
        assert post_vonage(client, inbound(1)) == 200
    assert told == ["begin", "abc", "end"]


def test_access_log_names_nobody(database: Database, caplog: pytest.LogCaptureFixture):
    """Method, page, status, time; no address, no query, no token of a link, no unknown path."""
    caplog.set_level(logging.INFO, logger="clarion.access")
    router = APIRouter()
    router.add_api_route("/l/{token}", lambda token: {"token": token})
    with receiver(database, routers=[router]) as client:
        client.get(VONAGE_PATH, params={"msisdn": "447700900999", "text": "secret words"})
        client.get("/l/of-somebody")
        client.get("/447700900999/of-somebody")
        client.get("/webhooks/447700900999/of-somebody")
        client.get("/health?who=of-somebody")
    records = [each for each in caplog.records if each.name == "clarion.access"]
    facts = [(each.method, each.path, each.status) for each in records]  # type: ignore[attr-defined]
    assert facts == [
        ("GET", VONAGE_PATH, 401),
        ("GET", "/l/{token}", 200),
        ("GET", None, 404),
        ("GET", None, 404),
        ("GET", "/health", 200),
    ]
    text = "\n".join(json.dumps(vars(each), default=str) for each in records)
    assert not any(word in text for word in ("447700900999", "secret", "of-somebody", "127.0.0.1"))


def test_provider_that_fails_to_read_loses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """A mistake in a provider's module keeps the raw request as an unknown event, and says so."""
    endpoint = open_endpoint("vonage-webhook", "main")
    monkeypatch.setattr(endpoint.provider, "events", lambda *_, **__: 1 / 0)
    with receiver(database, served=[endpoint]) as client:
        assert client.post(VONAGE_PATH, content=b"STOP of 447700900001").status_code == 200
    [row] = stored(database)
    assert (row["type"], orjson.loads(row["data"])) == ("unknown", {"body": "STOP of 447700900001"})
    assert "ZeroDivisionError" in caplog.text
    assert "447700900001" not in caplog.text


def test_event_is_refused_while_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """503 with a time to come again: what is not durable is never acknowledged, and comes once more."""
    monkeypatch.setattr(writer, "FIRST_RETRY_SECONDS", 0.0)
    broken = threading.Event()
    write = database.write

    def refuse() -> Any:
        if broken.is_set():
            raise sa.exc.OperationalError("INSERT", {}, Exception("disk I/O error"))
        return write()

    monkeypatch.setattr(database, "write", refuse)
    with receiver(database) as client:
        broken.set()
        headers = {"Authorization": f"Bearer {vonage_token(inbound(1))}"}
        answer = client.post(VONAGE_PATH, content=inbound(1), headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        broken.clear()
        assert client.post(VONAGE_PATH, content=inbound(1), headers=headers).status_code == 200
    assert len(stored(database)) == 1
    assert "disk I/O error" in caplog.text


def test_event_that_cannot_be_written_fails_alone(database: Database, monkeypatch: pytest.MonkeyPatch):
    """What the database will not take is told to its sender, and keeps nothing else out of its commit."""

    def unwritable(connection: Any, endpoint: str, events: Any) -> None:
        if any(event.text == "bad" for event in events):
            raise sa.exc.DataError("INSERT", {}, Exception("bad"))

    monkeypatch.setattr(writer, "suppress_opt_outs", unwritable)
    texts = ["good", "bad", "good", "good", "bad", "good"] * 5
    with receiver(database) as client, ThreadPoolExecutor(8) as pool:
        bodies = [inbound(number, text=text) for number, text in enumerate(texts)]
        statuses = list(pool.map(lambda body: post_vonage(client, body), bodies))
    assert statuses == [503 if text == "bad" else 200 for text in texts]
    assert sorted(row["text"] for row in stored(database)) == ["good"] * 20


def test_concurrent_redeliveries_are_stored_once(client: httpx.Client, database: Database):
    """Many at once, each several times: every event once, every answer 200, in few commits."""
    bodies = [inbound(number) for number in range(40)] * 3
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda body: post_vonage(client, body), bodies))
    assert statuses == [200] * 120
    assert len(stored(database)) == 40


def test_old_tokens_are_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch):
    """A token is kept for as long as its signature could be believed, and not for ever."""
    monkeypatch.setattr(writer, "FORGET_EVERY_SECONDS", 0.0)
    with receiver(database) as client:
        assert post_vonage(client, inbound(1), jti="old") == 200
        with database.write() as connection:
            old = datetime.now(UTC) - timedelta(days=3)
            connection.execute(WEBHOOK_TOKEN.update().values(received_at=old))
        assert post_vonage(client, inbound(2), jti="new") == 200
    with database.read() as connection:
        assert connection.scalars(sa.select(WEBHOOK_TOKEN.c.token)).all() == ["new"]
