"""What providers post, as their documents show it."""

import json
from typing import Any

MESSAGE_STATUS: dict[str, Any] = {
    "message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
    "to": "447700900000",
    "from": "447700900001",
    "timestamp": "2025-02-03T12:14:25Z",
    "status": "rejected",
    "error": {
        "type": "https://developer.vonage.com/api-errors/messages#1000",
        "title": "1000",
        "detail": "Throttled - You have exceeded the submission capacity allowed on this account",
        "instance": "bf0ca0bf927b3b52e3cb03217e1a1ddf",
    },
    "client_ref": "abc123",
    "usage": {"currency": "EUR", "price": "0.0333"},
    "channel": "sms",
    "destination": {"network_code": "12345"},
    "sms": {"count_total": "2"},
}
"""Messages API, status webhook (Vonage, Messages API v1)."""

INBOUND_SMS: dict[str, Any] = {
    "channel": "sms",
    "message_uuid": "bbbbbbbb-bbbb-4ccc-8ddd-0123456789ab",
    "to": "447700900000",
    "from": "447700900001",
    "timestamp": "2020-01-01T14:00:00.000Z",
    "message_type": "text",
    "text": "STOP",
    "sms": {"num_messages": "2", "total_count": "3", "keyword": "HELLO"},
    "usage": {"currency": "EUR", "price": "0.0333"},
    "origin": {"network_code": "12345"},
}
"""Messages API, inbound SMS (the same)."""

INBOUND_WHATSAPP: dict[str, Any] = {
    "channel": "whatsapp",
    "message_uuid": "cccccccc-bbbb-4ccc-8ddd-0123456789ab",
    "to": "447700900000",
    "from": "447700900001",
    "timestamp": "2020-01-01T14:00:00.000Z",
    "profile": {"name": "Jane Smith"},
    "context": {"message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab", "message_from": "447700900000"},
    "message_type": "text",
    "text": "Hello",
}
"""Messages API, a WhatsApp message that quotes one of ours (the same)."""

BUTTON_REPLY: dict[str, Any] = {
    **{name: value for name, value in INBOUND_WHATSAPP.items() if name != "text"},
    "message_uuid": "eeeeeeee-bbbb-4ccc-8ddd-0123456789ab",
    "message_type": "reply",
    "reply": {"id": "slot-1", "title": "15:00", "description": "Tomorrow at three"},
}
"""Messages API, the chosen entry of a list (the same)."""

OLD_INBOUND: dict[str, Any] = {
    "message_uuid": "dddddddd-bbbb-4ccc-8ddd-0123456789ab",
    "to": {"number": "447700900000", "type": "sms"},
    "from": {"number": "447700900001", "type": "sms"},
    "timestamp": "2020-01-01T14:00:00.000Z",
    "direction": "inbound",
    "message": {"content": {"type": "text", "text": "Hello there"}},
}
"""Messages API v0.1, inbound."""

SMS_RECEIPT: dict[str, Any] = {
    "err-code": "0",
    "message-timestamp": "2020-10-25 12:10:29",
    "messageId": "0B00000127FDBC63",
    "msisdn": "447547232824",
    "network-code": "23410",
    "price": "0.03330000",
    "scts": "1810251310",
    "status": "delivered",
    "to": "Vonage CPaaS",
}
"""SMS API, delivery receipt."""

SMS_INBOUND: dict[str, str] = {
    "msisdn": "447700900001",
    "to": "447700900000",
    "messageId": "0A0000000123ABCD1",
    "text": "Hello world & more=less",
    "type": "text",
    "keyword": "HELLO",
    "api-key": "abcd1234",
    "message-timestamp": "2020-01-01 12:00:00",
    "timestamp": "1577880000",
    "nonce": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
}
"""SMS API, inbound message of an account that signs."""

CALL_EVENT: dict[str, Any] = {
    "from": "442079460000",
    "to": "447700900000",
    "uuid": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
    "conversation_uuid": "CON-aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
    "status": "completed",
    "direction": "outbound",
    "timestamp": "2020-01-01T12:00:00.000Z",
    "duration": "2",
    "rate": "0.00450000",
    "price": "0.00015000",
    "network": "GB-FIXED",
    "start_time": "2020-01-01T12:00:00.000Z",
    "end_time": "2020-01-01T12:00:00.000Z",
}
"""Voice API, event webhook."""

CALL_INPUT: dict[str, Any] = {
    "from": "442079460000",
    "to": "447700900000",
    "dtmf": "42",
    "timed_out": True,
    "uuid": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
    "conversation_uuid": "CON-aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
    "timestamp": "2020-01-01T12:00:05.000Z",
}
"""Voice API, keys that were pressed."""

VONAGE: dict[str, dict[str, Any]] = {
    "message-status": MESSAGE_STATUS,
    "inbound-sms": INBOUND_SMS,
    "inbound-whatsapp": INBOUND_WHATSAPP,
    "button-reply": BUTTON_REPLY,
    "old-inbound": OLD_INBOUND,
    "sms-receipt": SMS_RECEIPT,
    "sms-inbound": SMS_INBOUND,
    "call-event": CALL_EVENT,
    "call-input": CALL_INPUT,
}

TWILIO_INBOUND: dict[str, str] = {
    "ToCountry": "US",
    "ToState": "CA",
    "SmsMessageSid": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "NumMedia": "0",
    "ToCity": "",
    "FromZip": "94107",
    "SmsSid": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "FromState": "CA",
    "SmsStatus": "received",
    "FromCity": "SAN FRANCISCO",
    "Body": "Yes, please + more",
    "FromCountry": "US",
    "To": "+15558675310",
    "NumSegments": "1",
    "MessageSid": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "AccountSid": "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "From": "+15017122661",
    "ApiVersion": "2010-04-01",
}
"""Twilio, the parameters of an incoming message."""

TWILIO_STATUS: dict[str, str] = {
    "SmsSid": "SM2xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "SmsStatus": "undelivered",
    "MessageStatus": "undelivered",
    "To": "+15558675310",
    "MessageSid": "SM2xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "AccountSid": "ACxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "From": "+15017122661",
    "ApiVersion": "2010-04-01",
    "ErrorCode": "30003",
    "RawDlrDoneDate": "2508181524",
}
"""Twilio, the parameters of a status callback."""

TWILIO_CALL: dict[str, str] = {
    "CallSid": "CAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "CallStatus": "completed",
    "Direction": "outbound-api",
    "From": "+15017122661",
    "To": "+15558675310",
    "SequenceNumber": "3",
    "Timestamp": "Mon, 15 Aug 2025 15:52:01 +0000",
    "CallbackSource": "call-progress-events",
}
"""Twilio, the status callback of a call."""


def as_body(payload: Any) -> bytes:
    """A payload as the bytes that are signed: with blanks, so that a receiver that re-serialises fails."""
    return json.dumps(payload, indent=1).encode()
