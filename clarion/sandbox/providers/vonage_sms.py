"""Vonage's legacy SMS API: always HTTP 200, the verdict is a status in the body."""

import re
import secrets

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer, Request, json_answer
from clarion.sandbox.providers.style import Responder, Style


def _accepted(request: Request) -> Answer:
    message = {
        "to": request.recipients[0],
        "message-id": secrets.token_hex(8).upper(),
        "status": "0",
        "remaining-balance": "3.14159265",
        "message-price": "0.03330000",
        "network": "12345",
    }
    return json_answer(200, {"message-count": "1", "messages": [message]})


def _failed(status: str, text: str) -> Responder:
    return lambda _: json_answer(
        200, {"message-count": "1", "messages": [{"status": status, "error-text": text}]}
    )


STYLE = Style(
    name="vonage-sms",
    path=re.compile(r"/sms/json/?$"),
    answers={
        Verdict.ACCEPTED: _accepted,
        Verdict.REJECTED: _failed("7", "Number Barred"),
        Verdict.THROTTLED: _failed("1", "Throttled"),
        Verdict.ERROR: _failed("5", "Internal Error"),
        Verdict.UNAVAILABLE: _failed("10", "Too Many Existing Binds"),
    },
)
