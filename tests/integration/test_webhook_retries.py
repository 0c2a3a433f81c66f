"""Deliveries that fail: tried again, given up, replayed; on real sockets."""

import threading
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from clarion import outgoing
from clarion.ledger.answer_tables import WEBHOOK_DELIVERY
from clarion.ledger.database import Database
from clarion.ledger.webhooks import (
    Delivery,
    claim_deliveries,
    count_deliveries,
    dead_letters,
    is_any_due,
    replay,
)
from clarion.outgoing import DELAYS_SECONDS, deliver_due, judged
from clarion.sending.auth import RequestAuth
from tests.integration.answered_runs import add_event, rows_with, update_run
from tests.integration.ledger_runs import planned_run
from tests.integration.webhook_deliveries import (
    delivered,
    enqueued,
    job_with,
    load_auth,
    make_due,
    subscriber,
)
from tests.integration.webhook_receiver import receiving


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
        ((503, {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}), "pending"),
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


def test_subscriber_of_a_run_that_cannot_be_read_holds_up_no_other(database: Database):
    """A run outlives the version of Clarion that planned it: what it has for a subscriber may be none now."""
    with receiving() as receiver:
        own, crm = subscriber(f"{receiver.url}/own", name="own"), subscriber(receiver.url)
        run_id = planned_run(database, 1, job=job_with(own))
        enqueued(database, add_event(database, "click", run_id=run_id), subscribers=(crm,))
        update_run(database, run_id, job='{"webhooks": [{"name": "own", "url": "ftp://127.0.0.1/own"}]}')
        assert delivered(database, crm) == {"delivered": 1, "pending": 0, "dead": 1}
    (letter,) = dead_letters(database, subscriber="renewals/own", most=10)
    assert letter["error"] == "there is no subscriber of this name"
