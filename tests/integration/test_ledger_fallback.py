"""Falling back: an item that failed goes on with its next step, and nobody gets the same thing twice."""

from collections import defaultdict
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.fallback import NextStep
from clarion.ledger.claims import Settlement
from clarion.ledger.database import Database
from clarion.ledger.second_tries import retry_items
from clarion.sending.decision import fail_over
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
    claimed,
    counts,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
    whole,
)
from tests.unit.campaigns import make_campaign, plan

RECORD = '[["a@b.c",null,null],["+45",null,"[\\"x\\"]"]]'


def steps(*recipients: str, first: int = 1) -> tuple[NextStep, ...]:
    """Steps that reach these recipients."""
    return tuple(
        NextStep(step=number, action="mail", recipient=recipient, dedupe_key=recipient)
        for number, recipient in enumerate(recipients, first)
    )


def refused(item: Any, *recipients: str) -> Settlement:
    """A refusal after which the item may be tried with these."""
    return result(
        item, "failed", reason="refused", fallback=steps(*recipients), idempotency_key=f"k-{item.id}",
        status_code=422, error_code="422", error="no", latency_ms=5.0,
    )  # fmt: skip


def test_failed_item_goes_on_with_its_next_step(database: Database):
    """With that step's action and recipient and all tries before it; the refused call stays in the log."""
    run_id = planned_run(database, [planned(1, fallback=RECORD)])
    (item,) = claimed(database, run_id, "t")
    assert item.fallback == RECORD
    changes = settled(database, run_id, "t", refused(item, "a@b.c"))
    assert {status: count for status, count in changes.items() if count} == {"pending": 1, "sending": -1}
    assert rows_of(
        database, run_id, "status", "reason", "step", "action", "recipient", "attempts", "epoch"
    ) == [("pending", None, 1, "mail", "a@b.c", 0, 0)]
    (attempt,) = attempts_of(database, run_id)
    wanted = {
        "step": 0,
        "action": "send",
        "recipient": "r1",
        "outcome": "refused",
        "idempotency_key": f"k-{item.id}",
    }
    assert wanted.items() <= attempt.items()
    (again,) = claimed(database, run_id, "t", part=whole("mail"))
    assert (again.step, again.epoch, again.attempts, again.recipient) == (1, 0, 0, "a@b.c")
    assert_counts_add_up(database, run_id)


def test_last_refusal_is_the_item_s_result(database: Database):
    """After the last step it is failed, as an item without fallback is; `retry` tries that step again."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", refused(item, "a@b.c"))
    (again,) = claimed(database, run_id, "t", part=whole("mail"))
    settled(database, run_id, "t", refused(again))
    columns = ("status", "reason", "step", "recipient", "error_code")
    assert rows_of(database, run_id, *columns) == [("failed", "refused", 1, "a@b.c", "422")]
    assert [attempt["step"] for attempt in attempts_of(database, run_id)] == [0]
    assert retry_items(database, run_id) == 1
    (retried,) = claimed(database, run_id, "t", part=whole("mail"))
    assert (retried.step, retried.epoch) == (1, 1)


def test_step_to_somebody_else_s_recipient_is_passed_over(database: Database):
    """Whether they are planned for, or another item has fallen back to them; the reason is kept."""
    run_id = planned_run(database, [planned(row, fallback=RECORD) for row in (1, 2, 3)])
    first, second, third = claimed(database, run_id, "t")
    settled(
        database, run_id, "t", refused(first, "r2", "+45"), refused(second, "a@b.c"), refused(third, "a@b.c")
    )
    assert rows_of(database, run_id, "status", "step", "recipient", "fallback") == [
        ("pending", 2, "+45", '[["a@b.c","duplicate",null],["+45",null,"[\\"x\\"]"]]'),
        ("pending", 1, "a@b.c", RECORD),
        ("failed", 0, "r3", '[["a@b.c","duplicate",null],["+45",null,"[\\"x\\"]"]]'),
    ]
    assert counts(database, run_id) == {"total": 3, "pending": 2, "failed": 1}
    assert_counts_add_up(database, run_id)


def test_step_to_the_item_s_own_recipient_is_no_duplicate(database: Database):
    """A call to the phone that refused the text; and the same once more at a later step."""
    run_id = planned_run(database, 2)
    first, _ = claimed(database, run_id, "t")
    settled(database, run_id, "t", refused(first, "r1"))
    (again,) = claimed(database, run_id, "t", part=whole("mail"))
    settled(database, run_id, "t", refused(again, "new"))
    (again,) = claimed(database, run_id, "t", part=whole("mail"))
    settled(database, run_id, "t", refused(again, "new"))
    assert rows_of(database, run_id, "status", "recipient")[0] == ("pending", "new")


def test_other_runs_do_not_stand_in_the_way(database: Database):
    """What is not to happen twice is the same thing in one run."""
    for _ in range(2):
        run_id = planned_run(database, 1)
        (item,) = claimed(database, run_id, "t")
        settled(database, run_id, "t", refused(item, "a@b.c"))
        assert rows_of(database, run_id, "recipient") == ["a@b.c"]


def test_refusal_that_comes_late_is_recorded_and_no_more(database: Database):
    """The item was unknown by then, and its run may have ended: nobody is written to behind its back."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "unknown"))
    settled(database, run_id, "t", refused(item, "a@b.c"))
    assert rows_of(database, run_id, "status", "recipient") == [("failed", "r1")]


def test_limit_keys_change_with_the_action(database: Database):
    """The item is paced as its new action is."""
    run_id = planned_run(database, [planned(1, limit_keys='["sms"]', fallback=RECORD)])
    (item,) = claimed(database, run_id, "t")
    step = NextStep(step=2, action="call", recipient="+45", dedupe_key="+45", limit_keys='["x"]')
    settled(database, run_id, "t", result(item, "failed", reason="refused", fallback=(step,)))
    assert rows_of(database, run_id, "action", "limit_keys") == [("call", '["x"]')]


PHONES, MAILS = ["p1", "p2", "p3"], ["m1", "m2", "p1", None]
CAMPAIGN = {
    "actions": {name: {"command": {"url": f"https://{name}.test"}} for name in ("text", "mail", "call")},
    "segments": [
        {
            "name": "all",
            "action": "text",
            "fallback": [
                {"action": "mail", "recipient": "{{ item.mail | default(none) }}"},
                {"action": "call"},
            ],
        }
    ],
}
ENDS = {"succeeded": None, "failed": "refused", "unknown": "no-answer"}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.lists(st.tuples(st.sampled_from(PHONES), st.sampled_from(MAILS)), min_size=1, max_size=6),
    data=st.data(),
)
def test_nobody_is_reached_by_two_items(
    database: Database, people: list[tuple[str, str | None]], data: st.DataObject
):
    """Whatever the answers: each recipient is one item's, unknown is the end, and everything is settled."""
    items = [{"phone": phone, "mail": mail} for phone, mail in people]
    campaign = make_campaign(recipients={"include": [{"items": items}]}, **CAMPAIGN)
    run_id = planned_run(database, plan(campaign))
    reached: dict[str, set[int]] = defaultdict(set)
    ended: set[int] = set()
    while counts(database, run_id).get("pending"):
        for action in sorted(campaign.actions):
            results = []
            for item in claimed(database, run_id, "t", part=whole(action)):
                assert item.id not in ended
                assert item.action == campaign.segment("all").at_step(item.step).action
                reached[item.recipient].add(item.id)
                status = data.draw(st.sampled_from(sorted(ENDS)))
                if status != "failed":
                    ended.add(item.id)
                results.append(fail_over(result(item, status, reason=ENDS[status]), campaign=campaign))
            settled(database, run_id, "t", *results)
    assert all(len(by) == 1 for by in reached.values())
    assert_counts_add_up(database, run_id)
    for status, record in rows_of(database, run_id, "status", "fallback"):
        if status == "failed":
            reasons = [reason for _, reason, _ in orjson.loads(record)]
            assert all(reason in {None, "duplicate", "invalid-recipient"} for reason in reasons)
