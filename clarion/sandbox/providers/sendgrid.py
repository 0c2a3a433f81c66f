"""SendGrid's Mail Send: 202 with an empty body, the id is in a header."""

import re
import secrets

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer, Request, json_answer
from clarion.sandbox.providers.style import Responder, Style


def _accepted(_: Request) -> Answer:
    return Answer(status=202, content_type="text/plain", headers={"X-Message-Id": secrets.token_urlsafe(16)})


def _failed(status: int, *, message: str, field: str | None = None) -> Responder:
    content = {"errors": [{"message": message, "field": field, "help": None}]}
    return lambda _: json_answer(status, content)


STYLE = Style(
    name="sendgrid",
    path=re.compile(r"/v3/mail/send/?$"),
    answers={
        Verdict.ACCEPTED: _accepted,
        Verdict.REJECTED: _failed(
            400, message="Does not contain a valid address.", field="personalizations.0.to.0.email"
        ),
        Verdict.THROTTLED: _failed(429, message="too many requests"),
        Verdict.ERROR: _failed(500, message="internal server error"),
        Verdict.UNAVAILABLE: _failed(503, message="service not available"),
    },
)
