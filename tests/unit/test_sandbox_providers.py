import re
from urllib.parse import urlencode
from uuid import UUID

import orjson
import pytest

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer, Request
from clarion.sandbox.providers import STYLES, style_of

TWILIO = "/2010-04-01/Accounts/AC1/Messages.json"
ANSWERED = [Verdict.ACCEPTED, Verdict.REJECTED, Verdict.THROTTLED, Verdict.ERROR, Verdict.UNAVAILABLE]


def answer(path: str, verdict: Verdict, **fields: str) -> Answer:
    """The answer to a form on this path."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = urlencode(fields or {"to": "447700900000"}).encode()
    return style_of(path).answer(Request(method="POST", target=path, headers=headers, body=body), verdict)


def content(path: str, verdict: Verdict, **fields: str):
    """That answer's JSON."""
    return orjson.loads(answer(path, verdict, **fields).body)


@pytest.mark.parametrize(
    ("path", "style", "statuses"),
    [
        ("/v1/messages", "vonage-messages", [202, 422, 429, 500, 503]),
        ("/v0.1/messages", "vonage-messages", [202, 422, 429, 500, 503]),
        ("/anything/else", "vonage-messages", [202, 422, 429, 500, 503]),
        ("/sms/json", "vonage-sms", [200, 200, 200, 200, 200]),
        ("/v1/calls", "vonage-voice", [201, 400, 429, 500, 503]),
        (TWILIO, "twilio", [201, 400, 429, 500, 503]),
        ("/v3/mail/send", "sendgrid", [202, 400, 429, 500, 503]),
        ("/services/T0/B0/token", "slack", [200, 404, 429, 500, 503]),
    ],
)
def test_providers_path_decides_style_and_statuses(path: str, style: str, statuses: list[int]):
    """Each path is answered with its own provider's statuses."""
    assert style_of(path).name == style
    assert [answer(path, verdict).status for verdict in ANSWERED] == statuses


def test_providers_all_answer_every_verdict_that_is_answered():
    """No style lacks an answer."""
    assert all(set(style.answers) == set(ANSWERED) for style in STYLES)


def test_providers_messages_api_answers():
    """A uuid on success, a problem with its four members otherwise."""
    assert UUID(content("/v1/messages", Verdict.ACCEPTED)["message_uuid"]).version == 4
    throttled = answer("/v1/messages", Verdict.THROTTLED)
    assert throttled.content_type == "application/problem+json"
    assert throttled.headers == {}
    problem = orjson.loads(throttled.body)
    assert problem.pop("instance")
    assert problem == {
        "type": "https://developer.nexmo.com/api-errors/messages-olympus#1010",
        "title": "Rate Limit Hit",
        "detail": "Please wait, then retry your request",
    }
    assert set(content("/v1/messages", Verdict.REJECTED)) == {"type", "title", "detail", "instance"}


def test_providers_legacy_sms_tells_in_the_body():
    """Status 0 with an id, 1 for throttled, others for good."""
    accepted = content("/sms/json", Verdict.ACCEPTED)
    assert accepted["message-count"] == "1"
    assert accepted["messages"][0]["to"] == "447700900000"
    assert accepted["messages"][0]["status"] == "0"
    assert re.fullmatch(r"[0-9A-F]{16}", accepted["messages"][0]["message-id"])
    throttled = content("/sms/json", Verdict.THROTTLED)["messages"]
    assert throttled == [{"status": "1", "error-text": "Throttled"}]
    assert content("/sms/json", Verdict.REJECTED)["messages"][0]["status"] == "7"


def test_providers_voice_answers():
    """A call has an id, and a conversation."""
    call = content("/v1/calls", Verdict.ACCEPTED)
    assert call["status"] == "started"
    assert call["conversation_uuid"].startswith("CON-")
    assert UUID(call["uuid"])


def test_providers_twilio_answers():
    """The message as a resource of the account in the path; errors with a code."""
    message = content(TWILIO, Verdict.ACCEPTED, To="+447700900000", From="+447700900001", Body="Hi")
    assert re.fullmatch(r"SM[0-9a-f]{32}", message["sid"])
    assert message["uri"] == f"/2010-04-01/Accounts/AC1/Messages/{message['sid']}.json"
    asked = {"to": "+447700900000", "from": "+447700900001", "body": "Hi", "status": "queued"}
    assert asked.items() <= message.items()
    assert content(TWILIO, Verdict.THROTTLED) == {
        "code": 20429,
        "message": "Too Many Requests",
        "more_info": "https://www.twilio.com/docs/errors/20429",
        "status": 429,
    }


def test_providers_sendgrid_and_slack_answers():
    """SendGrid's id is in a header above an empty body; Slack says one word."""
    mail = answer("/v3/mail/send", Verdict.ACCEPTED)
    assert mail.body == b""
    assert mail.headers["X-Message-Id"]
    assert content("/v3/mail/send", Verdict.REJECTED)["errors"][0]["field"]
    assert answer("/services/T/B/x", Verdict.ACCEPTED).body == b"ok"
    assert answer("/services/T/B/x", Verdict.THROTTLED).headers == {"Retry-After": "1"}
