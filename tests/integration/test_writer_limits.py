"""The ledger's writer gives out what limits allow, and keeps leases: permits, holds, heartbeats."""

import asyncio
import time

import pytest
import sqlalchemy as sa

from clarion.ledger.database import Database
from clarion.ledger.limits import interval_seconds, lapse_seconds
from clarion.ledger.tables import RUN
from clarion.ledger.workers import register_worker
from clarion.sending.writer import Claimed, LedgerWriter, Limit
from tests.integration.ledger_runs import (
    claimed,
    end_lease,
    planned_run,
    result,
    statuses,
    whole,
)
from tests.integration.ledger_writers import gate, settled_by, with_writer

FREE = Limit(key="free", tps=None)
SLOW = Limit(key="slow", tps=1.1)


def test_claim_takes_no_more_than_its_permits(database: Database):
    """At 1.1 a second two leave within the next second; then the writer says how long to wait."""
    run_id = planned_run(database, 10)

    async def use(writer: LedgerWriter) -> tuple[Claimed, Claimed]:
        first = await writer.claim(run_id, whole(), token="t", most=10, limit=SLOW)
        return first, await writer.claim(run_id, whole(), token="t", most=10, limit=SLOW)

    first, second = with_writer(database, use)
    assert len(first.items) == len(first.permits) == 2
    one, two = first.permits
    assert two.leave_at - one.leave_at == pytest.approx(interval_seconds(1.1), abs=1e-3)
    assert one.lapses_at - one.leave_at == pytest.approx(lapse_seconds(1.1), abs=1e-3)
    assert 0 < first.wait_seconds <= 1.5
    assert list(second.items) == []
    assert 0 < second.wait_seconds <= 1.5
    assert statuses(database, run_id) == {"sending": 2, "pending": 8}


def test_claim_gives_back_the_permits_that_it_has_no_items_for(database: Database):
    """An empty slice uses nothing up."""
    run_id = planned_run(database, 2)

    async def use(writer: LedgerWriter) -> Claimed:
        await writer.claim(run_id, whole("none"), token="t", most=64, limit=SLOW)
        return await writer.claim(run_id, whole(), token="t", most=1, limit=SLOW)

    (permit,) = with_writer(database, use).permits
    assert permit.leave_at <= time.monotonic()


def test_held_result_holds_the_limit_back_before_the_next_claim(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """A 429 and a claim in the same commit: the claim sees the hold, whichever was asked for first."""
    run_id = planned_run(database, 3)
    (item,) = claimed(database, run_id, "t", most=1)
    door = gate(monkeypatch, database)

    async def use(writer: LedgerWriter) -> Claimed:
        door.open.clear()
        first = asyncio.ensure_future(writer.open_work(run_id, whole()))
        await asyncio.to_thread(door.entered.wait, 30)
        claim = asyncio.ensure_future(writer.claim(run_id, whole(), token="t", most=9, limit=FREE))
        await asyncio.sleep(0)
        held = result(item, "pending", attempts=0, epoch=1, outcome="held")
        settle = asyncio.ensure_future(settled_by(writer, run_id, held, token="t", held=(FREE.key, 60.0)))
        await asyncio.sleep(0)
        door.open.set()
        await asyncio.gather(first, settle)
        return await claim

    taken = with_writer(database, use)
    assert door.commits == 2
    assert taken.items == ()
    assert 50 < taken.wait_seconds <= 60
    assert statuses(database, run_id) == {"pending": 3}


def test_longest_hold_of_a_commit_stays(database: Database):
    """Several answers hold the same limit back: the longest decides."""
    run_id = planned_run(database, 4)
    items = claimed(database, run_id, "t", most=3)

    async def use(writer: LedgerWriter) -> Claimed:
        await asyncio.gather(
            *(
                settled_by(writer, run_id, result(item, "pending"), token="t", held=(FREE.key, seconds))
                for item, seconds in zip(items, (5.0, 90.0, 30.0), strict=True)
            )
        )
        return await writer.claim(run_id, whole(), token="t", most=1, limit=FREE)

    assert with_writer(database, use).wait_seconds > 80


def test_beat_renews_the_lease_and_hears_what_is_asked(database: Database):
    """A lease that holds is renewed; one that ran out is not, whatever the run's control."""
    run_id = planned_run(database, 1)
    token, lost = register_worker(database, run_id), register_worker(database, run_id)
    end_lease(database, lost)
    with database.write() as connection:
        connection.execute(RUN.update().values(control="pause"))
        before = connection.execute(
            sa.text("SELECT lease_expires_at FROM worker WHERE token = :t"), {"t": token}
        )
        first_end = before.scalar_one()

    async def use(writer: LedgerWriter) -> None:
        beat = await writer.beat(run_id, token)
        assert (beat.leased, beat.control) == (True, "pause")
        assert not (await writer.beat(run_id, lost)).leased

    with_writer(database, use)
    with database.read() as connection:
        after = connection.execute(
            sa.text("SELECT lease_expires_at FROM worker WHERE token = :t"), {"t": token}
        )
        assert after.scalar_one() > first_end
