"""Attribution: which run item an event belongs to, by which rule."""

from datetime import timedelta
from typing import Any

import pytest

from clarion.ledger.answer_tables import REACTION
from clarion.ledger.answering import is_any_received
from clarion.ledger.attribution import attribute_batch
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run
from clarion.ledger.tables import FALLBACK_RECIPIENT, RUN_ITEM
from clarion.ledger.workers import register_worker
from clarion.receiving.vonage_events import vonage_event
from tests.integration.ledger_runs import claimed, end_lease, planned, planned_run, result, settled, whole
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
    reply,
    sent_run,
)

ANN, BOB = "+447700900001", "+447700900002"
US = "447000000001"


def test_receipt_is_found_by_the_id_that_the_answer_gave(database: Database):
    """The run item, its segment and action stand in the event, and the item has its delivery."""
    run_id = sent_run(database, ANN, BOB, ids=["m1", "m2"])
    (event,) = attributed(database, receipt("delivered", invocation_id="m2"))
    assert (event.run_id, event.run_item_id) == (run_id, item_id(database, run_id, 2))
    assert (event.attributed_by, event.action, event.src_ctx) == ("invocation-id", "send", "all")
    assert (event.type, event.recipient) == ("action-call-succeeded", "447700900002")
    assert (event.job_name, event.item, event.segment, event.row) == ("renewals", {"phone": BOB}, "all", 2)
    assert event.root_item_id == event.run_item_id
    assert event.run_uid == event.root_run_uid == get_run(database, run_id).uid
    assert [each["delivery"] for each in items_of(database, run_id)] == [None, "succeeded"]


def test_receipt_of_an_earlier_try_is_found_by_the_attempt_log(database: Database):
    """It belongs to the item, and says nothing of the message that followed."""
    run_id = planned_run(database, [planned(1, recipient=ANN)], job=job_text())
    (item,) = claimed(database, run_id, "t")
    uid = get_run(database, run_id).uid
    first = result(
        item, "pending", invocation_id="m1", epoch=1, outcome="retry", idempotency_key=f"{uid}-{item.id}.0.0"
    )
    settled(database, run_id, "t", first)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "succeeded", invocation_id="m2"))
    (event,) = attributed(database, receipt("rejected", invocation_id="m1"))
    assert (event.run_item_id, event.attributed_by) == (item.id, "invocation-id")
    assert event.type == "action-call-failed"
    assert items_of(database, run_id)[0]["delivery"] is None


def test_answer_is_found_by_the_message_that_it_quotes(database: Database):
    """However many newer messages the same recipient has."""
    old = sent_run(database, ANN, ids=["m1"])
    sent_run(database, ANN, ids=["m2"])
    (event,) = attributed(database, reply(ANN, related_id="m1", sender=US))
    assert (event.run_id, event.attributed_by) == (old, "quoted-message")


@pytest.mark.parametrize("suffix", ["", ".0.0", ".0.3"])
def test_event_is_found_by_our_own_reference(database: Database, suffix: str):
    """By `run_item.id`, or by an idempotency key; another installation's numbers are nobody's."""
    run_id = sent_run(database, ANN)
    reference = f"{get_run(database, run_id).uid}-{item_id(database, run_id)}{suffix}"
    (event,) = attributed(database, receipt("delivered", invocation_id="m9", client_ref=reference))
    assert (event.run_id, event.attributed_by) == (run_id, "client-ref")
    (other,) = attributed(
        database, receipt("delivered", client_ref=f"{'0' * 16}-{event.run_item_id}{suffix}")
    )
    assert (other.run_id, other.attributed_by, other.type) == (None, None, "action-call-info")


@pytest.mark.parametrize("spelled", ["+447700900001", "447700900001", "00447700900001"])
@pytest.mark.parametrize("matching", ["first", "all"])
def test_answer_is_found_by_recipient_and_sender(database: Database, spelled: str, matching: str):
    """However the list spells the number; the newest message that was sent from there counts."""
    key = {"dedupe_key": f"all\x1f{spelled}" if matching == "all" else spelled}
    old = sent_run(database, spelled, item1=key, job=job_text(matching=matching))
    run_id = sent_run(database, spelled, item1=key, job=job_text(matching=matching))
    sent_run(database, BOB)
    (event,) = attributed(database, reply("447700900001", sender=US))
    assert (event.run_id, event.attributed_by) == (run_id, "recipient")
    change_run(database, run_id, end_at=now(database) - timedelta(seconds=1))
    (event,) = attributed(database, reply("447700900001", sender=US))
    assert (event.run_id, event.listening) == (old, True)


def test_answer_to_another_of_our_numbers_is_nobodys(database: Database):
    """Nor is one to a number that has no message; they are kept without a run."""
    sent_run(database, ANN)
    found = attributed(
        database, reply(ANN, sender="447000000002"), reply(BOB, sender=US), reply("", sender=US)
    )
    assert [(event.run_id, event.run_item_id, event.item) for event in found] == [(None, None, None)] * 3


def test_sender_that_nobody_names_is_no_obstacle(database: Database):
    """An action that does not say from where it sends may have sent from anywhere."""
    send = {"parameters": []}
    run_id = sent_run(database, ANN, job=job_text(send=send))
    (event,) = attributed(database, reply(ANN, sender="447000000002"))
    assert event.run_id == run_id


def test_sender_is_what_the_action_says(database: Database):
    """A template over the item, the parameters and the run; rendered for the message's own item."""
    send = {"sender": "{{ '4470000000' ~ item.phone[-2:] }}", "parameters": []}
    run_id = sent_run(database, ANN, BOB, job=job_text(send=send))
    found = attributed(database, reply(ANN, sender="+447000000001"), reply(BOB, sender="+447000000001"))
    assert [event.run_id for event in found] == [run_id, None]


@pytest.mark.parametrize(
    ("status", "reason", "found"),
    [
        ("succeeded", None, True),
        ("unknown", "no-answer", True),
        ("failed", "refused", False),
        ("failed", "undelivered", True),
    ],
)
def test_who_was_refused_has_nothing_to_answer(
    database: Database, status: str, reason: str | None, found: bool
):
    """Only messages that may have arrived are answered."""
    sent_run(database, ANN, status=status, reason=reason)
    (event,) = attributed(database, reply(ANN))
    assert (event.run_id is not None) is found


def test_run_listens_for_seven_days_after_its_end(database: Database):
    """A rehearsal for a quarter of an hour; what names its message is found at any time."""
    run_id = sent_run(database, ANN, ids=["m1"])
    change_run(database, run_id, ended_at=now(database) - timedelta(days=7, seconds=5))
    late, named = attributed(database, reply(ANN), reply(ANN, related_id="m1"))
    assert (late.run_id, named.run_id, named.listening) == (None, run_id, False)
    change_run(database, run_id, ended_at=now(database) - timedelta(days=6, hours=23))
    (event,) = attributed(database, reply(ANN))
    assert (event.run_id, event.listening) == (run_id, True)
    change_run(database, run_id, ended_at=now(database) - timedelta(minutes=16), against="http://127.0.0.1")
    (event,) = attributed(database, reply(ANN))
    assert event.run_id is None


def test_late_receipt_is_accepted_after_the_runs_end(database: Database):
    """`end_at` ends listening to answers, not the truth about a message."""
    run_id = sent_run(database, ANN, ids=["m1"])
    change_run(database, run_id, end_at=now(database) - timedelta(days=30))
    (event,) = attributed(database, receipt("delivered", invocation_id="m1"))
    assert (event.run_id, event.listening) == (run_id, False)
    assert items_of(database, run_id)[0]["delivery"] == "succeeded"


def test_receipt_that_names_another_call_is_not_guessed_by_recipient(database: Database):
    """Only a call without an answer can be the one that it names."""
    sent_run(database, ANN, ids=["m1"])
    foreign, answered = attributed(
        database, receipt("delivered", invocation_id="x", recipient=ANN), reply(ANN)
    )
    assert foreign.run_id is None
    assert answered.run_id is not None
    unanswered = sent_run(database, ANN, status="unknown", reason="no-answer")
    (event,) = attributed(database, receipt("delivered", invocation_id="x", recipient=ANN, sender=US))
    assert (event.run_id, event.attributed_by) == (unanswered, "recipient")
    assert items_of(database, unanswered)[0]["invocation_id"] == "x"


def test_message_after_the_answer_is_not_what_it_answers(database: Database):
    """Where events wait, the newest message before the answer counts."""
    old = sent_run(database, ANN)
    receive(database, reply(ANN))
    newer = sent_run(database, ANN)
    change_item(database, item_id(database, newer), claimed_at=now(database) + timedelta(hours=1))
    (event,) = attribute_batch(database, limit=10)
    assert event.run_id == old


def test_recipient_of_a_step_before_is_found_too(database: Database):
    """Somebody may answer the message although the item went on with another step."""
    job = job_text(segment={"fallback": [{"action": "mail", "recipient": "{{ item.mail }}"}]})
    run_id = planned_run(
        database, [planned(1, recipient=ANN, fallback='[["Ann@shop.example",null,null]]')], job=job
    )
    (item,) = claimed(database, run_id, "t")
    uid = get_run(database, run_id).uid
    settled(
        database,
        run_id,
        "t",
        result(item, "pending", outcome="unknown", idempotency_key=f"{uid}-{item.id}.0.0"),
    )
    change_item(database, item.id, step=1, action="mail", recipient="ann@shop.example")
    with database.write() as connection:
        row = {"run_id": run_id, "dedupe_key": "ann@shop.example", "run_item_id": item.id}
        connection.execute(FALLBACK_RECIPIENT.insert().values(row))
    (mail,) = claimed(database, run_id, "t", part=whole("mail"))
    settled(database, run_id, "t", result(mail, "succeeded"))
    sms, mails = attributed(
        database, reply(ANN, sender=US), reply("Ann@shop.example", sender="offers@shop.EXAMPLE")
    )
    assert [(each.run_item_id, each.action) for each in (sms, mails)] == [
        (item.id, "send"),
        (item.id, "mail"),
    ]


def test_receipt_waits_for_the_result_of_its_call(database: Database):
    """Whoever sends has the item; once the answer is in the ledger the receipt counts, and once only."""
    run_id = planned_run(database, [planned(1, recipient=ANN)], job=job_text())
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    receive(
        database,
        receipt("delivered", invocation_id="m1", recipient=ANN),
        reply(ANN, related_id="m1"),
        reply(ANN),
        reply(BOB),
    )
    assert [event.recipient for event in attribute_batch(database, limit=10)] == ["447700900002"]
    assert is_any_received(database)
    settled(database, run_id, token, result(item, "succeeded", invocation_id="m1"))
    events = attribute_batch(database, limit=10)
    assert [(event.type, event.run_item_id) for event in events] == [
        ("action-call-succeeded", item.id), ("recipient-response", item.id), ("recipient-response", item.id),
        ("recipient-response", None),
    ]  # fmt: skip
    assert attribute_batch(database, limit=10) == events


def test_receipt_of_a_dead_process_settles_its_call(database: Database):
    """The lease has run out: nobody knows the answer but the receipt."""
    run_id = planned_run(database, [planned(1, recipient=ANN)], job=job_text())
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    end_lease(database, token)
    receive(database, receipt("delivered", client_ref=f"{get_run(database, run_id).uid}-{item.id}"))
    assert attribute_batch(database, limit=10) == []
    (event,) = attribute_batch(database, limit=10)
    assert event.run_item_id == item.id
    assert items_of(database, run_id)[0]["status"] == "succeeded"


def test_batches_are_of_the_size_asked_for(database: Database):
    """And whatever waits at the front does not hold up what came after it."""
    run_id = planned_run(database, [planned(1, recipient=ANN)], job=job_text())
    claimed(database, run_id, register_worker(database, run_id))
    receive(database, *(receipt("delivered", invocation_id=f"x{n}") for n in range(5)))
    ids = receive(database, *(reply(BOB) for _ in range(5)))
    assert [event.id for event in attribute_batch(database, limit=3)] == ids[:3]


def test_run_that_cannot_be_read_holds_up_no_others_events(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """Its own events belong to it still; a receipt is read as its provider means it."""
    run_id = sent_run(database, ANN, ids=["m1"])
    change_run(database, run_id, job='{"segments": 1}')
    other = sent_run(database, BOB)
    found = attributed(database, receipt("delivered", invocation_id="m1"), reply(ANN, sender=US), reply(BOB))
    assert [event.run_id for event in found] == [run_id, run_id, other]
    assert found[0].type == "action-call-succeeded"
    assert "The job of a run cannot be read" in caplog.text


def test_answer_to_a_reaction_belongs_to_it_and_to_the_campaign_behind_it(database: Database):
    """However often one answered and was answered: the root is the item of the campaign."""
    parent = sent_run(database, ANN, job=JOB_THAT_THANKS)
    root = item_id(database, parent)
    (event,) = attributed(database, reply(ANN, sender=US))
    child = planned_run(database, [], job=JOB_THAT_THANKS, kind="reactions", parent_id=parent)
    for _ in range(2):
        answer = planned(
            event.id, recipient=ANN, segment="thanks", dedupe_key=f"{event.id}:thanks",
            item=f'{{"phone":"{ANN}","@reaction":{{"segment":"all"}}}}',
        )  # fmt: skip
        with database.write() as connection:
            values = {**answer._asdict(), "run_id": child, "status": "succeeded", "claimed_at": now(database)}
            values.pop("error")
            added = connection.scalar(RUN_ITEM.insert().values(**values).returning(RUN_ITEM.c.id))
            row = {"event_id": event.id, "handler": "thanks", "kind": "action", "status": "stored"}
            connection.execute(REACTION.insert().values(**row, run_id=child, run_item_id=added))
        assert event.root_item_id == root
        (event,) = attributed(database, reply(ANN, sender=US))
        assert (event.run_id, event.run_item_id, event.attributed_by) == (child, added, "recipient")
        assert (event.root_run_id, event.root_item_id, event.item) == (parent, root, {"phone": ANN})
        assert (event.run_kind, event.src_ctx, event.root_run_uid) == (
            "reactions", "thanks", get_run(database, parent).uid,
        )  # fmt: skip
    (event,) = attributed(database, reply(ANN, sender="447000000002"))
    assert event.run_id is None


JOB_THAT_THANKS = job_text(
    events=[{"name": "thanks", "condition": 'event.type == "recipient-response"', "action": "send"}]
)


STATUS_WEBHOOK: dict[str, Any] = {
    "message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab", "to": "447700900001", "from": "447000000001",
    "timestamp": "2025-02-03T12:14:25Z", "status": "rejected",
    "error": {
        "type": "https://developer.vonage.com/api-errors/messages#1000", "title": "1000",
        "detail": "Throttled - You have exceeded the submission capacity",
        "instance": "bf0ca0bf927b3b52e3cb03217e1a1ddf",
    },
    "client_ref": "abc123", "usage": {"currency": "EUR", "price": "0.0333"}, "channel": "sms",
    "destination": {"network_code": "12345"}, "sms": {"count_total": "2"},
}  # fmt: skip
INBOUND_SMS = {
    "channel": "sms", "message_uuid": "cccccccc-bbbb-4ccc-8ddd-0123456789ab", "to": "447000000001",
    "from": "447700900001", "timestamp": "2020-01-01T14:00:00.000Z", "message_type": "text", "text": "STOP",
    "sms": {"num_messages": "2", "total_count": "3", "keyword": "HELLO"}, "origin": {"network_code": "12345"},
}  # fmt: skip
INBOUND_WHATSAPP = {
    "channel": "whatsapp", "message_uuid": "dddddddd-bbbb-4ccc-8ddd-0123456789ab", "to": "447000000001",
    "from": "447700900001", "timestamp": "2020-01-01 14:00:00 UTC", "profile": {"name": "Jane Smith"},
    "context": {"message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab", "message_from": "447700900001"},
    "message_type": "text", "text": "Hello",
}  # fmt: skip
SMS_RECEIPT = {
    "err-code": "0", "messageId": "0B00000127FDBC63", "msisdn": "447700900001", "to": "Acme",
    "status": "delivered",
}  # fmt: skip


def test_documented_webhooks_find_their_messages(database: Database):
    """A receipt by its id, an SMS by its numbers, a WhatsApp reply by what it quotes."""
    response = {
        "invocation_id": "{{ response.body.message_uuid }}",
        "status": {
            "value": "{{ event.status }}", "success_statuses": ["delivered", "read"],
            "failure_statuses": ["rejected", "undeliverable"], "info_statuses": ["submitted"],
        },
        "error": {"code": "{{ event.error.title }}", "reason": "{{ event.error.detail }}"},
    }  # fmt: skip
    job = job_text(send={"response": response})
    old = sent_run(database, ANN, ids=[STATUS_WEBHOOK["message_uuid"]], job=job)
    newest = sent_run(database, ANN, ids=["0B00000127FDBC63"], job=job)
    webhooks = (STATUS_WEBHOOK, INBOUND_SMS, INBOUND_WHATSAPP, SMS_RECEIPT)
    found = attributed(database, *(vonage_event(each, delivery=str(n)) for n, each in enumerate(webhooks)))
    assert [(event.run_id, event.attributed_by, event.type) for event in found] == [
        (old, "invocation-id", "action-call-failed"),
        (newest, "recipient", "recipient-response"),
        (old, "quoted-message", "recipient-response"),
        (newest, "invocation-id", "action-call-succeeded"),
    ]
    (item,) = items_of(database, old)
    assert (item["delivery_status"], item["delivery_code"]) == ("rejected", "1000")
    assert item["delivery_reason"].startswith("Throttled - ")
    assert item["delivered_at"].isoformat() == "2025-02-03T12:14:25+00:00"
    assert found[2].data == INBOUND_WHATSAPP
