"""One call: from a claimed item to what becomes of it."""

import asyncio
import time
from datetime import UTC, datetime

import httpx

from clarion.campaign import CompiledAction
from clarion.errors import InputError, RenderError
from clarion.ledger.claims import ClaimedItem, Settlement
from clarion.rendering import render_request
from clarion.sending.decision import Call, decide, released, unsendable
from clarion.sending.session import RunSession
from clarion.sending.verdict import Verdict, judge_failure, judge_response, without_secrets

LEAST_HOLD_SECONDS = 0.1
"""A `Retry-After: 0` would otherwise be asked again and again at full speed: a hold uses up no try."""

Hold = tuple[str, float]
"""A limit's key, and for how many seconds it is held back."""


async def send_item(
    session: RunSession, item: ClaimedItem, *, wire: httpx.AsyncBaseTransport, lane: asyncio.Task[None]
) -> tuple[Settlement, Hold | None]:
    """Renders, sends and judges one item: what becomes of it, and what its limit is held back for.

    Args:
        session: The process's part in the run.
        item: What it has claimed.
        wire: Sends.
        lane: The task that this runs in; the session's `in_flight` has it while the request may be out.
    """
    name = session.segments[item.segment].action
    action = session.campaign.actions[name]
    key = session.idempotency_key(item)
    try:
        scope = session.scope(item)
        request = render_request(action, scope, idempotency_key=key, against=session.against)
        auth = session.auths.get(name)
        if auth is not None:
            request = auth.apply(request)
    except (RenderError, InputError) as exc:
        return unsendable(item, exc.message), None
    if not session.may_send:
        return released(item), None
    session.in_flight.add(lane)
    started = time.perf_counter()
    try:
        response = await wire.handle_async_request(request)
    except httpx.RequestError as exc:
        verdict = judge_failure(exc)
    else:
        verdict = judge_response(action, response, scope, now=datetime.now(UTC))
    finally:
        session.in_flight.discard(lane)
    verdict = without_secrets(verdict, session.masks.get(name))
    call = Call(idempotency_key=key, latency_ms=(time.perf_counter() - started) * 1_000, verdict=verdict)
    settlement = decide(item, call, action=action.action, now=datetime.now(UTC))
    return settlement, _hold(session, action, verdict)


def _hold(session: RunSession, action: CompiledAction, verdict: Verdict) -> Hold | None:
    """How long a throttled answer holds the limit back: as asked, else the first wait of the retries."""
    if verdict.outcome != "held":
        return None
    asked = verdict.retry_after_seconds
    policy = action.action.retry_policy
    seconds = policy.delay_seconds(1) if asked is None else max(asked, LEAST_HOLD_SECONDS)
    return session.limits[action.name].key, seconds
