"""What becomes of an item after a call."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.ledger.claims import ClaimedItem, Settlement
from clarion.models.action import Action, BackoffPolicy, Command, RetryPolicy
from clarion.sending.decision import Call, decide, released, unsendable
from clarion.sending.verdict import Outcome, Verdict

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
ITEM = ClaimedItem(
    id=1, row=1, segment="all", action="send", recipient="+44", item="{}", step=0, epoch=0, attempts=0
)


def settle(
    outcome: Outcome, *, attempts: int = 0, epoch: int = 0, num_retries: int = 2,
    answered: bool | None = None, on_unknown: Any = "hold", in_doubt: bool = False,
) -> Settlement:  # fmt: skip
    """What becomes of an item after one more call with this outcome."""
    action = Action(
        command=Command(url="x"),
        on_unknown=on_unknown,
        retry_policy=RetryPolicy(
            num_retries=num_retries,
            backoff_policy=BackoffPolicy(base_interval_seconds=2, max_interval_seconds=5),
        ),
    )
    sure = outcome != "unknown" if answered is None else answered
    verdict = Verdict(
        outcome=outcome, answered=sure, status_code=500, invocation_id="u", error_code="E", error="why"
    )
    call = Call(idempotency_key=f"r-1.0.{epoch}", latency_ms=12.5, verdict=verdict)
    item = ITEM._replace(attempts=attempts, epoch=epoch, in_doubt=in_doubt)
    return decide(item, call, action=action, now=NOW)


@pytest.mark.parametrize(
    ("outcome", "status", "reason", "attempts"),
    [
        ("succeeded", "succeeded", None, 1),
        ("refused", "failed", "refused", 1),
        ("retry", "pending", None, 1),
        ("held", "pending", None, 0),
        ("unknown", "unknown", "no-answer", 1),
    ],
)
def test_outcome_becomes_a_status(outcome: Outcome, status: str, reason: str | None, attempts: int):
    """The table of states, from the first call on."""
    settled = settle(outcome)
    assert (settled.status, settled.reason, settled.attempts) == (status, reason, attempts)


def test_settlement_keeps_what_the_call_came_to():
    """What the answer said is recorded, whatever follows."""
    settled = settle("retry")
    assert settled == Settlement(
        item=ITEM,
        status="pending",
        attempts=1,
        epoch=1,
        due_at=NOW + timedelta(seconds=2),
        status_code=500,
        invocation_id="u",
        error_code="E",
        error="why",
        latency_ms=12.5,
        outcome="retry",
        idempotency_key="r-1.0.0",
    )


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 2), (1, 4), (2, 5), (9, 5)])
def test_retry_waits_longer_each_time(attempts: int, seconds: int):
    """By the action's back-off, up to its maximum."""
    assert settle("retry", attempts=attempts, num_retries=20).due_at == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("num_retries", [0, 1, 5])
def test_retry_ends_when_tries_are_used_up(num_retries: int):
    """`num_retries` tries after the first one, then it is failed for having none left."""
    settled = [settle("retry", attempts=n, num_retries=num_retries) for n in range(num_retries + 1)]
    assert [each.status for each in settled] == ["pending"] * num_retries + ["failed"]
    assert (settled[-1].reason, settled[-1].due_at, settled[-1].attempts) == (
        "retries-exhausted",
        None,
        num_retries + 1,
    )


def test_held_uses_no_try_and_waits_for_its_limit_alone():
    """The limit is held back, so the item itself is due; also an item with no tries left."""
    settled = settle("held", attempts=2, num_retries=2)
    assert (settled.status, settled.attempts, settled.due_at) == ("pending", 2, None)


def test_unknown_is_sent_again_only_where_the_action_says_so():
    """A resend uses a try, carries the same key, and without tries left stays unknown."""
    assert settle("unknown", attempts=0).status == "unknown"
    again = settle("unknown", attempts=0, epoch=3, on_unknown="resend")
    assert (again.status, again.attempts, again.epoch) == ("pending", 1, 3)
    assert again.due_at == NOW + timedelta(seconds=2)
    last = settle("unknown", attempts=2, on_unknown="resend")
    assert (last.status, last.reason, last.attempts) == ("unknown", "no-answer", 3)


@pytest.mark.parametrize(("answered", "epoch"), [(True, 1), (False, 0)])
def test_key_changes_only_after_a_definite_answer(answered: bool, epoch: int):
    """A refused connection is no answer: the same key goes again."""
    assert settle("retry", answered=answered).epoch == epoch


@pytest.mark.parametrize(
    ("outcome", "answered", "status", "in_doubt"),
    [
        ("succeeded", True, "succeeded", False),
        ("refused", True, "failed", False),
        ("refused", False, "unknown", True),
        ("retry", True, "unknown", True),
        ("retry", False, "unknown", True),
        ("unknown", False, "unknown", True),
        ("held", True, "pending", True),
    ],
)
def test_item_in_doubt_is_settled_only_by_a_definite_answer(
    outcome: Outcome, answered: bool, status: str, in_doubt: bool
):
    """Without tries left, "try again later" and no answer leave open what became of the call before."""
    settled = settle(outcome, attempts=2, answered=answered, in_doubt=True)
    assert (settled.status, settled.in_doubt, settled.epoch) == (status, in_doubt, 0)
    if status == "unknown":
        assert settled.reason == "no-answer"


@pytest.mark.parametrize("outcome", ["held", "retry"])
def test_item_in_doubt_keeps_its_key(outcome: Outcome):
    """A 429 or a 500 to the resend is no answer to the call that may have arrived."""
    assert settle(outcome, in_doubt=True, answered=True, epoch=4).epoch == 4
    assert settle(outcome, in_doubt=False, answered=True, epoch=4).epoch == 5


OUTCOMES = st.sampled_from(get_args(Outcome))


@settings(deadline=None)
@given(
    calls=st.lists(st.tuples(OUTCOMES, st.booleans()), max_size=30),
    num_retries=st.integers(0, 4),
    on_unknown=st.sampled_from(["hold", "resend"]),
)
def test_item_never_passes_its_tries(calls: list[tuple[Outcome, bool]], num_retries: int, on_unknown: str):
    """Through any answers: tries are bounded, statuses allowed, and no new key goes while one is in doubt."""
    attempts = epoch = 0
    in_doubt, open_keys = False, set[int]()
    for outcome, sure in calls:
        answered = sure and outcome != "unknown"
        settled = settle(
            outcome, attempts=attempts, epoch=epoch, num_retries=num_retries, answered=answered,
            on_unknown=on_unknown, in_doubt=in_doubt,
        )  # fmt: skip
        if outcome == "unknown":
            open_keys.add(epoch)
        elif answered and outcome in {"succeeded", "refused"}:
            open_keys.discard(epoch)
        assert settled.in_doubt is bool(open_keys)
        assert settled.status in {"pending", "succeeded", "failed", "unknown"}
        assert attempts <= settled.attempts <= num_retries + 1
        assert settled.attempts == attempts + (outcome != "held")
        assert settled.epoch == epoch + (answered and settled.status == "pending" and not open_keys)
        assert not (settled.status in {"failed", "succeeded"} and open_keys)
        assert settled.status != "unknown" or open_keys
        assert (settled.outcome is not None) is (settled.status == "pending")
        assert settled.due_at is None or settled.due_at > NOW
        assert (settled.reason is None) is (settled.status in {"pending", "succeeded"})
        if settled.status != "pending":
            break
        attempts, epoch, in_doubt = settled.attempts, settled.epoch, settled.in_doubt


def test_unsendable_item_is_skipped_where_nothing_was_sent():
    """A request that does not render is no failed call."""
    settled = unsendable(ITEM, "item has no 'name'")
    assert (settled.status, settled.reason, settled.error) == (
        "skipped",
        "template-error",
        "item has no 'name'",
    )
    assert (settled.attempts, settled.epoch, settled.idempotency_key) == (0, 0, "")


@pytest.mark.parametrize("before", [{"attempts": 1}, {"epoch": 1}, {"step": 1}])
def test_unsendable_item_is_failed_where_something_was_sent(before: dict[str, int]):
    """Who may have heard from us is not counted as skipped."""
    settled = unsendable(ITEM._replace(**before), "item has no 'name'")
    assert (settled.status, settled.reason) == ("failed", "template-error")


def test_unsendable_item_in_doubt_is_unknown():
    """That its next request cannot be made says nothing of the one that left."""
    settled = unsendable(ITEM._replace(attempts=1, in_doubt=True), "item has no 'name'")
    assert (settled.status, settled.reason, settled.in_doubt) == ("unknown", "template-error", True)


def test_released_item_is_as_it_was():
    """An item given back unsent has used nothing."""
    item = ITEM._replace(attempts=2, epoch=1, in_doubt=True)
    settled = released(item)
    assert settled.in_doubt
    assert (settled.status, settled.attempts, settled.epoch, settled.outcome) == ("pending", 2, 1, None)
