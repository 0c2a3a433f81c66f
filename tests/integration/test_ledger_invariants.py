"""The counters add up after every transaction, whatever happens in whatever order."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from clarion.ledger.claims import ClaimedItem, expire, open_work
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run
from clarion.ledger.second_tries import retry_items
from clarion.ledger.tables import ATTEMPT, ITEM_COUNTS
from clarion.ledger.workers import reap_workers, register_worker, retire_worker
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    claimed,
    end_lease,
    ids,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
    skipped,
)

ITEMS = 6
WORKERS = 3
LATER, EARLIER = timedelta(hours=1), timedelta(hours=-1)

workers = st.integers(0, WORKERS - 1)
ENDINGS = ("succeeded", "failed", "unknown", "pending", "skipped")


@dataclass
class Expected:
    """What the ledger must say of an item."""

    status: str = "pending"
    token: str | None = None
    attempts: int = 0
    epoch: int = 0
    reason: str | None = None
    later: bool = False
    called: bool = False
    """Whether the item itself has the last call, which no attempt logs yet."""


class LedgerMachine(RuleBasedStateMachine):
    """Workers, a person and the passing of time against a ledger, and against a plain model of it."""

    database: Database

    @initialize(excluded=st.integers(0, 2))
    def plan(self, excluded: int) -> None:
        items = [planned(row) for row in range(1, ITEMS + 1)]
        items += [skipped(ITEMS + 1 + more, "excluded") for more in range(excluded)]
        self.run_id = planned_run(self.database, items)
        every_id = rows_of(self.database, self.run_id, "id")
        self.items = {item_id: Expected() for item_id in every_id[:ITEMS]}
        self.left_out = excluded
        self.tokens = [register_worker(self.database, self.run_id) for _ in range(WORKERS)]
        self.claims: list[tuple[str, ClaimedItem]] = []
        self.logged = 0

    @rule(worker=workers, most=st.integers(1, ITEMS))
    def claim(self, worker: int, most: int) -> None:
        token = self.tokens[worker]
        due = [item_id for item_id, item in self.items.items() if item.status == "pending" and not item.later]
        taken = claimed(self.database, self.run_id, token, most=most)
        assert ids(taken) == due[:most]
        for item in taken:
            expected = self.items[item.id]
            assert (item.attempts, item.epoch) == (expected.attempts, expected.epoch)
            expected.status, expected.token, expected.called = "sending", token, False
            self.claims.append((token, item))

    @rule(data=st.data(), status=st.sampled_from(ENDINGS), wait=st.sampled_from((None, LATER, EARLIER)))
    def settle(self, data: st.DataObject, status: str, wait: timedelta | None) -> None:
        """Any claim ever made may come back, with its own token or with another's."""
        if not self.claims:
            return
        token, item = data.draw(st.sampled_from(self.claims))
        token = data.draw(st.sampled_from((token, token, token, *self.tokens)))
        due_at = datetime.now(UTC) + wait if wait and status == "pending" else None
        outcome = "retry" if status == "pending" else None
        settlement = result(item, status, reason="why", due_at=due_at, outcome=outcome, latency_ms=5.0)
        changes = settled(self.database, self.run_id, token, settlement)
        expected = self.items[item.id]
        truth = expected.status == "unknown" and status in {"succeeded", "failed"}
        if expected.token != token or not (expected.status == "sending" or truth):
            assert not changes
            return
        self.logged += outcome is not None
        expected.status, expected.attempts, expected.epoch = status, item.attempts + 1, item.epoch
        expected.reason, expected.later = "why", due_at is not None and wait == LATER
        expected.token = None if status == "pending" else token
        expected.called = True

    @rule(worker=workers)
    def release(self, worker: int) -> None:
        """A worker gives everything back that it has in sending."""
        token = self.tokens[worker]
        held = {id_ for id_, item in self.items.items() if (item.status, item.token) == ("sending", token)}
        latest = {item.id: item for of, item in self.claims if of == token and item.id in held}
        back = [result(item, "pending", attempts=item.attempts) for item in latest.values()]
        settled(self.database, self.run_id, token, *back)
        for item_id in held:
            expected = self.items[item_id]
            expected.status, expected.token, expected.reason, expected.later = "pending", None, None, False
            expected.called = False

    @rule(worker=workers)
    def lose_worker(self, worker: int) -> None:
        end_lease(self.database, self.tokens[worker])
        assert reap_workers(self.database, self.run_id) == self._lose(worker)

    @rule(worker=workers)
    def retire(self, worker: int) -> None:
        assert retire_worker(self.database, self.run_id, self.tokens[worker]) == self._lose(worker)

    def _lose(self, worker: int) -> int:
        token, self.tokens[worker] = self.tokens[worker], register_worker(self.database, self.run_id)
        held = [item for item in self.items.values() if (item.status, item.token) == ("sending", token)]
        for expected in held:
            expected.status, expected.reason = "unknown", "worker-lost"
        return len(held)

    @rule(reasons=st.sampled_from(((), ("why",), ("stopped", "other"))))
    def retry(self, reasons: tuple[str, ...]) -> None:
        again = [
            item
            for item in self.items.values()
            if item.status == "failed" and (not reasons or item.reason in reasons)
        ]
        assert retry_items(self.database, self.run_id, reasons=reasons) == len(again)
        for expected in again:
            expected.status, expected.token, expected.reason, expected.later = "pending", None, None, False
            expected.attempts, expected.epoch = 0, expected.epoch + 1
            self.logged += expected.called
            expected.called = False

    @rule()
    def expire(self) -> None:
        left = [item for item in self.items.values() if item.status == "pending"]
        assert expire(self.database, self.run_id, reason="stopped") == len(left)
        for expected in left:
            untouched = expected.attempts == 0 and expected.epoch == 0
            expected.status, expected.reason = "skipped" if untouched else "failed", "stopped"
            expected.later = expected.called = False

    @invariant()
    def counts_add_up(self) -> None:
        assert_counts_add_up(self.database, self.run_id)
        counted = Counter(item.status for item in self.items.values())
        counted["skipped"] += self.left_out
        record = get_run(self.database, self.run_id)
        assert record.counts == {
            "total": ITEMS + self.left_out,
            **{name: counted[name] for name in ITEM_COUNTS},
        }

    @invariant()
    def items_are_as_expected(self) -> None:
        columns = ("id", "status", "attempts", "epoch", "reason")
        stored = rows_of(self.database, self.run_id, *columns)[:ITEMS]
        assert stored == [
            (item_id, item.status, item.attempts, item.epoch, item.reason)
            for item_id, item in self.items.items()
        ]

    @invariant()
    def work_left_is_what_is_pending(self) -> None:
        pending = [item for item in self.items.values() if item.status == "pending"]
        with self.database.read() as connection:
            work = open_work(connection, run_id=self.run_id)
            logged = connection.scalar(
                sa.select(sa.func.count()).select_from(ATTEMPT).where(ATTEMPT.c.run_id == self.run_id)
            )
        assert work.pending == len(pending)
        assert (work.due_in_seconds > 0) == (bool(pending) and all(item.later for item in pending))
        assert logged == self.logged


def test_ledger_counts_add_up_after_every_transaction(database: Database):
    """Claims, results, lost workers, retries and stops keep every counter equal to its items."""

    class Machine(LedgerMachine):
        pass

    Machine.database = database
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
