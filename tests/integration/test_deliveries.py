"""Delivery: what receipts make of run items, in whatever order they come."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from clarion.ledger.answering import finish, may_go_on, runs_to_answer
from clarion.ledger.attribution import attribute_batch
from clarion.ledger.database import Database
from clarion.ledger.deliveries import NEXT_STEPS, reopen_left
from clarion.ledger.items import read_items
from clarion.ledger.runs import get_run
from clarion.ledger.workers import register_worker
from cli.reports import flat_item
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
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
    sent_run,
)

ANN, BOB = "+447700900001", "+447700900002"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATUS = {
    "value": "{{ event.state }}",
    "success_statuses": ["Delivered", "read"],
    "info_statuses": ["queued"],
}
FALLBACK = {
    "fallback": [{"action": "mail", "recipient": "{{ item.mail }}"}],
    "fallback_on": ["refused", "undelivered"],
    "fallback_within_seconds": 3600,
}
RECORD = '[["ann@b.example",null,null]]'


def delivery(item: dict[str, Any]) -> tuple[Any, ...]:
    """What an item knows of its delivery."""
    names = ("delivery", "delivery_status", "delivery_code", "delivery_reason", "delivered_at")
    return tuple(item[name] for name in names)


def test_receipt_is_read_as_the_action_says(database: Database):
    """Its templates see the raw event; what is neither a success nor info is a failure."""
    response = {"status": STATUS, "error": {"code": "{{ event.why.no }}", "reason": "{{ event.why.text }}"}}
    job = job_text(send={"response": response | {"invocation_id": "{{ response.body.id }}"}})
    run_id = sent_run(database, ANN, BOB, ANN + "1", ids=["m1", "m2", "m3"], job=job)
    why = {"no": 7, "text": "full"}
    events = attributed(
        database,
        receipt(None, invocation_id="m1", occurred_at=NOON, data={"state": "delivered"}),
        receipt(
            "x", invocation_id="m2", occurred_at=NOON, data={"state": "lost", "why": why}, error_code="1"
        ),
        receipt("queued", invocation_id="m3", data={}),
    )
    assert [event.type.removeprefix("action-call-") for event in events] == ["succeeded", "failed", "info"]
    assert [event.status for event in events] == ["delivered", "lost", "queued"]
    assert [delivery(item) for item in items_of(database, run_id)] == [
        ("succeeded", "delivered", None, None, NOON),
        ("failed", "lost", "7", "full", NOON),
        ("info", "queued", None, None, None),
    ]
    assert {item["status"] for item in items_of(database, run_id)} == {"succeeded"}


def test_items_tell_their_delivery(database: Database):
    """What `clarion items` shows and exports; times as ISO text."""
    run_id = sent_run(database, ANN, BOB, ids=["m1"])
    attributed(database, receipt("expired", invocation_id="m1", occurred_at=NOON, error_code="9", error="x"))
    names = ("delivery", "delivery_status", "delivery_code", "delivery_reason", "delivered_at")
    told = [[flat_item(row)[name] for name in names] for page in read_items(database, run_id) for row in page]
    assert told == [["failed", "expired", "9", "x", NOON.isoformat()], [None] * 5]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("submitted", "info"), ("delivered", "succeeded"), ("read", "succeeded"), ("rejected", "failed"),
        ("undeliverable", "failed"), ("Undelivered", "failed"), ("some-new-word", "info"), (None, "info"),
    ],
)  # fmt: skip
def test_receipt_is_read_as_its_provider_means_it(database: Database, status: str | None, kind: str):
    """Where the action says nothing of statuses; a word that nobody knows is no failure."""
    run_id = sent_run(database, ANN, ids=["m1"])
    (event,) = attributed(database, receipt(status, invocation_id="m1", error_code="1050", error="Spam"))
    assert event.type == f"action-call-{kind}"
    assert delivery(items_of(database, run_id)[0])[:4] == (kind, status, "1050", "Spam")


def test_receipt_for_an_unknown_item_settles_it(database: Database):
    """A success makes it succeeded, a failure failed with its code; the last of them completes the run."""
    run_id = sent_run(database, ANN, BOB, status="unknown", reason="no-answer", in_doubt=True)
    assert get_run(database, run_id).status == "unresolved"
    uid = get_run(database, run_id).uid
    first, second = (f"{uid}-{item_id(database, run_id, n)}.0.0" for n in (1, 2))
    attributed(database, receipt("submitted", recipient=ANN))
    assert counts(database, run_id) == {"total": 2, "unknown": 2}
    attributed(database, receipt("delivered", client_ref=first, invocation_id="m1"))
    assert get_run(database, run_id).status == "unresolved"
    attributed(database, receipt("rejected", client_ref=second, error_code="1300", error="Not allowed"))
    assert_counts_add_up(database, run_id)
    assert get_run(database, run_id).status == "completed"
    told = [
        (
            item["status"],
            item["reason"],
            item["error_code"],
            item["error"],
            item["invocation_id"],
            item["in_doubt"],
        )
        for item in items_of(database, run_id)
    ]
    assert told == [
        ("succeeded", "receipt", None, None, "m1", False),
        ("failed", "undelivered", "1300", "Not allowed", None, False),
    ]
    attributed(database, receipt("delivered", client_ref=second))
    assert counts(database, run_id) == {"total": 2, "succeeded": 2}
    assert items_of(database, run_id)[1]["error_code"] is None


def test_late_answer_of_a_settled_call_changes_nothing(database: Database):
    """Its worker comes back after its lease: the receipt has told the truth already."""
    run_id = planned_run(database, [planned(1, recipient=ANN)], job=job_text())
    (item,) = claimed(database, run_id, "gone")
    settled(database, run_id, "gone", result(item, "unknown", reason="worker-lost"))
    attributed(database, receipt("delivered", client_ref=f"{get_run(database, run_id).uid}-{item.id}"))
    assert not +settled(database, run_id, "gone", result(item, "failed", reason="refused"))
    assert counts(database, run_id) == {"total": 1, "succeeded": 1}


def test_delivered_message_is_not_sent_again(database: Database):
    """It waited to be sent again, because nobody knew whether it had left."""
    uid_of = {}
    for status in ("delivered", "rejected"):
        run_id = sent_run(database, ANN, status="pending", outcome="unknown", in_doubt=True)
        uid_of[status] = run_id
        reference = f"{get_run(database, run_id).uid}-{item_id(database, run_id)}.0.0"
        attributed(database, receipt(status, client_ref=reference))
        assert_counts_add_up(database, run_id)
    assert counts(database, uid_of["delivered"]) == {"total": 1, "succeeded": 1}
    assert counts(database, uid_of["rejected"]) == {"total": 1, "failed": 1}
    assert claimed(database, uid_of["delivered"], "t") == []


def test_message_that_was_not_delivered_goes_on_with_its_next_step(database: Database):
    """The run that had ended is open again; the call that did not arrive stays in the attempt log."""
    run_id = sent_run(database, ANN, ids=["m1"], job=job_text(segment=FALLBACK), item1={"fallback": RECORD})
    (event,) = attributed(
        database,
        receipt("undeliverable", invocation_id="m1", error_code="1260", error="Destination unreachable"),
    )
    assert (event.type, event.action) == ("action-call-failed", "send")
    (item,) = items_of(database, run_id)
    assert (item["status"], item["step"], item["action"], item["recipient"]) == (
        "pending", 1, "mail", "ann@b.example",
    )  # fmt: skip
    assert (item["attempts"], item["epoch"], item["invocation_id"], *delivery(item)) == (0, 0, *[None] * 6)
    (attempt,) = attempts_of(database, run_id)
    assert {name: attempt[name] for name in ("step", "action", "recipient", "outcome", "invocation_id")} == {
        "step": 0, "action": "send", "recipient": ANN, "outcome": "undelivered", "invocation_id": "m1",
    }  # fmt: skip
    assert (attempt["error_code"], attempt["error"]) == ("1260", "Destination unreachable")
    assert attempt["idempotency_key"] == f"{get_run(database, run_id).uid}-{item['id']}.0.0"
    assert_counts_add_up(database, run_id)
    run = get_run(database, run_id)
    assert (run.status, run.reason, run.ended_at) == ("interrupted", NEXT_STEPS, None)
    assert [each.uid for each in runs_to_answer(database)] == [run.uid]
    assert may_go_on(database, run_id)
    # What fails of the first step from now on belongs to it, and changes nothing of the second.
    (event,) = attributed(database, receipt("expired", invocation_id="m1"))
    assert (event.run_item_id, event.action, event.type) == (item["id"], "send", "action-call-failed")
    assert items_of(database, run_id)[0]["delivery"] is None


def test_unknown_message_that_was_not_delivered_goes_on_too(database: Database):
    """Its receipt settles it as failed; that is what the next step is for."""
    run_id = sent_run(
        database,
        ANN,
        status="unknown",
        reason="no-answer",
        job=job_text(segment=FALLBACK),
        item1={"fallback": RECORD},
    )
    reference = f"{get_run(database, run_id).uid}-{item_id(database, run_id)}"
    attributed(database, receipt("failed", client_ref=reference))
    assert counts(database, run_id) == {"total": 1, "pending": 1}
    assert_counts_add_up(database, run_id)


@pytest.mark.parametrize(
    "why", ["not asked for", "too late", "stopped", "send_until", "somebody else's", "no step left"]
)
def test_message_stays_undelivered_where_it_may_not_go_on(database: Database, why: str):
    """Only where the segment asks for it, in time, in a run that may still send, and to nobody else."""
    segment = FALLBACK | ({"fallback_on": ["refused"]} if why == "not asked for" else {})
    record = None if why == "no step left" else RECORD
    others = ["ann@b.example"] if why == "somebody else's" else []
    run_id = sent_run(
        database, ANN, *others, ids=["m1"], job=job_text(segment=segment), item1={"fallback": record}
    )
    if why == "too late":
        change_item(database, item_id(database, run_id), claimed_at=now(database) - timedelta(seconds=3601))
    if why == "stopped":
        change_run(database, run_id, status="stopped", control="stop")
    if why == "send_until":
        change_run(database, run_id, send_until=now(database))
    before = get_run(database, run_id).status
    attributed(database, receipt("failed", invocation_id="m1"))
    assert counts(database, run_id) == {"total": 1 + len(others), "succeeded": 1 + len(others)}
    assert items_of(database, run_id)[0]["delivery"] == "failed"
    assert (get_run(database, run_id).status, runs_to_answer(database)) == (before, [])


def test_run_that_ended_while_an_item_went_on_is_taken_up(database: Database):
    """Between the last look and the end of a run nobody else looks: the item is not forgotten."""
    run_id = sent_run(database, ANN, ids=["m1"], job=job_text(segment=FALLBACK), item1={"fallback": RECORD})
    change_run(database, run_id, status="running")
    attributed(database, receipt("failed", invocation_id="m1"))
    assert (get_run(database, run_id).status, runs_to_answer(database)) == ("running", [])
    change_run(database, run_id, status="completed")
    reopen_left(database)
    assert [each.id for each in runs_to_answer(database)] == [run_id]
    assert get_run(database, run_id).status == "interrupted"
    (mail,) = claimed(database, run_id, "t", part=whole("mail"))
    settled(database, run_id, "t", result(mail, "succeeded"))
    assert finish(database, run_id)
    assert (get_run(database, run_id).status, runs_to_answer(database)) == ("completed", [])


def test_batch_with_many_receipts_of_one_item_counts_each(database: Database):
    """Whatever the batch: the last word counts, and the counters add up."""
    run_id = sent_run(database, ANN, status="unknown", reason="no-answer")
    reference = f"{get_run(database, run_id).uid}-{item_id(database, run_id)}"
    attributed(
        database,
        receipt("delivered", client_ref=reference, occurred_at=NOON + timedelta(seconds=2)),
        receipt("submitted", client_ref=reference, occurred_at=NOON + timedelta(seconds=9)),
        receipt("failed", client_ref=reference, occurred_at=NOON),
    )
    assert_counts_add_up(database, run_id)
    assert counts(database, run_id) == {"total": 1, "succeeded": 1}
    assert delivery(items_of(database, run_id)[0])[1] == "delivered"


def test_item_that_was_claimed_meanwhile_is_left_to_its_worker(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """Between the look and the write somebody took it: the receipt waits, and nothing of it is written."""
    from clarion.ledger import attribution

    run_id = sent_run(database, ANN, status="pending", outcome="unknown", in_doubt=True)
    receive(
        database,
        receipt("delivered", client_ref=f"{get_run(database, run_id).uid}-{item_id(database, run_id)}"),
    )
    look = attribution.match_events

    def look_and_lose(*args: Any, **options: Any) -> Any:
        found = look(*args, **options)
        monkeypatch.setattr(attribution, "match_events", look)
        lost.extend(claimed(database, run_id, token, part=whole()))
        return found

    lost: list[Any] = []
    token = register_worker(database, run_id)
    monkeypatch.setattr(attribution, "match_events", look_and_lose)
    assert attribute_batch(database, limit=10) == []
    assert [item["status"] for item in items_of(database, run_id)] == ["sending"]
    settled(database, run_id, token, result(lost[0], "succeeded", invocation_id="m1"))
    (event,) = attribute_batch(database, limit=10)
    assert (event.run_item_id, items_of(database, run_id)[0]["delivery"]) == (lost[0].id, "succeeded")
    assert orjson.loads(items_of(database, run_id)[0]["item"]) == {"phone": ANN}
