"""From a verdict on one call to what becomes of its item: a pure function of both."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clarion.campaign import Campaign
from clarion.fallback import goes_on, next_steps
from clarion.ledger.claims import ClaimedItem, Settlement
from clarion.models.action import Action
from clarion.sending.verdict import Outcome, Verdict
from clarion.timing import OUTSIDE

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
    answer: a provider that knows the key then still refuses to do the same thing twice. Once a call was never
    answered, only a success or a refusal under the same key is one: "try again later" says nothing of what
    became of the call before.
    """
    verdict = call.verdict
    held = verdict.outcome == "held"
    attempts = item.attempts if held else item.attempts + 1
    left = attempts <= action.retry_policy.num_retries
    resend = verdict.outcome == "unknown" and action.on_unknown == "resend" and left
    again = held or resend or (verdict.outcome == "retry" and left)
    in_doubt = verdict.outcome == "unknown" or (item.in_doubt and not _is_definite(verdict))
    status, reason = _ENDS["unknown" if in_doubt else verdict.outcome]
    due_at = None
    if again and not held:
        due_at = now + timedelta(seconds=action.retry_policy.delay_seconds(attempts))
    return Settlement(
        item=item,
        status="pending" if again else status,
        reason=None if again else reason,
        attempts=attempts,
        epoch=item.epoch + 1 if again and verdict.answered and not in_doubt else item.epoch,
        due_at=due_at,
        status_code=verdict.status_code,
        invocation_id=verdict.invocation_id,
        error_code=verdict.error_code,
        error=verdict.error,
        latency_ms=call.latency_ms,
        outcome=verdict.outcome if again else None,
        idempotency_key=call.idempotency_key,
        in_doubt=in_doubt,
    )


def _is_definite(verdict: Verdict) -> bool:
    """Whether an answer settles the calls before it under the same key."""
    return verdict.answered and verdict.outcome in {"succeeded", "refused"}


_ENDS: dict[Outcome, tuple[str, str | None]] = {
    "succeeded": ("succeeded", None),
    "retry": ("failed", EXHAUSTED),
    "refused": ("failed", REFUSED),
    "unknown": ("unknown", NO_ANSWER),
    "held": ("pending", None),
}
"""Status and reason where no other try follows."""


def unsendable(item: ClaimedItem, error: str) -> Settlement:
    """An item whose request cannot be made: skipped, or failed where something was sent for it before.

    Where what was sent before was never answered it stays unknown.
    """
    return Settlement(
        item=item,
        status=_given_up(item),
        reason=TEMPLATE_ERROR,
        attempts=item.attempts,
        epoch=item.epoch,
        error=error,
        in_doubt=item.in_doubt,
    )


def _given_up(item: ClaimedItem) -> str:
    """The status of an item that is not sent: what was sent for it before decides."""
    untouched = item.attempts == 0 and item.epoch == 0 and item.step == 0
    return "unknown" if item.in_doubt else "skipped" if untouched else "failed"


def outside_windows(item: ClaimedItem, *, opens_at: datetime, skips: bool) -> Settlement:
    """An item whose windows closed while it waited: held until they open, or given up, as the job says."""
    held = released(item)
    if not skips:
        return replace(held, due_at=opens_at)
    return replace(held, status=_given_up(item), reason=OUTSIDE)


def released(item: ClaimedItem) -> Settlement:
    """An item given back unsent: as it was before it was claimed."""
    return Settlement(
        item=item, status="pending", attempts=item.attempts, epoch=item.epoch, in_doubt=item.in_doubt
    )


def fail_over(settlement: Settlement, *, campaign: Campaign) -> Settlement:
    """The settlement of an item that failed for good, with the steps that it can be tried with instead.

    That is every failure, where the segment goes on after such: a refusal, tries that are used up, and of a
    fallback step a request that cannot be made. What is unknown has not failed: nobody is written to twice.
    """
    item = settlement.item
    if settlement.status != "failed" or item.fallback is None:
        return settlement
    if not goes_on(campaign, item.segment, "refused"):
        return settlement
    steps = next_steps(campaign, segment=item.segment, step=item.step, record=item.fallback)
    return replace(settlement, fallback=steps)
