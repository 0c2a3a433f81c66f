"""What waits in the ledger: held until it is due, a zone at a time, and back among what may leave."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from clarion.ledger.claims import Slice, next_slice, open_work, release_due
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import get_run
from clarion.ledger.summaries import WHOLE_RUN, read_summary, summarize
from clarion.ledger.tables import RUN_ITEM
from clarion.ledger.windows import hold_zone, skip_zone, within_windows
from clarion.ledger.workers import register_worker
from clarion.models.timing import Window
from clarion.slices import SliceFeed
from clarion.timing import Timing
from clarion.windows import Windows
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    claimed,
    counts,
    ids,
    new_run,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
    whole,
)

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
LONDON, TOKYO = "Europe/London", "Asia/Tokyo"


def come_due(database: Database, run_id: int) -> None:
    """Lets the time come for which everything that is held waits."""
    held = (RUN_ITEM.c.run_id == run_id) & RUN_ITEM.c.due_at.is_not(None)
    with database.write() as connection:
        past = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(RUN_ITEM.update().where(held).values(due_at=past))


def test_planned_time_and_zone_are_stored_as_they_are(database: Database):
    """A due time comes back to the microsecond, whatever the database and the zone it was given in."""
    due = datetime(2099, 3, 29, 2, 30, 0, 123456, tzinfo=UTC)
    there = due.astimezone(tz=None)
    run_id = planned_run(database, [planned(1, due_at=there, timezone=TOKYO), planned(2)])
    assert rows_of(database, run_id, "due_at", "timezone") == [(due, TOKYO), (None, None)]
    assert claimed(database, run_id, register_worker(database, run_id))[0].timezone is None


def test_held_items_are_not_claimed_before_their_time(database: Database):
    """What waits is in no slice and in no claim; when it is due it is in both."""
    items = [planned(row, due_at=LATER if row > 2 else None, timezone=TOKYO) for row in range(1, 6)]
    run_id = planned_run(database, items)
    token = register_worker(database, run_id)
    feed = SliceFeed(database=database, run_id=run_id, actions=["send"], size=10)
    (part,) = feed.take(9)
    assert [item.timezone for item in claimed(database, run_id, token, part=part)] == [TOKYO, TOKYO]
    feed.done(part, held_seconds=0)
    assert feed.take(9) == []
    work = feed.open_work()
    assert (work.pending, work.due_at) == (3, LATER)
    come_due(database, run_id)
    assert feed.open_work().due_in_seconds == 0
    (part,) = feed.take(9)
    assert len(claimed(database, run_id, token, part=part)) == 3


def test_claim_takes_what_has_come_due_within_its_slice(database: Database):
    """A slice that is tried again finds its items, although nothing has looked over the whole run."""
    run_id = planned_run(database, [planned(row, due_at=LATER if row % 2 else None) for row in range(1, 9)])
    token = register_worker(database, run_id)
    come_due(database, run_id)
    first, *_, last = rows_of(database, run_id, "id")
    part = Slice(action="send", first_id=first, last_id=last - 1)
    assert len(claimed(database, run_id, token, part=part, most=5)) == 5
    assert len(claimed(database, run_id, token, part=part, most=5)) == 2
    with database.read() as connection:
        work = open_work(connection, run_id=run_id, part=whole())
    assert (work.pending, work.due_at) == (1, None)


def test_release_is_of_one_run_and_of_what_is_due(database: Database):
    """Only what is due by now is let go, and nothing of another run."""
    mine, other = (planned_run(database, [planned(1, due_at=LATER), planned(2)]) for _ in range(2))
    assert release_due(database, mine) == 0
    come_due(database, mine)
    come_due(database, other)
    assert release_due(database, mine) == 1
    assert rows_of(database, mine, "due_at") == [None, None]
    with database.read() as connection:
        part = next_slice(connection, run_id=other, action="send", after_id=0, size=9)
    assert part is not None
    assert part.first_id == part.last_id


def test_zone_is_held_at_once_until_it_opens(database: Database):
    """All of the zone that would be due before moves to its opening; other zones and later times stay."""
    even_later = LATER + timedelta(days=1)
    soon = LATER - timedelta(hours=1)
    dues = [None, soon, even_later, None]
    zones = [LONDON, LONDON, LONDON, TOKYO]
    items = [
        planned(row, due_at=due, timezone=zone)
        for row, (due, zone) in enumerate(zip(dues, zones, strict=True), 1)
    ]
    run_id = planned_run(database, [*items, planned(5)])
    with database.write() as connection:
        assert hold_zone(connection, run_id, LONDON, LATER) == 2
        assert hold_zone(connection, run_id, LONDON, LATER) == 0
    assert rows_of(database, run_id, "due_at") == [LATER, LATER, even_later, None, None]
    assert counts(database, run_id) == {"total": 5, "pending": 5}


def test_zone_is_given_up_at_once_where_outside_is_skipped(database: Database):
    """Skipped where nothing was sent, failed where something was; what is claimed is the worker's."""
    run_id = planned_run(database, [planned(row, timezone=LONDON) for row in range(1, 5)])
    token = register_worker(database, run_id)
    tried, sending = claimed(database, run_id, token, most=2)
    settled(database, run_id, token, result(tried, "pending", due_at=datetime.now(UTC), outcome="retry"))
    with database.write() as connection:
        assert skip_zone(connection, run_id, LONDON, LATER) == 3
    assert rows_of(database, run_id, "status", "reason") == [
        ("failed", "outside-window"),
        ("sending", None),
        ("skipped", "outside-window"),
        ("skipped", "outside-window"),
    ]
    assert_counts_add_up(database, run_id)
    assert ids([sending]) == [rows_of(database, run_id, "id")[1]]


OFFICE = Windows([Window(start="09:00", end="20:00")])
NOON, NIGHT = datetime(2026, 6, 1, 12, tzinfo=UTC), datetime(2026, 6, 1, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("due_at", "skips", "expected"),
    [
        (NOON, False, ("pending", None, NOON)),
        (NOON, True, ("pending", None, NOON)),
        (NIGHT, False, ("pending", None, datetime(2026, 6, 2, 8, tzinfo=UTC))),
        (NIGHT, True, ("failed", "outside-window", None)),
    ],
)
def test_retry_outside_its_windows_waits_or_is_given_up(
    database: Database, due_at: datetime, skips: bool, expected: tuple[str, str | None, datetime | None]
):
    """The next try is made within the recipient's windows, or not at all; and is recorded so."""
    run_id = planned_run(database, [planned(1, timezone=LONDON)])
    token = register_worker(database, run_id)
    (item,) = claimed(database, run_id, token)
    timing = Timing(windows=OFFICE, send_at=None, timezone=None, zone="UTC", skips=skips)
    settlement = within_windows(result(item, "pending", due_at=due_at, outcome="retry"), timing)
    settled(database, run_id, token, settlement)
    assert rows_of(database, run_id, "status", "reason", "due_at") == [expected]
    assert_counts_add_up(database, run_id)
    assert within_windows(settlement, None) is settlement


def test_fallback_zones_stay_in_the_summary(database: Database):
    """How many had no zone of their own is the plan's to tell, however often the run is summarized."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(1, timezone=LONDON)])
    writer.finish(limit=None, bad_rows=0, fell_back=1)
    for _ in range(2):
        summarize(database, run.id)
    assert read_summary(database, run.id)[WHOLE_RUN, "fallback_timezone"] == 1
    assert get_run(database, run.id).pending == 1


def test_what_waits_is_found_by_an_index(database: Database):
    """No question that is asked again and again walks over what is held."""
    run_id = planned_run(database, [planned(row, due_at=LATER, timezone=LONDON) for row in range(1, 400)])
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    asked = {
        "run_item_due": "action = 'send' AND due_at IS NULL AND id > 5 ORDER BY id LIMIT 9",
        "run_item_later": "due_at IS NOT NULL AND due_at <= '2026-01-01 00:00:00' LIMIT 1",
        "run_item_zone": "timezone = 'Europe/London'",
    }
    with database.write() as connection:
        if database.dialect == "postgresql":
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            connection.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
            connection.execute(sa.text("ANALYZE run_item"))  # else it depends on when the server does it
        for index, which in asked.items():
            query = f"SELECT id FROM run_item WHERE run_id = {run_id} AND status = 'pending' AND {which}"  # noqa: S608  # constants
            told = " ".join(str(row) for row in connection.execute(sa.text(explain + query)))
            assert index in told, told
