"""Many workers on one ledger: nothing is claimed twice, nobody waits in a circle, the counters add up."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from clarion.errors import RunConflictError
from clarion.ledger.claims import ClaimedItem, expire
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import set_status
from clarion.ledger.second_tries import retry_items
from clarion.ledger.tables import ATTEMPT
from clarion.ledger.workers import reap_workers, register_worker, retire_worker
from clarion.sending import writer as writing
from clarion.sending.writer import LedgerWriter, Limit
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    claimed,
    counts,
    end_lease,
    ids,
    leases,
    new_run,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
    statuses,
    whole,
)
from tests.integration.ledger_writers import settled_by

PROCESSES = 4


@pytest.fixture
def processes(database_url: str) -> Generator[list[Database]]:
    """A ledger as several processes have it: each its own connections."""
    opened = [Database(database_url) for _ in range(PROCESSES)]
    yield opened
    for database in opened:
        database.close()


def at_once(databases: list[Database], work: Callable[[Database, int], Any]) -> list[Any]:
    """What `work` returns in each process; all of them begin together, and an error in one is raised."""
    start = threading.Barrier(len(databases))

    def begin(number: int) -> Any:
        start.wait()
        return work(databases[number], number)

    with ThreadPoolExecutor(len(databases)) as threads:
        return list(threads.map(begin, range(len(databases))))


def test_every_item_is_claimed_by_one_worker(processes: list[Database]):
    """Four workers claim from the same slice: each item goes to exactly one, whose token it carries."""
    run_id = planned_run(processes[0], 200)

    def claim_all(database: Database, number: int) -> list[int]:
        chance, mine = random.Random(number), []
        while taken := claimed(database, run_id, f"t{number}", most=chance.randint(1, 9)):
            mine += ids(taken)
        return mine

    found = at_once(processes, claim_all)
    assert sorted(item for mine in found for item in mine) == rows_of(processes[0], run_id, "id")
    tokens = dict(rows_of(processes[0], run_id, "id", "claim_token"))
    assert all(tokens[item] == f"t{number}" for number, mine in enumerate(found) for item in mine)
    assert counts(processes[0], run_id) == {"total": 200, "sending": 200}


def test_claims_never_take_more_than_asked_for(processes: list[Database]):
    """Also where others lock what it would have taken: an item past its permit would never be sent."""
    run_id = planned_run(processes[0], 150)

    def claim_three(database: Database, number: int) -> int:
        return max(len(claimed(database, run_id, f"t{number}", most=3)) for _ in range(12))

    assert max(at_once(processes, claim_three)) == 3


def test_failed_items_are_retried_once_by_two_people_at_once(processes: list[Database]):
    """Two `clarion retry` at the same time put each item back once, and log its call once."""
    run_id = planned_run(processes[0], 60)
    items = claimed(processes[0], run_id, "t")
    settled(
        processes[0], run_id, "t", *(result(item, "failed", latency_ms=1.0, reason="x") for item in items)
    )
    retried = at_once(processes, lambda database, _: retry_items(database, run_id))
    assert sorted(retried) == [0] * (PROCESSES - 1) + [60]
    assert counts(processes[0], run_id) == {"total": 60, "pending": 60}
    with processes[0].read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(ATTEMPT)) == 60


def test_run_is_stopped_while_others_claim(processes: list[Database]):
    """What was claimed first stays claimed, the rest is skipped, and each item is counted once."""
    run_id = planned_run(processes[0], 120)

    def claim_or_stop(database: Database, number: int) -> int:
        if number == 0:
            return expire(database, run_id, reason="stopped")
        return sum(len(claimed(database, run_id, f"t{number}", most=5)) for _ in range(6))

    stopped, *taken = at_once(processes, claim_or_stop)
    assert statuses(processes[0], run_id) == Counter(skipped=stopped) + Counter(sending=sum(taken))
    assert_counts_add_up(processes[0], run_id)


def test_run_is_planned_by_one_of_many(processes: list[Database]):
    """Several processes begin to plan the same run: one plan comes out, whole and nobody's twice."""
    run = new_run(processes[0])

    def plan(database: Database, number: int) -> bool:
        writer = PlanWriter(database, run.id)
        try:
            writer.begin()
            for row in range(1, 41, 4):
                writer.write([planned(row + more) for more in range(4)])
            writer.finish(limit=None, bad_rows=0)
        except RunConflictError:
            writer.discard("overtaken")
            return False
        return True

    assert at_once(processes, plan).count(True) == 1
    assert rows_of(processes[0], run.id, "row") == list(range(1, 41))
    assert counts(processes[0], run.id) == {"total": 40, "pending": 40}
    assert leases(processes[0], run.id) == set()


class Storm:
    """A process of the storm: it claims, settles, holds and renews in whatever order chance has.

    Args:
        database: Its ledger.
        runs: The runs that it works on.
        number: Of the process: what its chance begins with.
    """

    ACTIONS = ("a", "b", "c")
    SLICES = 6

    def __init__(self, database: Database, runs: list[int], number: int) -> None:
        self._database = database
        self._runs = runs
        self._chance = random.Random(number)
        self._tokens = {run_id: register_worker(database, run_id) for run_id in runs}

    def work(self) -> None:
        """Works until nothing is pending."""
        asyncio.run(self._main())
        for run_id, token in self._tokens.items():
            retire_worker(self._database, run_id, token)

    async def _main(self) -> None:
        writer = LedgerWriter(self._database, asyncio.get_running_loop())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.SLICES):
                    group.create_task(self._slice(writer))
        finally:
            writer.close()

    async def _slice(self, writer: LedgerWriter) -> None:
        open_parts = [(run_id, action) for run_id in self._runs for action in self.ACTIONS]
        while open_parts:
            run_id, action = self._chance.choice(open_parts)
            token = self._tokens[run_id]
            limit = Limit(key=action, tps=self._chance.choice((None, 100_000.0)))
            taken = await writer.claim(
                run_id, whole(action), token=token, most=self._chance.randint(1, 8), limit=limit
            )
            items = self._chance.sample(list(taken.items), len(taken.items))
            async with asyncio.TaskGroup() as group:
                for item in items:
                    group.create_task(self._settle(writer, run_id, item, token))
            if self._chance.random() < 0.3:
                beat = await writer.beat(run_id, token)
                if not beat.leased and self._tokens[run_id] == token:
                    self._tokens[run_id] = await asyncio.to_thread(register_worker, self._database, run_id)
            if not items and not (await writer.open_work(run_id, whole(action))).pending:
                open_parts.remove((run_id, action))

    async def _settle(self, writer: LedgerWriter, run_id: int, item: ClaimedItem, token: str) -> None:
        again = item.attempts < 2 and self._chance.random() < 0.3
        status = "pending" if again else self._chance.choice(("succeeded", "failed", "unknown"))
        held = (self._chance.choice(self.ACTIONS), 0.0) if again else None
        settlement = result(item, status, outcome="retry" if again else None)
        await settled_by(writer, run_id, settlement, token=token, held=held)


def test_workers_on_two_runs_never_wait_in_a_circle(
    processes: list[Database], monkeypatch: pytest.MonkeyPatch
):
    """Claims, results, holds, renewals, lost leases in any order: no deadlock, no lock error, no wrong sum.

    One try a commit: an error of the database would reach the worker instead of being mended.
    """
    monkeypatch.setattr(writing, "COMMIT_TRIES", 1)
    runs = [
        planned_run(processes[0], [planned(row, action="abc"[row % 3]) for row in range(1, 121)])
        for _ in range(2)
    ]
    storms = [Storm(database, runs, number) for number, database in enumerate(processes[1:])]
    ended = threading.Event()

    def disturb(database: Database) -> None:
        """Ends leases of workers that go on, reaps, and looks whether the counters add up at every moment."""
        chance = random.Random(99)
        while not ended.is_set():
            run_id = chance.choice(runs)
            living = sorted(leases(database, run_id))
            if living and chance.random() < 0.3:
                end_lease(database, chance.choice(living))
            reap_workers(database, run_id)
            assert_counts_add_up(database, run_id)

    with ThreadPoolExecutor(PROCESSES) as threads:
        disturbing = threads.submit(disturb, processes[0])
        try:
            list(threads.map(Storm.work, storms))
        finally:
            ended.set()
        disturbing.result()
    for run_id in runs:
        reap_workers(processes[0], run_id)
        assert_counts_add_up(processes[0], run_id)
        assert set(statuses(processes[0], run_id)) <= {"succeeded", "failed", "unknown"}
        assert max(rows_of(processes[0], run_id, "attempts")) <= 3


def test_lost_worker_comes_back_while_it_is_reaped(processes: list[Database]):
    """Its results and its reaping in one moment: each item ends as unknown or as the truth, none is stuck."""
    run_id = planned_run(processes[0], 60)
    tokens = [register_worker(processes[0], run_id) for _ in range(2)]
    taken = {token: claimed(processes[0], run_id, token, most=30) for token in tokens}
    for token in tokens:
        end_lease(processes[0], token)

    def reap_or_settle(database: Database, number: int) -> int:
        if number >= 2:
            return reap_workers(database, run_id)
        backwards = [result(item, "succeeded") for item in reversed(taken[tokens[number]])]
        changes = settled(database, run_id, tokens[number], *backwards)
        return changes["succeeded"]

    first, second, *_ = at_once(processes, reap_or_settle)
    assert (first, second) == (30, 30)
    assert counts(processes[0], run_id) == {"total": 60, "succeeded": 60}
    set_status(processes[0], run_id, "completed")
    assert reap_workers(processes[0], run_id) == 0
