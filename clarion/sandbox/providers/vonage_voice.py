"""Vonage Voice API: 201 with the call's `uuid`."""

import re
import uuid

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer, Request, json_answer
from clarion.sandbox.providers.problem import problem
from clarion.sandbox.providers.style import Responder, Style

_ERRORS = "https://developer.nexmo.com/api-errors"


def _accepted(_: Request) -> Answer:
    return json_answer(
        201,
        {
            "uuid": str(uuid.uuid4()),
            "status": "started",
            "direction": "outbound",
            "conversation_uuid": f"CON-{uuid.uuid4()}",
        },
    )


def _failed(status: int, *, kind: str, title: str, detail: str) -> Responder:
    return lambda _: problem(status, kind=f"{_ERRORS}#{kind}", title=title, detail=detail)


STYLE = Style(
    name="vonage-voice",
    path=re.compile(r"/v1/calls/?$"),
    answers={
        Verdict.ACCEPTED: _accepted,
        Verdict.REJECTED: _failed(
            400, kind="invalid-params", title="Invalid params", detail="The number in `to` is invalid."
        ),
        Verdict.THROTTLED: _failed(
            429, kind="throttled", title="Rate Limit Hit", detail="Please wait, then retry your request"
        ),
        Verdict.ERROR: _failed(
            500, kind="internal-error", title="Internal error", detail="The request could not be processed."
        ),
        Verdict.UNAVAILABLE: _failed(
            503, kind="unavailable", title="Service unavailable", detail="Please retry your request later"
        ),
    },
)
