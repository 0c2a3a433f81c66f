"""Slack's incoming webhooks: plain words; 429 comes with `Retry-After`."""

import re

from clarion.sandbox.behaviour import Verdict
from clarion.sandbox.message import Answer
from clarion.sandbox.providers.style import Responder, Style


def _text(status: int, text: str, **headers: str) -> Responder:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(status=status, body=text.encode(), content_type="text/html", headers=named)
    return lambda _: answer


STYLE = Style(
    name="slack",
    path=re.compile(r"^/services/"),
    answers={
        Verdict.ACCEPTED: _text(200, "ok"),
        Verdict.REJECTED: _text(404, "channel_not_found"),
        Verdict.THROTTLED: _text(429, "rate_limited", Retry_After="1"),
        Verdict.ERROR: _text(500, "rollup_error"),
        Verdict.UNAVAILABLE: _text(503, "service_unavailable"),
    },
)
