"""Whoever says STOP at any moment of a run gets nothing from then on, whatever happens in whatever order."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from clarion.addresses import address_of
from clarion.fallback import NextStep
from clarion.ledger.answer_tables import SUPPRESSION
from clarion.ledger.claims import ClaimedItem, claim
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import count_changes
from clarion.ledger.second_tries import resolve_unknown, retry_items
from clarion.ledger.suppressed_claims import without_suppressed
from clarion.ledger.suppressed_items import Changes, count_moves
from clarion.ledger.suppressions import suppress, unsuppress
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    new_run,
    planned,
    result,
    rows_of,
    settled,
    whole,
)

PEOPLE = tuple(f"+4477009000{number:02}" for number in range(4))
SPELLINGS = (str, lambda each: each.removeprefix("+"), lambda each: f"00 {each[1:3]}-{each[3:]}")
STEPS = ("+447700900100", "c@example.com")
RECORD = "[" + ",".join(f'["{each}",null,null]' for each in STEPS) + "]"
LATER = timedelta(hours=1)

people = st.sampled_from(PEOPLE + STEPS)


class Machine(RuleBasedStateMachine):
    """A run, planned in two chunks, with retries and fallbacks, and people who say STOP in between."""

    database: Database

    @initialize(
        spelled=st.lists(st.sampled_from(SPELLINGS), min_size=4, max_size=4),
        ahead=st.sampled_from([2, 2, 1, 0]),
    )
    def begin(self, spelled: Sequence[object], ahead: int) -> None:
        """Most examples begin with a whole plan: what comes then is what they are about."""
        with self.database.write() as connection:  # of the example before
            connection.execute(SUPPRESSION.delete())
        self.run = new_run(self.database)
        self.writer = PlanWriter(self.database, self.run.id)
        self.writer.begin()
        self.chunks = [
            [
                planned(row, recipient=spelled[row](PEOPLE[row]), fallback=RECORD, action="send")  # type: ignore[operator]
                for row in rows
            ]
            for rows in ((0, 1), (2, 3))
        ]
        self.stopped: set[str] = set()
        self.held: list[ClaimedItem] = []
        for _ in range(ahead):
            self.plan_on()

    @rule()
    def plan_on(self) -> None:
        if self.chunks:
            self.writer.write(self.chunks.pop(0))
            if not self.chunks:
                self.writer.finish(limit=None, bad_rows=0)

    @rule(who=people)
    def stop(self, who: str) -> None:
        with self.database.write() as connection:
            suppress(connection, who, reason="STOP", who="themselves")
        self.stopped.add(who)

    @rule(who=people)
    def start(self, who: str) -> None:
        with self.database.write() as connection:
            assert unsuppress(connection, who, reason="START", who="themselves") == (who in self.stopped)
        self.stopped.discard(who)

    @rule(most=st.integers(1, 4), action=st.sampled_from(["send", "mail"]))
    def claim(self, most: int, action: str) -> None:
        changes: Changes = Changes()
        with self.database.write() as connection:
            items = claim(connection, run_id=self.run.id, part=whole(action), token="t", most=most)
            kept = without_suppressed(connection, self.run.id, items, changes)
            count_moves(connection, changes)
            count_changes(connection, self.run.id, {"pending": -len(kept), "sending": len(kept)})
        stopped = {address_of(each) for each in self.stopped}
        assert not {address_of(item.recipient) for item in kept} & stopped
        assert {address_of(item.recipient) for item in items if item not in kept} <= stopped
        self.held += kept

    @rule(data=st.data(), status=st.sampled_from(["fallback", "pending", "succeeded", "failed", "unknown"]))
    def settle(self, data: st.DataObject, status: str) -> None:
        if not self.held:
            return
        item = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if status != "fallback":
            outcome = "retry" if status == "pending" else None
            due_at = datetime.now(UTC) - LATER if data.draw(st.booleans()) and outcome else None
            settlement = result(item, status, reason="why", outcome=outcome, due_at=due_at)
        else:
            next_steps = tuple(
                NextStep(step=number, action="mail", recipient=each, dedupe_key=each)
                for number, each in enumerate(STEPS, 1)
                if number > item.step
            )
            settlement = result(item, "failed", reason="refused", fallback=next_steps, idempotency_key="k")
        settled(self.database, self.run.id, "t", settlement)
        now = {row[0]: row[1:] for row in rows_of(self.database, self.run.id, "id", "status", "recipient")}
        if status == "fallback" and now[item.id][0] == "pending":
            assert now[item.id][1] not in self.stopped

    @rule(resend=st.booleans())
    def ask_again(self, resend: bool) -> None:
        if resend:
            resolve_unknown(self.database, self.run.id, "resend")
        else:
            retry_items(self.database, self.run.id)

    @invariant()
    def counts_add_up(self) -> None:
        if hasattr(self, "run"):
            assert_counts_add_up(self.database, self.run.id)

    @invariant()
    def nothing_untouched_waits_for_whom_plans_find(self) -> None:
        """An open plan holds nothing for them at once, where plans spell them as phone numbers."""
        if hasattr(self, "run") and not self.chunks:
            waiting = rows_of(self.database, self.run.id, "recipient", "status", "attempts", "epoch", "step")
            for recipient, status, *touched in waiting:
                if status == "pending" and not any(touched) and not recipient.startswith("00 "):
                    assert address_of(recipient) not in {address_of(each) for each in self.stopped}


def test_nobody_who_said_stop_is_claimed(database: Database):
    """At any moment of planning, sending, retrying and falling back; the counters add up all the while."""
    many = settings(
        max_examples=30, stateful_step_count=25, deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip
    case = type("Case", (Machine,), {"database": database})
    run_state_machine_as_test(case, settings=many)
