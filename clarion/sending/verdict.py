"""Judging an answer: success, try again, held back, unknown, or refused for good.

A call whose request may have left and whose answer never came is unknown, never failed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx
import orjson

from clarion.campaign import CompiledAction
from clarion.errors import RenderError
from clarion.exchange import header_pairs
from clarion.models.action import ResponsePolicy
from clarion.sending.wire import UnsendableError, left_unsent
from clarion.templating import Compiled

Outcome = Literal["succeeded", "retry", "held", "unknown", "refused"]

TOO_MANY_REQUESTS = 429
SERVICE_UNAVAILABLE = 503
MAX_ERROR_CHARACTERS = 500
MAX_RETRY_AFTER_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one call.

    `answered` tells a definite answer of the provider from a call that never got one. Only after such an
    answer may the next try carry a new idempotency key. `retry_after_seconds` is what the provider asked for.
    """

    outcome: Outcome
    answered: bool
    status_code: int | None = None
    invocation_id: str | None = None
    error_code: str | None = None
    error: str | None = None
    retry_after_seconds: float | None = None


Mask = Callable[[str], str]
"""Takes an action's secrets out of a text."""


def judge_failure(error: httpx.RequestError, *, mask: Mask | None = None) -> Verdict:
    """The verdict on a call without an answer: unknown unless nothing can have left this machine.

    A request that cannot be written at all is refused for good: no other try would fare better.
    """
    outcome: Outcome = "retry" if left_unsent(error) else "unknown"
    if isinstance(error, UnsendableError | httpx.UnsupportedProtocol):
        outcome = "refused"
    kind = type(error).__name__
    return Verdict(outcome=outcome, answered=False, error_code=kind, error=_short(str(error) or kind, mask))


def judge_response(
    action: CompiledAction,
    response: httpx.Response,
    scope: Mapping[str, Any],
    *,
    now: datetime,
    mask: Mask | None = None,
) -> Verdict:
    """The verdict on an answer.

    Args:
        action: The action that was called.
        response: The whole answer, body read.
        scope: What the request was rendered with.
        now: Aware UTC; for a `Retry-After` that is a date.
        mask: A provider that repeats our credentials is not quoted with them. Texts are masked before they
            are cut: else the beginning of a secret at the cut would be kept.
    """
    answer = response_scope(response)
    code = response.status_code
    unread = _unread(action, response, answer)
    outcome = _outcome(action, answer, code, now=now, readable=unread is None)
    wait = retry_after(answer["headers"].get("retry-after"), now=now) if outcome == "held" else None
    whole = {**scope, "response": answer}
    failed = outcome != "succeeded"
    return Verdict(
        outcome=outcome,
        answered=outcome != "unknown",
        status_code=code,
        invocation_id=_short(_rendered(action.invocation_id, whole), mask),
        error_code=_short(_rendered(action.error_code, whole) or str(code), mask) if failed else None,
        error=_short(_rendered(action.error_reason, whole) or _problem_text(answer) or unread, mask)
        if failed
        else None,
        retry_after_seconds=wait,
    )


def _unread(action: CompiledAction, response: httpx.Response, answer: dict[str, Any]) -> str | None:
    """Why the action's conditions cannot be asked: they look into a body that was cut, or is no JSON."""
    for_success, for_retry = action.body_depths
    deepest = max(for_success, for_retry)
    if deepest < 0:
        return None
    if response.extensions.get("body_truncated"):
        return "the body of the answer is too long to be read"
    no_json = isinstance(answer["body"], str) and not _is_json_text(response.content)
    if (deepest > 0 and no_json) or (for_success > 0 and not response.content):
        return "the body of the answer is no JSON"
    return None


def _is_json_text(content: bytes) -> bool:
    """Whether a body that reads as text is a JSON text: `"ok"`, and not `ok`."""
    return content.lstrip()[:1] == b'"'


def _outcome(
    action: CompiledAction, answer: dict[str, Any], code: int, *, now: datetime, readable: bool
) -> Outcome:
    by_code = _by_code(action.action.response, code)
    throttled = code == TOO_MANY_REQUESTS or (
        code == SERVICE_UNAVAILABLE and "retry-after" in answer["headers"]
    )
    if by_code == "retry" and throttled:
        return "held"
    if by_code == "succeeded" and not readable:
        return (
            "unknown"  # the code says that it had its effect; whether the body takes that back nobody knows
        )
    scope = {"response": answer}
    if action.retry is not None and action.retry.holds(scope, now=now):
        return "retry"
    if by_code == "succeeded" and action.success is not None and not action.success.holds(scope, now=now):
        return "refused"
    return by_code


def _by_code(policy: ResponsePolicy, code: int) -> Outcome:
    """What the status code alone says: a code that is written out (`502`) before a class of them (`5xx`)."""
    for text in (str(code), f"{code // 100}xx"):
        if text in policy.success_codes:
            return "succeeded"
        if text in policy.unknown_codes:
            return "unknown"
        if text in policy.retry_codes:
            return "retry"
    return "refused"


def response_scope(response: httpx.Response) -> dict[str, Any]:
    """What templates and conditions see as `response`: status_code, headers (lower case), body."""
    content = response.content
    body: Any = None
    if content:
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError:
            body = content.decode("utf-8", errors="replace")
    headers: dict[str, str] = {}
    for spelled, value in header_pairs(response):
        name = spelled.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return {"status_code": response.status_code, "headers": headers, "body": body}


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds that a `Retry-After` asks for: a number of them, or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):  # the latter for numbers that no date has
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _rendered(template: Compiled | None, scope: Mapping[str, Any]) -> str | None:
    if template is None:
        return None
    try:
        value = template.render(scope)
    except RenderError:
        return None  # the answer lacks the field; that it came is what counts
    return None if value is None else str(value)


def _problem_text(answer: dict[str, Any]) -> str | None:
    """The explanation of a problem document (RFC 9457), where the answer is one."""
    body = answer["body"]
    if not isinstance(body, dict):
        return None
    text = body.get("detail") or body.get("title")
    return text if isinstance(text, str) else None


def _short(text: str | None, mask: Mask | None) -> str | None:
    """The text as the ledger takes it; PostgreSQL has no NUL character."""
    if text is None:
        return None
    return (text if mask is None else mask(text))[:MAX_ERROR_CHARACTERS].replace("\0", "\ufffd")
