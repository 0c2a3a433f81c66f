"""What a receipt says has arrived is not sent again; a receipt of somebody else's says nothing."""

from datetime import timedelta
from typing import Any

import pytest

from clarion.ledger.attribution import attribute_batch
from clarion.ledger.circuits import give_back_tries
from clarion.ledger.claims import ClaimedItem
from clarion.ledger.database import Database
from clarion.ledger.deliveries import NEXT_STEPS
from clarion.ledger.runs import get_run
from clarion.ledger.second_tries import retry_items
from clarion.ledger.workers import register_worker
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    claimed,
    counts,
    planned,
    planned_run,
    result,
    settled,
    whole,
)
from tests.integration.sent_runs import (
    attributed,
    change_item,
    change_run,
    item_id,
    items_of,
    job_text,
    now,
    receipt,
    receive,
    reference,
    reply,
    sent_run,
)

ANN = "+447700900001"
FALLBACK = {
    "fallback": [{"action": "mail", "recipient": "{{ item.mail }}"}],
    "fallback_on": ["refused", "undelivered"],
}
RECORD = '[["ann@b.example",null,null]]'


def tried_once(database: Database, **options: Any) -> tuple[int, ClaimedItem, str]:
    """A run whose item got a 500 and waits for its next try; with its call's own reference."""
    run_id = planned_run(database, [planned(1, recipient=ANN, **options)], job=job_text(segment=FALLBACK))
    (item,) = claimed(database, run_id, "t")
    call = f"{get_run(database, run_id).uid}-{item.id}.0.0"
    again = result(
        item, "pending", epoch=1, outcome="provider-error", status_code=500, idempotency_key=call,
        due_at=now(database) - timedelta(seconds=1), latency_ms=5.0,
    )  # fmt: skip
    settled(database, run_id, "t", again)
    return run_id, item, call


def standing(database: Database, run_id: int) -> tuple[Any, ...]:
    """Where the run's only item stands."""
    (item,) = items_of(database, run_id)
    names = ("status", "reason", "step", "action", "recipient", "epoch", "invocation_id", "delivery_status")
    return tuple(item[name] for name in names)


@pytest.mark.parametrize("client_ref", ["order-4711", "0123456789abcdef-1", "0123456789abcdef-1.0.0"])
def test_receipt_with_a_strangers_reference_settles_nothing(database: Database, client_ref: str):
    """Another system's, or another installation's; an answer that has one is still found by its recipient."""
    run_id = sent_run(database, ANN, status="unknown", reason="no-answer")
    (event,) = attributed(
        database, receipt("delivered", recipient=ANN, invocation_id="x", client_ref=client_ref)
    )
    assert (event.run_id, event.type) == (None, "action-call-info")
    assert counts(database, run_id) == {"total": 1, "unknown": 1}
    (answer,) = attributed(database, reply(ANN, client_ref=client_ref))
    assert (answer.run_id, answer.attributed_by) == (run_id, "recipient")


def test_nothing_is_about_a_message_that_left_later(database: Database):
    """Neither a receipt nor an answer that waited in the ledger when the message was sent."""
    receive(database, receipt("delivered", recipient=ANN), reply(ANN))
    run_id = sent_run(database, ANN, status="unknown", reason="no-answer")
    change_item(database, item_id(database, run_id), claimed_at=now(database) + timedelta(seconds=1))
    assert [event.run_id for event in attribute_batch(database, limit=10)] == [None, None]
    assert counts(database, run_id) == {"total": 1, "unknown": 1}


def test_answer_to_a_call_that_was_logged_after_it_is_found(database: Database):
    """The log has the time of a call's answer, which may be long after the call."""
    run_id = planned_run(database, [planned(1, recipient=ANN)], job=job_text())
    (item,) = claimed(database, run_id, "t")
    key = f"{get_run(database, run_id).uid}-{item.id}.0.0"
    receive(database, reply(ANN))
    late = result(
        item, "failed", reason="refused", epoch=1, outcome="no-answer", idempotency_key=key, latency_ms=3e4
    )
    settled(database, run_id, "t", late)
    (event,) = attribute_batch(database, limit=10)
    assert (event.run_id, event.attributed_by) == (run_id, "recipient")


@pytest.mark.parametrize("status", ["unknown", "pending"])
def test_receipt_that_names_its_call_tells_that_the_provider_has_it(database: Database, status: str):
    """`submitted` is enough for what nobody answered: it is not sent again; a later failure still counts."""
    run_id = sent_run(database, ANN, status=status, in_doubt=True, outcome="no-answer")
    named = reference(database, run_id, call=".0.0")
    attributed(database, receipt("submitted", recipient=ANN, invocation_id="m1"))
    assert counts(database, run_id) == {"total": 1, status: 1}
    attributed(database, receipt("submitted", client_ref=named, invocation_id="m1"))
    assert standing(database, run_id) == ("succeeded", "receipt", 0, "send", ANN, 0, "m1", "submitted")
    assert_counts_add_up(database, run_id)
    assert claimed(database, run_id, "t") == []
    attributed(database, receipt("rejected", invocation_id="m1"))
    assert standing(database, run_id)[:2] == ("failed", "undelivered")
    assert_counts_add_up(database, run_id)


def test_message_that_arrived_in_spite_of_an_error_is_not_sent_again(database: Database):
    """The provider answered 500 and delivered: the call is the item's last one, and its receipts count."""
    run_id, _, call = tried_once(database)
    attributed(database, receipt("submitted", client_ref=call, invocation_id="m1"))
    assert counts(database, run_id) == {"total": 1, "pending": 1}
    attributed(database, receipt("delivered", client_ref=call, invocation_id="m1"))
    assert standing(database, run_id) == ("succeeded", "receipt", 0, "send", ANN, 0, "m1", "delivered")
    assert_counts_add_up(database, run_id)
    assert claimed(database, run_id, "t") == []
    attributed(database, receipt("read", invocation_id="m1"), receipt("read", client_ref=call))
    assert standing(database, run_id)[-1] == "read"
    assert counts(database, run_id) == {"total": 1, "succeeded": 1}


def test_message_that_arrived_twice_in_a_batch_is_counted_once(database: Database):
    """The last word on the call that arrived stands; a receipt of the call after it changes nothing."""
    run_id, _, call = tried_once(database)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "unknown", reason="no-answer"))
    change_run(database, run_id, status="unresolved")
    second = call.removesuffix("0") + "1"
    attributed(
        database,
        receipt("rejected", client_ref=second),
        receipt("read", client_ref=call),
        receipt("delivered", client_ref=call),
    )
    assert standing(database, run_id)[:2] == ("succeeded", "receipt")
    assert standing(database, run_id)[-1] == "read"
    assert_counts_add_up(database, run_id)
    assert get_run(database, run_id).status == "completed"


def test_message_that_arrived_after_all_goes_on_with_no_step(database: Database):
    """The next step was to follow, and is not needed: the run that was opened for it has ended again."""
    run_id = sent_run(database, ANN, ids=["m1"], job=job_text(segment=FALLBACK), item1={"fallback": RECORD})
    attributed(database, receipt("undeliverable", invocation_id="m1"))
    assert (get_run(database, run_id).reason, standing(database, run_id)[2]) == (NEXT_STEPS, 1)
    attributed(database, receipt("delivered", invocation_id="m1"))
    assert standing(database, run_id) == ("succeeded", "receipt", 0, "send", ANN, 0, "m1", "delivered")
    assert_counts_add_up(database, run_id)
    run = get_run(database, run_id)
    assert (run.status, run.reason, run.ended_at is None) == ("completed", None, False)
    assert claimed(database, run_id, "t", part=whole("mail")) == []


def test_step_that_was_tried_is_not_begun_anew(database: Database):
    """The first step arrived while the second was retried; a failure that comes then sends nothing again."""
    run_id = sent_run(database, ANN, ids=["m1"], job=job_text(segment=FALLBACK), item1={"fallback": RECORD})
    attributed(database, receipt("undeliverable", invocation_id="m1"))
    (mail,) = claimed(database, run_id, "t", part=whole("mail"))
    key = reference(database, run_id, call=".1.0")
    settled(
        database, run_id, "t",
        result(mail, "pending", epoch=1, outcome="provider-error", idempotency_key=key),
    )  # fmt: skip
    noon = now(database)
    attributed(database, receipt("delivered", invocation_id="m1", occurred_at=noon))
    late = receipt("failed", invocation_id="m1", occurred_at=noon + timedelta(seconds=1))
    attributed(database, late)
    assert standing(database, run_id)[:3] == ("failed", "undelivered", 0)
    assert_counts_add_up(database, run_id)


def test_receipt_of_an_earlier_call_waits_for_the_call_that_is_being_made(database: Database):
    """What is being sent is its worker's alone; what the worker leaves pending is ended then."""
    run_id, _, call = tried_once(database)
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    receive(database, receipt("delivered", client_ref=call))
    assert attribute_batch(database, limit=10) == []
    assert standing(database, run_id)[0] == "sending"
    settled(database, run_id, token, result(item, "pending", in_doubt=True))
    attribute_batch(database, limit=10)
    assert standing(database, run_id)[:2] == ("succeeded", "receipt")
    assert_counts_add_up(database, run_id)


def test_receipt_of_an_earlier_call_waits_for_who_claimed_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """Between the look and the write somebody took the item: nothing of the receipt is written."""
    from clarion.ledger import attribution

    run_id, _, call = tried_once(database)
    receive(database, receipt("delivered", client_ref=call))
    look = attribution.match_events

    def look_and_lose(*args: Any, **options: Any) -> Any:
        found = look(*args, **options)
        claimed(database, run_id, token)
        return found

    token = register_worker(database, run_id)
    with monkeypatch.context() as patched:
        patched.setattr(attribution, "match_events", look_and_lose)
        assert attribute_batch(database, limit=10) == []
    assert standing(database, run_id)[0] == "sending"
    assert counts(database, run_id) == {"total": 1, "sending": 1}


@pytest.mark.parametrize("which", ["last call", "earlier call"])
def test_failed_item_that_arrived_is_not_retried(database: Database, which: str):
    """By whichever of its calls: neither a person nor a circuit makes it pending again."""
    run_id, _, call = tried_once(database)
    (item,) = claimed(database, run_id, "t")
    last = call.removesuffix("0") + "1"
    refused = result(item, "failed", reason="retries-exhausted", attempts=2, invocation_id="m2")
    settled(database, run_id, "t", refused)
    attributed(database, receipt("delivered", client_ref=last if which == "last call" else call))
    assert retry_items(database, run_id) == 0
    assert give_back_tries(database, run_id, {item.id: 1}) == 0
    assert counts(database, run_id) == {"total": 1, "failed": 1}


@pytest.mark.parametrize("again", ["retry", "circuit"])
def test_item_that_is_tried_anew_knows_nothing_of_its_delivery(database: Database, again: str):
    """What was said of the call that failed belongs to that call."""
    run_id, _, call = tried_once(database)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "failed", reason="retries-exhausted", attempts=2))
    attributed(database, receipt("rejected", client_ref=call.removesuffix("0") + "1", error_code="7"))
    assert standing(database, run_id)[-1] == "rejected"
    if again == "retry":
        assert retry_items(database, run_id) == 1
    else:
        assert give_back_tries(database, run_id, {item.id: 1}) == 1
    (found,) = items_of(database, run_id)
    assert [value for name, value in found.items() if name.startswith("deliver")] == [None] * 5
