"""Events on their way to subscribers: signed, tried again, given up, replayed; on real sockets."""

import base64
import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from clarion import outgoing
from clarion.errors import JobError
from clarion.ledger.answer_tables import WEBHOOK_DELIVERY
from clarion.ledger.database import Database, utc_now
from clarion.ledger.tables import RUN
from clarion.ledger.webhooks import (
    Delivery,
    claim_deliveries,
    count_deliveries,
    dead_letters,
    emit,
    enqueue,
    is_any_due,
    replay,
)
from clarion.models.subscribers import Subscriber
from clarion.models.webhook_secret import WebhookSecret, new_secret
from clarion.outgoing import DELAYS_SECONDS, deliver_due, judged
from clarion.sending.auth import RequestAuth
from tests.integration.answered_runs import add_event, rows_with
from tests.integration.ledger_runs import planned_run
from tests.integration.webhook_receiver import receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
REFERENCE = "webhook-secret/main"
ALL = ["recipient-response", "click", "action-call-failed"]


def load_auth(reference: str) -> RequestAuth:
    """The one secret that is saved."""
    if reference != REFERENCE:
        raise JobError(f"no block {reference} is saved")
    return WebhookSecret(secret=SecretStr(SECRET)).auth()


def subscriber(url: str, **changes: Any) -> Subscriber:
    """One that wants all of ALL."""
    given = {"name": "crm", "url": url, "events": ALL, "secret": REFERENCE, **changes}
    return Subscriber.model_validate(given)


def job_with(*subscribers: Subscriber) -> str:
    """A run's job, as far as its webhooks go."""
    return orjson.dumps({"webhooks": [each.model_dump() for each in subscribers]}).decode()


def delivered(database: Database, *subscribers: Subscriber) -> dict[str, int]:
    """One go at what is due."""
    return deliver_due(database, subscribers=subscribers, load_auth=load_auth, seconds=30)


def enqueued(database: Database, *ids: int, subscribers: tuple[Subscriber, ...] = ()) -> int:
    """Enqueues in a transaction."""
    with database.write() as connection:
        return enqueue(connection, list(ids), subscribers=subscribers)


def make_due(database: Database) -> None:
    """Lets every wait be over."""
    with database.write() as connection:
        pending = WEBHOOK_DELIVERY.c.status == "pending"
        connection.execute(WEBHOOK_DELIVERY.update().where(pending).values(due_at=utc_now()))


def test_event_is_posted_and_signed_by_the_specification(database: Database):
    """The library that the specification's authors wrote finds it good, and so does the formula by hand."""
    run_id = planned_run(database, 2)
    event = add_event(
        database, "recipient-response", run_id=run_id, run_item_id=1, recipient="447700900000", text="Ja, €!"
    )
    with receiving() as receiver:
        crm = subscriber(f"{receiver.url}/hooks?a=1")
        assert enqueued(database, event, subscribers=(crm,)) == 1
        assert delivered(database, crm) == {"delivered": 1, "pending": 0, "dead": 0}
    (request,) = receiver.received
    payload = Webhook(SECRET).verify(request.body, request.headers)
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = (
        f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    )
    by_hand = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{by_hand}"
    assert (request.method, request.path) == ("POST", "/hooks?a=1")
    assert request.headers["content-type"] == "application/json"
    (run,) = rows_with(database, RUN, id=run_id)
    assert payload["type"] == "recipient-response"
    assert payload["timestamp"] == "2026-11-24T12:00:00Z"
    assert payload["data"]["id"] == request.headers["webhook-id"]
    assert payload["data"]["run_id"] == run["uid"]
    assert payload["data"]["run_item_id"] == f"{run['uid']}-1"
    assert payload["data"]["segment"] == "all"
    assert (payload["data"]["recipient"], payload["data"]["text"]) == ("447700900000", "Ja, €!")
    assert SECRET not in request.body.decode() + str(request.headers)


def test_every_changed_byte_of_a_delivery_is_refused(database: Database):
    """Body, id and time are all under the signature."""
    event = add_event(database, "click", name="offer")
    with receiving() as receiver:
        crm = subscriber(receiver.url)
        enqueued(database, event, subscribers=(crm,))
        delivered(database, crm)
    (request,) = receiver.received
    webhook = Webhook(SECRET)
    webhook.verify(request.body, request.headers)
    for place in range(0, len(request.body), 7):
        changed = bytearray(request.body)
        changed[place] ^= 1
        with pytest.raises(Exception, match="No matching signature found"):
            webhook.verify(bytes(changed).decode("latin-1"), request.headers)
    with pytest.raises(Exception, match="No matching signature found"):
        webhook.verify(request.body, request.headers | {"webhook-id": "another"})
    with pytest.raises(Exception, match="No matching signature found"):
        Webhook(new_secret()).verify(request.body, request.headers)


def test_subscribers_get_the_types_they_asked_for(database: Database):
    """The installation's get events of every job, a job's those of its runs, a rehearsal's go to nobody."""
    own = subscriber("http://127.0.0.1:9/own", name="own", events=["click"])
    crm = subscriber("http://127.0.0.1:9/crm", events=["recipient-response", "click"])
    run_id = planned_run(database, 1, job=job_with(own))
    other = planned_run(database, 1, job_name="other")
    rehearsal = planned_run(database, 1, job=job_with(own), against="http://127.0.0.1:9", kind="rehearsal")
    events = {
        (run, kind): add_event(database, kind, run_id=run)
        for run in (run_id, other, rehearsal, None)
        for kind in ("click", "recipient-response", "conversion")
    }
    assert enqueued(database, *events.values(), subscribers=(crm,)) == 7
    assert enqueued(database, *events.values(), subscribers=(crm,)) == 0
    by_event = {number: name for name, number in events.items()}
    rows = rows_with(database, WEBHOOK_DELIVERY)
    assert {(*by_event[row["event_id"]], row["subscriber"]) for row in rows} == {
        (run_id, "click", "renewals/own"),
        *((run, kind, "crm") for run in (run_id, other, None) for kind in ("click", "recipient-response")),
    }


def test_emitted_event_goes_to_the_named_subscriber_whatever_its_type(database: Database):
    """A handler names a job's own subscriber, else one of the installation; it is the same delivery."""
    own = subscriber("http://127.0.0.1:9/own", name="own", events=["click"])
    run_id = planned_run(database, 1, job=job_with(own))
    event = add_event(database, "conversion", run_id=run_id)
    with database.write() as connection:
        assert emit(connection, [event], subscriber="own") == 1
        assert emit(connection, [event], subscriber="own") == 0
        assert emit(connection, [event], subscriber="crm") == 1
    assert set(count_deliveries(database)) == {"renewals/own", "crm"}


def test_jobs_subscriber_is_the_snapshots(database: Database):
    """The URL and the types are those of the run, with the secret saved under the name it gives."""
    with receiving() as receiver:
        own = subscriber(f"{receiver.url}/own", name="own")
        run_id = planned_run(database, 1, job=job_with(own))
        enqueued(database, add_event(database, "click", run_id=run_id))
        assert delivered(database)["delivered"] == 1
    assert [request.path for request in receiver.received] == ["/own"]


def test_refused_delivery_comes_again_with_the_same_id_and_is_dead_in_the_end(database: Database):
    """Each failure waits longer than the one before; after the last it is a dead letter, until replayed."""
    answers = [(500, {})]
    event = add_event(database, "click")
    with receiving(lambda _: answers[-1]) as receiver:
        crm = subscriber(receiver.url)
        enqueued(database, event, subscribers=(crm,))
        for _ in DELAYS_SECONDS:
            assert delivered(database, crm) == {"delivered": 0, "pending": 1, "dead": 0}
            assert not is_any_due(database)
            make_due(database)
        assert delivered(database, crm) == {"delivered": 0, "pending": 0, "dead": 1}
        (letter,) = dead_letters(database, subscriber=None, most=10)
        assert (letter["subscriber"], letter["status_code"], letter["error"]) == ("crm", 500, "answered 500")
        assert letter["attempts"] == len(DELAYS_SECONDS) + 1
        assert dead_letters(database, subscriber="other", most=10) == []
        assert replay(database, subscriber="other") == 0
        answers.append((204, {}))
        assert replay(database, event=letter["event_id"]) == 1
        assert delivered(database, crm)["delivered"] == 1
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert len(receiver.received) == len(DELAYS_SECONDS) + 2
    (row,) = rows_with(database, WEBHOOK_DELIVERY)
    assert (row["status"], row["error"], row["due_at"]) == ("delivered", None, None)
    assert row["delivered_at"] is not None


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((200, {}), "delivered"),
        ((202, {}), "delivered"),
        ((410, {}), "dead"),
        ((301, {"Location": "http://127.0.0.1:9/"}), "pending"),
        ((404, {}), "pending"),
        ((429, {"Retry-After": "600"}), "pending"),
    ],
)
def test_answer_of_a_subscriber_is_judged(
    database: Database, answer: tuple[int, dict[str, str]], status: str
):
    """2xx is taken, 410 wants no more, redirects are not followed; what is not taken is not due at once."""
    event = add_event(database, "click")
    with receiving(lambda _: answer) as receiver:
        crm = subscriber(receiver.url)
        enqueued(database, event, subscribers=(crm,))
        delivered(database, crm)
    assert len(receiver.received) == 1
    (row,) = rows_with(database, WEBHOOK_DELIVERY)
    assert (row["status"], row["last_status_code"]) == (status, answer[0])
    assert (row["due_at"] is None) == (status != "pending")
    assert not is_any_due(database)


def test_waits_grow_and_retry_after_is_honoured():
    """The waits are those of the table, but never shorter than the subscriber asks for."""
    for attempts, seconds in enumerate(DELAYS_SECONDS, 1):
        delivery = Delivery(event_id=1, subscriber="crm", attempts=attempts, event={}, own=None)
        assert judged(delivery, httpx.Response(500)).due_in_seconds == seconds
        asked = httpx.Response(503, headers={"Retry-After": "600"})
        assert judged(delivery, asked).due_in_seconds == max(seconds, 600)
    last = Delivery(event_id=1, subscriber="crm", attempts=len(DELAYS_SECONDS) + 1, event={}, own=None)
    assert judged(last, httpx.Response(500)).status == "dead"


def test_subscriber_or_secret_that_is_not_there_is_told(database: Database):
    """A name that nobody has is a dead letter; a secret may still be saved, so that is tried again."""
    events = [add_event(database, "click") for _ in range(2)]
    gone = subscriber("http://127.0.0.1:9/", name="gone")
    unsigned = subscriber("http://127.0.0.1:9/", name="unsigned", secret="webhook-secret/other")
    enqueued(database, events[0], subscribers=(gone,))
    enqueued(database, events[1], subscribers=(unsigned,))
    assert delivered(database, unsigned) == {"delivered": 0, "pending": 1, "dead": 1}
    errors = {row["subscriber"]: row["error"] for row in rows_with(database, WEBHOOK_DELIVERY)}
    assert errors == {
        "gone": "there is no subscriber of this name",
        "unsigned": "no block webhook-secret/other is saved",
    }


def test_subscriber_that_is_down_holds_up_nobody(database: Database):
    """After a row of failures it is left alone for a while, its other events keep their tries."""
    with receiving() as closed:
        down_url = closed.url
    with receiving() as receiver:
        up, down = subscriber(receiver.url, name="up"), subscriber(down_url, name="down")
        events = [add_event(database, "click") for _ in range(100)]
        enqueued(database, *events, subscribers=(down,))
        late = add_event(database, "click")
        enqueued(database, late, subscribers=(up,))
        assert delivered(database, up, down) == {"delivered": 1, "pending": outgoing.AT_ONCE, "dead": 0}
        tries = Counter(row["attempts"] for row in rows_with(database, WEBHOOK_DELIVERY, subscriber="down"))
        assert tries == {1: outgoing.AT_ONCE, 0: 100 - outgoing.AT_ONCE}
        assert not is_any_due(database)
    assert len(receiver.received) == 1


def test_delivery_that_cannot_be_made_holds_up_no_other(database: Database, caplog: pytest.LogCaptureFixture):
    """Whatever is wrong with one subscriber is a failure of its own; log and ledger tell no text of it."""

    def load(reference: str) -> RequestAuth:
        if reference == "webhook-secret/odd":
            raise ZeroDivisionError("http://127.0.0.1:9/hook/SECRET")
        return load_auth(reference)

    with receiving() as receiver:
        good = subscriber(receiver.url, name="good")
        odd = subscriber("http://127.0.0.1:9/", name="odd", secret="webhook-secret/odd")
        enqueued(database, add_event(database, "click"), subscribers=(odd, good))
        counts = deliver_due(database, subscribers=(odd, good), load_auth=load, seconds=30)
    assert counts == {"delivered": 1, "pending": 1, "dead": 0}
    (row,) = rows_with(database, WEBHOOK_DELIVERY, subscriber="odd")
    assert (row["status"], row["error"]) == ("pending", "an error (ZeroDivisionError)")
    assert "A webhook could not be posted: an error (ZeroDivisionError)" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("error sending request for url ({url})", "ConnectError"),
        ("no way to {path}", "ConnectError"),
        ("Connection refused (os error 111)", "ConnectError: Connection refused (os error 111)"),
    ],
)
def test_error_of_a_delivery_tells_nothing_of_its_url(database: Database, text: str, kept: str):
    """A URL may be the subscriber's key."""

    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            told = text.format(url=request.url, path=request.url.path)
            raise httpx.ConnectError(told, request=request)

    crm = subscriber("http://127.0.0.1:9/hook/SECRET?key=SECRET")
    enqueued(database, add_event(database, "click"), subscribers=(crm,))
    deliver_due(database, subscribers=(crm,), load_auth=load_auth, seconds=30, transport=Broken)
    (row,) = rows_with(database, WEBHOOK_DELIVERY)
    assert row["error"] == kept


def test_many_events_arrive_once_each_though_two_deliver(database: Database):
    """Two who deliver at once share the work: nothing is posted twice, nothing is left."""
    with receiving() as receiver:
        crm = subscriber(receiver.url)
        events = [add_event(database, "click") for _ in range(150)]
        enqueued(database, *events, subscribers=(crm,))
        helper = threading.Thread(target=delivered, args=(database, crm))
        helper.start()
        delivered(database, crm)
        helper.join()
    ids = Counter(request.headers["webhook-id"] for request in receiver.received)
    assert (len(ids), set(ids.values())) == (150, {1})
    assert count_deliveries(database) == {"crm": {"delivered": 150}}


def test_delivery_that_was_begun_and_not_ended_is_taken_up_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """A process that died in the middle loses nothing: when its time is over another goes on, a try later."""
    event = add_event(database, "click")
    with receiving() as receiver:
        crm = subscriber(receiver.url)
        enqueued(database, event, subscribers=(crm,))
        (begun,) = claim_deliveries(database, most=10)
        assert begun.attempts == 1
        assert claim_deliveries(database, most=10) == []
        make_due(database)
        assert delivered(database, crm)["delivered"] == 1
    assert len(receiver.received) == 1
    (row,) = rows_with(database, WEBHOOK_DELIVERY)
    assert (row["status"], row["attempts"]) == ("delivered", 2)


def test_time_that_is_over_gives_back_what_was_not_begun(database: Database):
    """What could not be begun in time is due at once, with as many tries as before."""
    with receiving() as receiver:
        crm = subscriber(receiver.url)
        events = [add_event(database, "click") for _ in range(20)]
        enqueued(database, *events, subscribers=(crm,))

        class Clock:
            """Over after the first row."""

            def __init__(self) -> None:
                self.asked = 0

            def __call__(self) -> float:
                self.asked += 1
                return 0.0 if self.asked <= 2 else 100.0

        clock: Callable[[], float] = Clock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(outgoing, "monotonic", clock)
            counts = deliver_due(database, subscribers=[crm], load_auth=load_auth, seconds=1)
    assert counts["delivered"] == len(receiver.received) == outgoing.AT_ONCE
    left = rows_with(database, WEBHOOK_DELIVERY, status="pending")
    assert {row["attempts"] for row in left} == {0}
    assert is_any_due(database)


@pytest.mark.parametrize(
    "url", ["ftp://x/", "file:///etc/passwd", "//x/", "http://", "http://u:p@x/", "javascript:1"]
)
def test_subscribers_url_is_http_without_a_password(url: str):
    """Nothing but http and https is called, and no password stands where lists of subscribers show it."""
    with pytest.raises(ValueError, match="url"):
        subscriber(url)


@pytest.mark.parametrize(
    "changes",
    [{"events": []}, {"events": ["click", "click"]}, {"events": ["run-items-total"]}, {"name": "A b"},
     {"secret": "bearer-token/main"}, {"secret": SECRET}],
)  # fmt: skip
def test_subscriber_that_is_none_is_refused(changes: dict[str, Any]):
    """Types that are stored, each once; a name for tables; a reference for a secret, never the secret."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        subscriber("http://127.0.0.1:9/", **changes)


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_short", "whsec_" + "A" * 200, "whsec_****", "not base64!"]
)
def test_secret_that_is_none_is_refused_without_being_told(text: str):
    """A secret has 24 to 64 bytes in base64; what was given is not repeated."""
    with pytest.raises((JobError, ValueError)) as error:
        WebhookSecret(secret=SecretStr(text))
    assert text in {"", "whsec_"} or text not in str(error.value)


def test_secrets_are_made_anew_each_time():
    """Each is as the specification wants it."""
    made = {new_secret() for _ in range(10)}
    assert len(made) == 10
    assert all(len(WebhookSecret(secret=SecretStr(each)).key()) == 32 for each in made)


def test_signed_action_has_the_three_headers():
    """The same kind of credentials signs an action's request, and a preview shows no signature."""
    request = httpx.Request("POST", "http://127.0.0.1:9/", json={"a": "ä"})
    signed = WebhookSecret(secret=SecretStr(SECRET)).auth().apply(request)
    assert Webhook(SECRET).verify(signed.content, dict(signed.headers)) == {"a": "ä"}
    masked = WebhookSecret(secret=SecretStr(SECRET)).masked_auth().apply(request)
    assert masked.headers["webhook-signature"] == "v1,****"
    assert json.loads(request.content) == {"a": "ä"}
