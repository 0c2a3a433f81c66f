"""What Vonage's documented payloads are read as."""

from datetime import UTC, datetime
from typing import Any

import pytest

from clarion.receiving.vonage_events import vonage_event
from tests.unit.webhook_payloads import (
    BUTTON_REPLY,
    CALL_EVENT,
    CALL_INPUT,
    INBOUND_SMS,
    INBOUND_WHATSAPP,
    MESSAGE_STATUS,
    OLD_INBOUND,
    SMS_INBOUND,
    SMS_RECEIPT,
    VONAGE,
)

FIELDS = (
    "type", "provider_event_id", "occurred_at", "recipient", "sender", "invocation_id", "related_id",
    "client_ref", "status", "error_code", "error", "text",
)  # fmt: skip


def read(payload: dict[str, Any]) -> dict[str, Any]:
    """What is read from a payload: the fields that are not None."""
    event = vonage_event(payload, delivery="delivery")
    assert event.data == payload
    return {name: value for name in FIELDS if (value := getattr(event, name)) is not None}


def without(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    """A payload that lacks some fields."""
    return {name: value for name, value in payload.items() if name not in names}


def test_message_status_is_a_receipt_of_the_customer():
    """`to` is the customer, the uuid our invocation id, the error's title its code."""
    assert read(MESSAGE_STATUS) == {
        "type": "action-call-info",
        "provider_event_id": "status:aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab:rejected:1000",
        "occurred_at": datetime(2025, 2, 3, 12, 14, 25, tzinfo=UTC),
        "recipient": "447700900000",
        "sender": "447700900001",
        "invocation_id": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
        "client_ref": "abc123",
        "status": "rejected",
        "error_code": "1000",
        "error": "Throttled - You have exceeded the submission capacity allowed on this account",
    }


def test_inbound_sms_is_a_response_of_its_sender():
    """`from` is the customer; an SMS refers to nothing."""
    assert read(INBOUND_SMS) == {
        "type": "recipient-response",
        "provider_event_id": "inbound:bbbbbbbb-bbbb-4ccc-8ddd-0123456789ab",
        "occurred_at": datetime(2020, 1, 1, 14, tzinfo=UTC),
        "recipient": "447700900001",
        "sender": "447700900000",
        "text": "STOP",
    }


def test_quoted_message_is_the_related_one():
    """WhatsApp says which message is answered, and which button or entry was chosen."""
    assert read(INBOUND_WHATSAPP)["related_id"] == "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"
    assert read(INBOUND_WHATSAPP)["text"] == "Hello"
    assert read(BUTTON_REPLY)["text"] == "15:00"
    button = {
        **without(BUTTON_REPLY, "reply"),
        "message_type": "button",
        "button": {"text": "Yes", "payload": 1},
    }
    assert read(button)["text"] == "Yes"
    picture = {
        **without(INBOUND_WHATSAPP, "text"),
        "message_type": "image",
        "image": {"url": "x", "caption": "Me"},
    }
    assert read(picture)["text"] == "Me"


def test_older_messages_api_is_read_too():
    """v0.1 has mappings for addresses, and the text within a content."""
    assert read(OLD_INBOUND)["text"] == "Hello there"
    assert (read(OLD_INBOUND)["recipient"], read(OLD_INBOUND)["sender"]) == ("447700900001", "447700900000")
    status = {
        **without(OLD_INBOUND, "message"),
        "status": "rejected",
        "error": {"code": 1300, "reason": "Not part"},
    }
    assert (read(status)["recipient"], read(status)["error_code"]) == ("447700900000", "1300")


def test_sms_receipt_is_of_the_number_it_names():
    """`msisdn` is the customer; code 0 is no error, another one has its documented words."""
    assert read(SMS_RECEIPT) == {
        "type": "action-call-info",
        "provider_event_id": "receipt:0B00000127FDBC63:delivered:0",
        "occurred_at": datetime(2020, 10, 25, 12, 10, 29, tzinfo=UTC),
        "recipient": "447547232824",
        "sender": "Vonage CPaaS",
        "invocation_id": "0B00000127FDBC63",
        "status": "delivered",
    }
    failed = {**SMS_RECEIPT, "status": "failed", "err-code": 9, "client-ref": "item-7"}
    assert read(failed)["error_code"] == "9"
    assert read(failed)["error"] == "Illegal Number"
    assert read(failed)["client_ref"] == "item-7"


def test_sms_inbound_is_a_response():
    """The SMS API's inbound message, as a mapping of a query, a form or JSON."""
    assert read(SMS_INBOUND) == {
        "type": "recipient-response",
        "provider_event_id": "sms:0A0000000123ABCD1",
        "occurred_at": datetime(2020, 1, 1, 12, tzinfo=UTC),
        "recipient": "447700900001",
        "sender": "447700900000",
        "text": "Hello world & more=less",
    }


def test_call_events_are_receipts_and_pressed_keys_are_answers():
    """Voice: the status of the call that we made, and what its recipient pressed or said."""
    call = read(CALL_EVENT)
    assert (call["type"], call["status"], call["recipient"], call["sender"]) == (
        "action-call-info", "completed", "447700900000", "442079460000",
    )  # fmt: skip
    assert call["invocation_id"] == "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
    pressed = read(CALL_INPUT)
    assert (pressed["type"], pressed["text"], pressed["recipient"]) == (
        "recipient-response",
        "42",
        "447700900000",
    )
    said = {
        **without(CALL_INPUT, "dtmf"),
        "speech": {"results": [{"confidence": "0.9", "text": "yes please"}]},
    }
    assert read(said)["text"] == "yes please"
    machine = {**without(CALL_EVENT, "uuid"), "call_uuid": "of-the-call", "status": "machine"}
    assert read(machine)["invocation_id"] == "of-the-call"
    inbound = {**CALL_EVENT, "direction": "inbound"}
    assert read(inbound)["recipient"] == "442079460000"


@pytest.mark.parametrize("name", sorted(VONAGE))
def test_redelivery_has_the_same_id_and_another_event_has_not(name: str):
    """The id is the provider's, whatever the delivery; each documented event has one of its own."""
    ids = {each: vonage_event(VONAGE[each], delivery=f"of {each}").provider_event_id for each in VONAGE}
    again = vonage_event({**VONAGE[name], "extra": "field"}, delivery="another")
    assert again.provider_event_id == ids[name]
    assert len(set(ids.values())) == len(ids)


def test_numbers_for_texts_are_read_as_texts():
    """Vonage writes numbers now and then where the document shows texts."""
    status = {
        **MESSAGE_STATUS,
        "to": 447700900000,
        "from": 447700900001.0,
        "error": {"title": 1240, "detail": 7},
    }
    assert (read(status)["recipient"], read(status)["sender"]) == ("447700900000", "447700900001")
    assert (read(status)["error_code"], read(status)["error"]) == ("1240", "7")
    assert read({**INBOUND_SMS, "text": 1})["text"] == "1"


def test_error_code_is_found_behind_the_type():
    """An error whose title is a sentence has its number at the end of its type."""
    error = {"type": "https://developer.vonage.com/api-errors/messages#1240", "title": "Illegal number"}
    assert read({**MESSAGE_STATUS, "error": error})["error_code"] == "1240"
    assert read({**MESSAGE_STATUS, "error": {"title": "Odd"}})["error_code"] == "Odd"


@pytest.mark.parametrize("name", sorted(VONAGE))
def test_missing_fields_are_missing_and_no_error(name: str):
    """Without any one of its fields a payload is still an event, which keeps all that came."""
    for field in VONAGE[name]:
        assert vonage_event(without(VONAGE[name], field), delivery="d").data == without(VONAGE[name], field)
    sender_only = {"message_type": "text", "from": "447700900001"}
    assert read(sender_only) == {
        "type": "recipient-response", "provider_event_id": "delivery", "recipient": "447700900001",
    }  # fmt: skip


@pytest.mark.parametrize("payload", [{}, {"status": "delivered"}, {"kind": "rtc:transfer"}, {"body": [1]}])
def test_what_nobody_knows_is_unknown(payload: dict[str, Any]):
    """A type that does not exist yet is kept as an unknown event."""
    assert read(payload) == {"type": "unknown", "provider_event_id": "delivery"}
