"""Vonage Messages API: 202 with a `message_uuid`, problems for everything else.

Also the answer for every path that no other style claims.
"""

import re
import uuid

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer, Request, json_answer
from clarion.sandbox.providers.problem import problem
from clarion.sandbox.providers.style import Style

_ERRORS = "https://developer.nexmo.com/api-errors/messages-olympus"


def _accepted(_: Request) -> Answer:
    return json_answer(202, {"message_uuid": str(uuid.uuid4())})


def _rejected(_: Request) -> Answer:
    return problem(
        422,
        kind=f"{_ERRORS}#1170",
        title="Invalid or Missing Msisdn Param",
        detail="The phone number in `to` is missing or invalid.",
    )


def _throttled(_: Request) -> Answer:
    """No `Retry-After`: no document of the real API promises one."""
    return problem(
        429, kind=f"{_ERRORS}#1010", title="Rate Limit Hit", detail="Please wait, then retry your request"
    )


def _error(_: Request) -> Answer:
    return problem(
        500,
        kind=f"{_ERRORS}#1030",
        title="Internal error",
        detail="There was an error processing your request in the Platform.",
    )


def _unavailable(_: Request) -> Answer:
    return problem(
        503,
        kind=f"{_ERRORS}#1100",
        title="Communication Failed",
        detail="Message was not submitted because there was a communication failure.",
    )


STYLE = Style(
    name="vonage-messages",
    path=re.compile(r"/v(0\.1|1)/messages/?$"),
    answers={
        Verdict.ACCEPTED: _accepted,
        Verdict.REJECTED: _rejected,
        Verdict.THROTTLED: _throttled,
        Verdict.ERROR: _error,
        Verdict.UNAVAILABLE: _unavailable,
    },
)
