"""Events on their way to subscribers: who gets which, signed; on real sockets."""

import base64
import hashlib
import hmac

import pytest
from standardwebhooks.webhooks import Webhook

from clarion.ledger.answer_tables import WEBHOOK_DELIVERY
from clarion.ledger.database import Database
from clarion.ledger.tables import RUN
from clarion.ledger.webhooks import count_deliveries, emit
from clarion.models.webhook_secret import new_secret
from tests.integration.answered_runs import add_event, rows_with
from tests.integration.ledger_runs import planned_run
from tests.integration.webhook_deliveries import SECRET, delivered, enqueued, job_with, subscriber
from tests.integration.webhook_receiver import receiving


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
