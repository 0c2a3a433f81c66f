"""From a verdict on one call to what becomes of its item: a pure function of both."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from clarion.ledger.claims import ClaimedItem, Settlement
from clarion.models.action import Action
from clarion.sending.verdict import Outcome, Verdict

REFUSED = "refused"
EXHAUSTED = "retries-exhausted"
NO_ANSWER = "no-answer"
TEMPLATE_ERROR = "template-error"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call that was made: its key, how long its answer took (ms), and the verdict."""

    idempotency_key: str
    latency_ms: float
    verdict: Verdict


def decide(item: ClaimedItem, call: Call, *, action: Action, now: datetime) -> Settlement:
    """What becomes of an item after a call.

    `attempts` alone decides when it is out of tries. A new idempotency key is used only after a definite
    answer: a provider that knows the key then still refuses to do the same thing twice.
    """
    verdict = call.verdict
    held = verdict.outcome == "held"
    attempts = item.attempts if held else item.attempts + 1
    left = attempts <= action.retry_policy.num_retries
    resend = verdict.outcome == "unknown" and action.on_unknown == "resend" and left
    again = held or resend or (verdict.outcome == "retry" and left)
    status, reason = _ENDS[verdict.outcome]
    due_at = None
    if again and not held:
        due_at = now + timedelta(seconds=action.retry_policy.delay_seconds(attempts))
    return Settlement(
        item=item,
        status="pending" if again else status,
        reason=None if again else reason,
        attempts=attempts,
        epoch=item.epoch + 1 if again and verdict.answered else item.epoch,
        due_at=due_at,
        status_code=verdict.status_code,
        invocation_id=verdict.invocation_id,
        error_code=verdict.error_code,
        error=verdict.error,
        latency_ms=call.latency_ms,
        outcome=verdict.outcome if again else None,
        idempotency_key=call.idempotency_key,
    )


_ENDS: dict[Outcome, tuple[str, str | None]] = {
    "succeeded": ("succeeded", None),
    "retry": ("failed", EXHAUSTED),
    "refused": ("failed", REFUSED),
    "unknown": ("unknown", NO_ANSWER),
    "held": ("pending", None),
}
"""Status and reason where no other try follows."""


def unsendable(item: ClaimedItem, error: str) -> Settlement:
    """An item whose request cannot be made: skipped, or failed where something was sent for it before."""
    untouched = item.attempts == 0 and item.epoch == 0
    return Settlement(
        item=item,
        status="skipped" if untouched else "failed",
        reason=TEMPLATE_ERROR,
        attempts=item.attempts,
        epoch=item.epoch,
        error=error,
    )


def released(item: ClaimedItem) -> Settlement:
    """An item given back unsent: as it was before it was claimed."""
    return Settlement(item=item, status="pending", attempts=item.attempts, epoch=item.epoch)
