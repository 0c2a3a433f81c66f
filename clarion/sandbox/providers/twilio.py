"""Twilio's Messages resource: 201 with a `sid`, errors with a `code` and `more_info`."""

import re
import uuid
from email.utils import format_datetime, localtime

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer, Request, json_answer
from clarion.sandbox.providers.style import Responder, Style

_PATH = re.compile(r"/2010-04-01/Accounts/(?P<account>[^/]+)/Messages\.json$")


def _accepted(request: Request) -> Answer:
    match = _PATH.search(request.path)
    account = match["account"] if match else ""
    sid = f"SM{uuid.uuid4().hex}"
    uri = f"/2010-04-01/Accounts/{account}/Messages/{sid}"
    now = format_datetime(localtime())
    message = {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": request.fields.get("Body"),
        "date_created": now,
        "date_sent": None,
        "date_updated": now,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": request.fields.get("From"),
        "messaging_service_sid": request.fields.get("MessagingServiceSid"),
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": None,
        "sid": sid,
        "status": "queued",
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": request.recipients[0],
        "uri": f"{uri}.json",
    }
    return json_answer(201, message)


def _failed(status: int, *, code: int, message: str) -> Responder:
    content = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return lambda _: json_answer(status, content)


STYLE = Style(
    name="twilio",
    path=_PATH,
    answers={
        Verdict.ACCEPTED: _accepted,
        Verdict.REJECTED: _failed(400, code=21211, message="The 'To' number is not a valid phone number."),
        Verdict.THROTTLED: _failed(429, code=20429, message="Too Many Requests"),
        Verdict.ERROR: _failed(500, code=20500, message="Internal Server Error"),
        Verdict.UNAVAILABLE: _failed(503, code=20503, message="Service Unavailable"),
    },
)
