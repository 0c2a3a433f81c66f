"""Runs in a ledger, as its tests need them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from clarion.ledger.claims import ClaimedItem, Settlement, Slice, claim, settle
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import NewRun, RunRecord, count_changes, create_run, get_run
from clarion.ledger.tables import ATTEMPT, ITEM_COUNTS, RUN, RUN_ITEM, WORKER
from clarion.planning import PlannedItem

NEW_RUN = NewRun(job_name="renewals", job="{}", base="/srv")


def planned(row: int, **changes: Any) -> PlannedItem:
    """An item that is to be sent, of a recipient of its own."""
    recipient = changes.get("recipient", f"r{row}")
    item = PlannedItem(
        row=row,
        segment="all",
        recipient=recipient,
        dedupe_key=recipient,
        item=f'{{"n":{row}}}',
        status="pending",
        reason=None,
        action="send",
        error=None,
    )
    return item._replace(**changes)


def skipped(row: int, reason: str) -> PlannedItem:
    """An item that the plan leaves out."""
    return planned(
        row, segment="", recipient=None, dedupe_key=None, status="skipped", reason=reason, action=None
    )


def new_run(database: Database, **changes: Any) -> RunRecord:
    """A scheduled run beside all others."""
    return create_run(database, replace(NEW_RUN, **changes), alongside=True)


def planned_run(database: Database, items: int | Iterable[PlannedItem], **changes: Any) -> int:
    """The key of a run that is open for sending, with so many items or with these."""
    run = new_run(database, **changes)
    writer = PlanWriter(database, run.id)
    writer.begin()
    chunk = [planned(row) for row in range(1, items + 1)] if isinstance(items, int) else list(items)
    if chunk:
        writer.write(chunk)
    writer.finish(limit=None, bad_rows=0)
    return run.id


def whole(action: str = "send") -> Slice:
    """A slice of everything."""
    return Slice(action=action, first_id=0, last_id=2**31)


def claimed(
    database: Database, run_id: int, token: str, *, most: int = 1_000, part: Slice | None = None
) -> list[ClaimedItem]:
    """Claims and counts in one transaction, the claimed in the order of their ids."""
    with database.write() as connection:
        items = claim(connection, run_id=run_id, part=part or whole(), token=token, most=most)
        count_changes(connection, run_id, {"pending": -len(items), "sending": len(items)})
    return sorted(items, key=lambda item: item.id)


def result(item: ClaimedItem, status: str, **changes: Any) -> Settlement:
    """What a call came to."""
    settlement = Settlement(item=item, status=status, attempts=item.attempts + 1, epoch=item.epoch)
    return replace(settlement, **changes)


def settled(database: Database, run_id: int, token: str, *results: Settlement) -> Counter[str]:
    """Settles and counts in one transaction; the changes of the counters."""
    with database.write() as connection:
        changes = settle(connection, run_id=run_id, token=token, results=results)
        count_changes(connection, run_id, changes)
    return changes


def end_lease(database: Database, token: str) -> None:
    """Lets a lease run out, as if its worker had been away for a day."""
    with database.write() as connection:
        long_ago = sa.text(
            "UPDATE worker SET lease_expires_at = '2020-01-01 00:00:00.000000' WHERE token = :t"
        )
        connection.execute(long_ago, {"t": token})


def leases(database: Database, run_id: int) -> set[str]:
    """The tokens that hold a lease, living or not."""
    with database.read() as connection:
        return set(connection.scalars(sa.select(WORKER.c.token).where(WORKER.c.run_id == run_id)))


def rows_of(database: Database, run_id: int, *columns: str) -> list[Any]:
    """Columns of a run's items, by id; one value an item where one column is asked for."""
    chosen = [RUN_ITEM.c[name] for name in columns]
    query = sa.select(*chosen).where(RUN_ITEM.c.run_id == run_id).order_by(RUN_ITEM.c.id)
    with database.read() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    return [row[0] for row in rows] if len(columns) == 1 else rows


def statuses(database: Database, run_id: int) -> Counter[str]:
    """How many items are in which status, counted."""
    return Counter(rows_of(database, run_id, "status"))


def assert_counts_add_up(database: Database, run_id: int) -> None:
    """The run's own counters equal its items counted, both read in one statement."""
    counted = [
        sa.select(sa.func.count())
        .where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status == status)
        .scalar_subquery()
        for status in ITEM_COUNTS
    ]
    with database.read() as connection:
        row = connection.execute(
            sa.select(RUN.c.total, *(RUN.c[status] for status in ITEM_COUNTS), *counted).where(
                RUN.c.id == run_id
            )
        ).one()
    total, counters, items = row[0], row[1:7], row[7:]
    assert tuple(counters) == tuple(items)
    assert total == sum(counters)
    assert min(counters) >= 0


def counts(database: Database, run_id: int) -> dict[str, int]:
    """The counters of a run that are not zero."""
    return {name: count for name, count in get_run(database, run_id).counts.items() if count}


def ids(items: Sequence[ClaimedItem]) -> list[int]:
    """The ids of claimed items."""
    return [item.id for item in items]


def attempts_of(database: Database, run_id: int) -> list[dict[str, object]]:
    """The attempt log of a run, in its order."""
    with database.read() as connection:
        rows = connection.execute(ATTEMPT.select().where(ATTEMPT.c.run_id == run_id).order_by(ATTEMPT.c.id))
        return [dict(row._mapping) for row in rows]
