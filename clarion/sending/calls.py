"""One call: from a claimed item to what becomes of it."""

import asyncio
import time
from datetime import UTC, datetime

import httpx

from clarion.campaign import CompiledAction
from clarion.errors import InputError, RenderError
from clarion.ledger.claims import ClaimedItem, Settlement
from clarion.ledger.windows import within_windows
from clarion.rendering import render_request
from clarion.sending.decision import Call, decide, fail_over, released, unsendable
from clarion.sending.session import RunSession
from clarion.sending.verdict import Verdict, judge_failure, judge_response
from clarion.sending.writer import Permit

LEAST_HOLD_SECONDS = 0.1
"""A `Retry-After: 0` would otherwise be asked again and again at full speed: a hold uses up no try."""

Hold = tuple[str, float]
"""A limit's key, and for how many seconds it is held back."""


async def send_item(
    session: RunSession,
    item: ClaimedItem,
    *,
    permit: Permit,
    wire: httpx.AsyncBaseTransport,
    lane: asyncio.Task[None],
) -> tuple[Settlement, Hold | None]:
    """Renders, sends and judges one item: what becomes of it, and what its limit is held back for.

    Args:
        session: The process's part in the run.
        item: What it has claimed.
        permit: What it was claimed with; an item that is late for it is given back.
        wire: Sends.
        lane: The task that this runs in; the session's `in_flight` has it while the request may be out.
    """
    name = item.action
    action = session.campaign.actions[name]
    key = session.idempotency_key(item)
    try:
        scope = session.scope(item)
        request = render_request(action, scope, idempotency_key=key, against=session.against)
        auth = session.auths.get(name)
        if auth is not None:
            request = auth.apply(request)
    except (RenderError, InputError) as exc:
        return fail_over(unsendable(item, exc.message), campaign=session.campaign), None
    if not session.may_send or time.monotonic() > permit.lapses_at:
        return released(item), None
    session.in_flight.add(lane)
    mask = session.masks.get(name)
    started = time.perf_counter()
    try:
        response = await wire.handle_async_request(request)
    except httpx.RequestError as exc:
        verdict = judge_failure(exc, mask=mask)
    else:
        verdict = judge_response(action, response, scope, now=datetime.now(UTC), mask=mask)
    finally:
        session.in_flight.discard(lane)
    call = Call(idempotency_key=key, latency_ms=(time.perf_counter() - started) * 1_000, verdict=verdict)
    settlement = decide(item, call, action=action.action, now=datetime.now(UTC))
    settlement = within_windows(fail_over(settlement, campaign=session.campaign), session.campaign.timing)
    session.circuit.record(item.id, verdict)
    return settlement, _hold(action, verdict, permit)


def _hold(action: CompiledAction, verdict: Verdict, permit: Permit) -> Hold | None:
    """How long a throttled answer holds the limit back: as asked, else the first wait of the retries."""
    if verdict.outcome != "held":
        return None
    asked = verdict.retry_after_seconds
    policy = action.action.retry_policy
    seconds = policy.delay_seconds(1) if asked is None else max(asked, LEAST_HOLD_SECONDS)
    return permit.limit, seconds
