"""The ledger's writer: group commits, results for whoever waits, and a database that is away."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from clarion.errors import LedgerError
from clarion.ledger.database import Database
from clarion.ledger.workers import register_worker
from clarion.sending import writer as writing
from clarion.sending.writer import COMMIT_TRIES, LedgerWriter, Limit
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    claimed,
    counts,
    planned_run,
    result,
    rows_of,
    statuses,
    whole,
)
from tests.integration.ledger_writers import gate, settle_each, settled_by, with_writer

FREE = Limit(key="free", tps=None)
SLOW = Limit(key="slow", tps=1.1)


def test_writer_claims_and_settles(database: Database):
    """What it did is committed, counted, and told to whoever waits."""
    run_id = planned_run(database, 3)

    async def use(writer: LedgerWriter) -> None:
        taken = await writer.claim(run_id, whole(), token="t", most=2, limit=FREE)
        assert [item.row for item in sorted(taken.items, key=lambda item: item.id)] == [1, 2]
        assert (len(taken.permits), taken.wait_seconds) == (2, 0.0)
        assert all(permit.leave_at <= time.monotonic() < permit.lapses_at for permit in taken.permits)
        assert counts(database, run_id) == {"total": 3, "pending": 1, "sending": 2}
        await asyncio.gather(*settle_each(writer, run_id, taken.items))
        assert counts(database, run_id) == {"total": 3, "pending": 1, "succeeded": 2}
        assert (await writer.open_work(run_id, whole())).pending == 1

    with_writer(database, use)


def test_writer_commits_what_has_gathered_in_one_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """A hundred results that come while a commit is on its way share the next one."""
    run_id = planned_run(database, 101)
    items = claimed(database, run_id, "t")
    door = gate(monkeypatch, database)

    async def use(writer: LedgerWriter) -> None:
        door.open.clear()
        first = asyncio.ensure_future(settle_each(writer, run_id, items[:1])[0])
        await asyncio.to_thread(door.entered.wait, 30)
        others = [asyncio.ensure_future(each) for each in settle_each(writer, run_id, items[1:])]
        await asyncio.sleep(0)  # lets each of them put itself into the queue
        door.open.set()
        await asyncio.gather(first, *others)

    with_writer(database, use)
    assert door.commits == 2
    assert counts(database, run_id) == {"total": 101, "succeeded": 101}


def test_writer_bounds_a_transaction(database: Database, monkeypatch: pytest.MonkeyPatch):
    """However much has gathered, a commit has at most so many operations, and none is lost."""
    monkeypatch.setattr(writing, "MOST_AT_ONCE", 10)
    run_id = planned_run(database, 45)
    items = claimed(database, run_id, "t")
    door = gate(monkeypatch, database)
    with_writer(database, lambda writer: asyncio.gather(*settle_each(writer, run_id, items)))
    assert door.commits >= 5
    assert statuses(database, run_id) == {"succeeded": 45}


def test_writer_tries_again_where_the_database_is_away(database: Database, monkeypatch: pytest.MonkeyPatch):
    """An answer is not lost because the database was away for a moment."""
    run_id = planned_run(database, 5)
    items = claimed(database, run_id, "t")
    door = gate(monkeypatch, database, failures=COMMIT_TRIES - 1)
    with_writer(database, lambda writer: asyncio.gather(*settle_each(writer, run_id, items)))
    assert door.failures == 0
    assert counts(database, run_id) == {"total": 5, "succeeded": 5}
    assert_counts_add_up(database, run_id)


def test_writer_tells_everyone_where_the_database_stays_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """After its tries whoever waits gets the error, and the items stay as they were."""
    run_id = planned_run(database, 5)
    items = claimed(database, run_id, "t")
    gate(monkeypatch, database, failures=10_000)

    async def use(writer: LedgerWriter) -> list[Any]:
        return await asyncio.gather(*settle_each(writer, run_id, items), return_exceptions=True)

    told = with_writer(database, use)
    assert [str(error) for error in told] == ["cannot write to the database: the server is away"] * 5
    assert all(isinstance(error, LedgerError) for error in told)
    monkeypatch.undo()
    assert statuses(database, run_id) == {"sending": 5}


def test_writer_goes_on_after_the_database_was_away(database: Database, monkeypatch: pytest.MonkeyPatch):
    """A writer that gave up on one commit is there for the next."""
    run_id = planned_run(database, 2)
    items = claimed(database, run_id, "t")
    gate(monkeypatch, database, failures=COMMIT_TRIES)

    async def use(writer: LedgerWriter) -> None:
        first, second = settle_each(writer, run_id, items)
        with pytest.raises(LedgerError):
            await first
        await second

    with_writer(database, use)
    assert statuses(database, run_id) == {"sending": 1, "succeeded": 1}
    assert_counts_add_up(database, run_id)


def test_commit_that_took_effect_unseen_is_counted_once(database: Database, monkeypatch: pytest.MonkeyPatch):
    """The connection breaks after the commit: the same results again change nothing."""
    run_id = planned_run(database, 6)
    items = claimed(database, run_id, "t", most=4)
    gate(monkeypatch, database, failures=2, after_commit=True)
    endings = ["succeeded", "failed", "unknown", "pending"]

    async def use(writer: LedgerWriter) -> None:
        await asyncio.gather(
            *(
                settled_by(writer, run_id, result(item, status, outcome="retry"), token="t")
                for item, status in zip(items, endings, strict=True)
            )
        )

    with_writer(database, use)
    assert rows_of(database, run_id, "status") == [*endings, "pending", "pending"]
    assert counts(database, run_id) == {"total": 6, "succeeded": 1, "failed": 1, "unknown": 1, "pending": 3}


@pytest.mark.parametrize("place", [0, 7, 20])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"error": "\ud800"}, TypeError | UnicodeEncodeError), ({"attempts": None}, IntegrityError)],
)
def test_result_that_cannot_be_written_fails_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], error: Any, place: int
):
    """What no database takes costs nobody else their result, and is not tried again and again."""
    run_id = planned_run(database, 21)
    items = claimed(database, run_id, "t")
    monkeypatch.setattr(writing, "time", None)  # there is nothing to wait for

    async def use(writer: LedgerWriter) -> list[Any]:
        settlements = [
            settled_by(writer, run_id, result(item, "succeeded", **(wrong if n == place else {})), token="t")
            for n, item in enumerate(items)
        ]
        return await asyncio.gather(*settlements, return_exceptions=True)

    told = with_writer(database, use)
    assert isinstance(told.pop(place), error)
    assert told == [None] * 20
    assert statuses(database, run_id) == {"sending": 1, "succeeded": 20}
    assert_counts_add_up(database, run_id)


def test_error_in_an_operation_reaches_who_asked(database: Database, monkeypatch: pytest.MonkeyPatch):
    """A mistake of ours is not swallowed, and leaves nothing half done."""
    run_id = planned_run(database, 2)

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(writing, "claim", broken)

    async def use(writer: LedgerWriter) -> None:
        with pytest.raises(ZeroDivisionError):
            await writer.claim(run_id, whole(), token="t", most=2, limit=SLOW)
        assert (await writer.open_work(run_id, whole())).pending == 2

    with_writer(database, use)
    with database.read() as connection:  # the permits went back with the transaction
        assert connection.execute(sa.text("SELECT count(*) FROM rate_limit")).scalar_one() == 0


def test_close_commits_what_is_queued(database: Database):
    """Results that nobody waits for any more are in the ledger all the same."""
    run_id = planned_run(database, 30)
    items = claimed(database, run_id, "t")

    async def main() -> None:
        writer = LedgerWriter(database, asyncio.get_running_loop())
        waiting = [asyncio.ensure_future(each) for each in settle_each(writer, run_id, items)]
        await asyncio.sleep(0)  # lets each of them put itself into the queue
        for each in waiting[::2]:
            each.cancel()
        writer.close()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())
    assert counts(database, run_id) == {"total": 30, "succeeded": 30}


def test_lease_is_renewed_before_results_are_written(database: Database, monkeypatch: pytest.MonkeyPatch):
    """In one transaction the lease is locked first, as everywhere, so that nobody waits in a circle."""
    run_id = planned_run(database, 1)
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    door = gate(monkeypatch, database)
    done: list[str] = []
    for name in ("renew_lease", "settle", "hold", "claim", "count_changes"):
        real = getattr(writing, name)
        monkeypatch.setattr(
            writing,
            name,
            lambda *args, real=real, name=name, **options: (done.append(name), real(*args, **options))[1],
        )

    async def use(writer: LedgerWriter) -> None:
        door.open.clear()
        first = asyncio.ensure_future(writer.open_work(run_id, whole()))
        await asyncio.to_thread(door.entered.wait, 30)
        rest = [
            asyncio.ensure_future(each)
            for each in (
                writer.claim(run_id, whole(), token=token, most=1, limit=Limit(key="b", tps=None)),
                settled_by(writer, run_id, result(item, "succeeded"), token=token, held=("c", 1.0)),
                writer.claim(run_id, whole(), token=token, most=1, limit=Limit(key="a", tps=None)),
                writer.beat(run_id, token),
            )
        ]
        await asyncio.sleep(0)
        door.open.set()
        await asyncio.gather(first, *rest)

    with_writer(database, use)
    assert done == ["renew_lease", "settle", "claim", "claim", "hold", "count_changes"]


def test_writer_locks_the_items_of_several_leases_in_one_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """A process that lost its lease and took a new one settles for both in one commit, in no circle."""
    run_id = planned_run(database, 4)
    items = {token: claimed(database, run_id, token, most=2) for token in ("old", "new")}
    door = gate(monkeypatch, database)
    locked: list[set[int]] = []
    real = writing.lock_items
    monkeypatch.setattr(
        writing, "lock_items", lambda connection, ids: (locked.append(set(ids)), real(connection, ids))
    )

    async def use(writer: LedgerWriter) -> None:
        door.open.clear()
        first = asyncio.ensure_future(writer.open_work(run_id, whole()))
        await asyncio.to_thread(door.entered.wait, 30)
        rest = [
            asyncio.ensure_future(settled_by(writer, run_id, result(item, "succeeded"), token=token))
            for token, taken in items.items()
            for item in taken
        ]
        await asyncio.sleep(0)
        door.open.set()
        await asyncio.gather(first, *rest)

    with_writer(database, use)
    assert locked == [{item.id for taken in items.values() for item in taken}]
    assert statuses(database, run_id) == {"succeeded": 4}


def test_writer_writes_for_several_runs_at_once(database: Database):
    """Each run's counters change by its own items."""
    runs = [planned_run(database, 3) for _ in range(3)]

    async def use(writer: LedgerWriter) -> None:
        taken = await asyncio.gather(
            *(writer.claim(run_id, whole(), token="t", most=2, limit=FREE) for run_id in runs)
        )
        await asyncio.gather(
            *(
                each
                for run_id, claim in zip(runs, taken, strict=True)
                for each in settle_each(writer, run_id, claim.items)
            )
        )

    with_writer(database, use)
    for run_id in runs:
        assert counts(database, run_id) == {"total": 3, "pending": 1, "succeeded": 2}
        assert_counts_add_up(database, run_id)


def test_open_work_sees_the_results_of_its_own_commit(database: Database, monkeypatch: pytest.MonkeyPatch):
    """A slice that asks what is left after its last result is told the truth."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    door = gate(monkeypatch, database)

    async def use(writer: LedgerWriter) -> int:
        door.open.clear()
        first = asyncio.ensure_future(writer.open_work(run_id, whole()))
        await asyncio.to_thread(door.entered.wait, 30)
        work = asyncio.ensure_future(writer.open_work(run_id, whole()))
        await asyncio.sleep(0)
        later = result(item, "pending", due_at=datetime.now(UTC) + timedelta(hours=1))
        settle = asyncio.ensure_future(settled_by(writer, run_id, later, token="t"))
        await asyncio.sleep(0)
        door.open.set()
        await asyncio.gather(first, settle)
        return (await work).pending

    assert with_writer(database, use) == 1
    assert door.commits == 2
