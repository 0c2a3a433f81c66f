"""Receipts: what statuses mean, and what counts of several, in whatever order they come."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.compiling import compile_action
from clarion.errors import InputError
from clarion.jobfile import parse_model
from clarion.models.action import Action
from clarion.receipts import WELL_KNOWN, Delivery, Reading, Standing, last_word, read_receipt, told

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
READING = Reading(
    success=("delivered", "read"), failure=frozenset({"rejected"}), info=frozenset({"submitted"})
)
TIMES = st.none() | st.integers(0, 3).map(lambda seconds: NOON + timedelta(seconds=seconds))


def said(status: str, occurred_at: datetime | None = None, code: str | None = None) -> Delivery:
    """What a receipt with this status says."""
    return Delivery(kind=READING.kind(status), status=status, occurred_at=occurred_at, code=code)


SAID = st.builds(
    said,
    st.sampled_from(["submitted", "delivered", "read", "rejected", "strange"]),
    TIMES,
    st.sampled_from([None, "1", "2"]),
)


def refusal(**response: object) -> str:
    """Why an action with this `response` does not compile."""
    with pytest.raises(InputError) as caught:
        compile_action(action(**response), name="send", where="a")
    return str(caught.value)


def action(**response: object) -> Action:
    """An action with this `response`."""
    return Action.model_validate({"command": {"url": "http://127.0.0.1"}, "response": response})


@pytest.mark.parametrize(
    ("lists", "status", "kind"),
    [
        ({"success_statuses": ["delivered"]}, "DELIVERED ", "succeeded"),
        ({"success_statuses": ["delivered"]}, "submitted", "failed"),
        ({"success_statuses": ["delivered"], "info_statuses": ["submitted"]}, "submitted", "info"),
        ({"success_statuses": ["delivered"], "info_statuses": ["submitted"]}, "lost", "failed"),
        ({"success_statuses": ["delivered"], "failure_statuses": ["rejected"]}, "rejected", "failed"),
        ({"success_statuses": ["delivered"], "failure_statuses": ["rejected"]}, "submitted", "info"),
        ({"success_statuses": ["delivered"]}, "", "info"),
        ({"success_statuses": ["delivered"]}, None, "info"),
    ],
)
def test_status_means_what_the_lists_say(lists: dict[str, list[str]], status: str | None, kind: str):
    """Where only successes are told from the rest, everything else is a failure; silence says nothing."""
    receipt = compile_action(action(status=lists), name="send", where="a").receipt
    assert receipt.reading.kind(status) == kind


def test_no_well_known_word_means_two_things():
    """A status is a success, a failure or neither."""
    assert not WELL_KNOWN.failure & WELL_KNOWN.info
    assert not set(WELL_KNOWN.success) & (WELL_KNOWN.failure | WELL_KNOWN.info)


def test_status_stands_in_one_list():
    """Whatever its case."""
    response = {"status": {"success_statuses": ["Delivered"], "info_statuses": [" delivered"]}}
    with pytest.raises(InputError, match="'delivered' stands in success_statuses and in info_statuses"):
        parse_model(Action, {"command": {"url": "http://a"}, "response": response}, source="action.yaml")


def test_templates_of_receipts_see_the_event_alone():
    """An error's template is for receipts where it asks for the event, else for the answer of the call."""
    both = compile_action(
        action(error={"code": "{{ event.error.title }}", "reason": "{{ response.body.detail }}"}),
        name="send",
        where="a",
    )
    assert (both.error_code, both.receipt.error_reason) == (None, None)
    assert both.error_reason is not None
    data = {"status": "rejected", "error": {"title": 1050}}
    found = read_receipt(both.receipt, data, status="rejected", code="x", reason="why", occurred_at=NOON)
    assert found == Delivery(kind="failed", status="rejected", occurred_at=NOON, code="1050", reason="why")
    told_why = refusal(status={"value": "{{ item.x }}", "success_statuses": ["a"]})
    assert "'item' is not known here" in told_why
    assert "'response' is not known here" in refusal(error={"code": "{{ event.x ~ response.body }}"})


def test_receipt_without_what_a_template_asks_for_counts_as_its_provider_reads_it():
    """That it came is what matters; NUL, which PostgreSQL has not, is replaced."""
    receipt = compile_action(
        action(
            status={"value": "{{ event.a.b }}", "success_statuses": ["ok"]}, error={"code": "{{ event.c }}"}
        ),
        name="send",
        where="a",
    ).receipt
    found = read_receipt(receipt, {}, status="o\0k", code="7", reason=None, occurred_at=None)
    assert found == Delivery(kind="failed", status="o\N{REPLACEMENT CHARACTER}k", code="7")
    assert (
        read_receipt(receipt, None, status="OK", code=None, reason=None, occurred_at=None).kind == "succeeded"
    )


@given(
    st.lists(st.tuples(SAID, st.booleans()), min_size=1, max_size=4),
    st.sampled_from(["succeeded", "unknown", "pending", "failed"]),
)
def test_order_of_arrival_does_not_matter(receipts: list[tuple[Delivery, bool]], status: str):
    """Of all permutations of some receipts an item comes to stand at the same place."""
    reason = {"unknown": "no-answer", "failed": "refused"}.get(status)
    begun = Standing(status=status, reason=reason, in_doubt=status in {"unknown", "pending"})
    ends = set()
    for order in permutations(receipts):
        standing = begun
        for each, names_call in order:
            standing = told(standing, each, READING, names_call=names_call)
        ends.add(standing)
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("status", "in_doubt", "names_call", "expected"),
    [
        ("unknown", False, True, "succeeded"),
        ("pending", True, True, "succeeded"),
        ("unknown", False, False, "unknown"),
        ("pending", True, False, "pending"),
        ("pending", False, True, "pending"),
        ("failed", False, True, "failed"),
    ],
)
def test_provider_that_names_the_call_has_the_message(
    status: str, in_doubt: bool, names_call: bool, expected: str
):
    """Even where it says no more yet; a guess by the recipient is not enough. What fails later has failed."""
    standing = told(
        Standing(status=status, in_doubt=in_doubt), said("submitted"), READING, names_call=names_call
    )
    assert (standing.status, standing.delivery) == (expected, said("submitted"))
    if expected == "succeeded":
        assert (standing.reason, standing.in_doubt) == ("receipt", False)
        after = told(standing, said("rejected"), READING, names_call=False)
        assert (after.status, after.reason) == ("failed", "undelivered")


@given(st.lists(SAID, min_size=1, max_size=6), SAID)
def test_delivery_never_goes_backwards(receipts: list[Delivery], more: Delivery):
    """What is final stays so; only a later final word replaces it."""
    before, after = last_word(receipts, READING), last_word([*receipts, more], READING)
    assert before is not None
    assert after is not None
    if before.kind != "info":
        assert after.kind != "info"
        assert (after.occurred_at or datetime.min.replace(tzinfo=UTC)) >= (
            before.occurred_at or datetime.min.replace(tzinfo=UTC)
        )


@pytest.mark.parametrize(
    ("first", "second", "last"),
    [
        (said("delivered", NOON), said("submitted", NOON + timedelta(hours=1)), "delivered"),
        (said("read", NOON), said("delivered", NOON), "read"),
        (said("rejected", NOON), said("delivered", NOON), "delivered"),
        (said("delivered", NOON), said("rejected", NOON + timedelta(seconds=1)), "rejected"),
        (said("rejected", NOON), said("delivered"), "rejected"),
        (said("submitted"), said("rejected"), "rejected"),
    ],
)
def test_last_word_by_the_providers_clock_counts(first: Delivery, second: Delivery, last: str):
    """Final before not; then time; at the same time success before failure, the further success first."""
    for order in ([first, second], [second, first]):
        found = last_word(order, READING)
        assert found is not None
        assert found.status == last
