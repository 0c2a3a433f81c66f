"""Writing a plan: run items in chunks, duplicates found by the database's own constraint.

A dedupe key that is taken makes the insert do nothing; how many rows did tells whether any was. Only then
are they looked up and stored as skipped. So a list without duplicates pays nothing, and memory stays flat.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from clarion.ledger.database import Database, utc_now
from clarion.ledger.runs import count_changes, set_status
from clarion.ledger.tables import ITEM_COUNTS, RUN, RUN_ITEM
from clarion.planning import PlannedItem

DELETED_AT_ONCE = 20_000


class PlanWriter:
    """Writes the plan of one run.

    Args:
        database: The ledger.
        run_id: A run that is scheduled, or whose planning was cut off.
    """

    def __init__(self, database: Database, run_id: int) -> None:
        self._database = database
        self._run_id = run_id
        dialect = postgresql if database.dialect == "postgresql" else sqlite
        self._insert = dialect.insert(RUN_ITEM).on_conflict_do_nothing(
            index_elements=["run_id", "dedupe_key"]
        )

    def begin(self) -> None:
        """Puts the run into planning, and takes away what an earlier, cut-off plan left."""
        set_status(self._database, self._run_id, "planning")
        of_run = RUN_ITEM.c.run_id == self._run_id
        while True:
            with self._database.write() as connection:
                some = sa.select(RUN_ITEM.c.id).where(of_run).limit(DELETED_AT_ONCE)
                if not connection.execute(RUN_ITEM.delete().where(RUN_ITEM.c.id.in_(some))).rowcount:
                    zeros = dict.fromkeys(("total", *ITEM_COUNTS), 0)
                    connection.execute(RUN.update().where(RUN.c.id == self._run_id).values(**zeros))
                    return

    def write(self, items: Sequence[PlannedItem]) -> None:
        """Stores a chunk in one transaction; a recipient seen before is stored as skipped(duplicate)."""
        with self._database.write() as connection:
            written = connection.execute(self._insert, [self._values(item) for item in items]).rowcount
            pending = sum(item.status == "pending" for item in items)
            if written < len(items):
                pending -= self._store_duplicates(connection, items)
            changes = {"total": len(items), "pending": pending, "skipped": len(items) - pending}
            count_changes(connection, self._run_id, changes)

    def finish(self, *, limit: int | None, bad_rows: int) -> None:
        """The one commit that opens the run for sending.

        Args:
            limit: Keep only the first so many items that would be sent; the rest is skipped(limit).
            bad_rows: Rows of the lists that were left out as unreadable.
        """
        with self._database.write() as connection:
            if limit is not None:
                self._cut(connection, limit)
            connection.execute(
                RUN.update()
                .where(RUN.c.id == self._run_id, RUN.c.status == "planning")
                .values(status="running", planned_at=utc_now(), bad_rows=bad_rows)
            )

    def discard(self, reason: str) -> None:
        """Ends the run as failed with no items."""
        self.begin()
        set_status(self._database, self._run_id, "failed", reason=reason)

    def _values(self, item: PlannedItem) -> dict[str, object]:
        values = item._asdict()
        values.update(run_id=self._run_id, step=0, epoch=0, attempts=0)
        return values

    def _store_duplicates(self, connection: Connection, items: Sequence[PlannedItem]) -> int:
        rows = [item.row for item in items]
        stored = connection.execute(
            sa.select(RUN_ITEM.c.row, RUN_ITEM.c.segment).where(
                RUN_ITEM.c.run_id == self._run_id, RUN_ITEM.c.row.between(min(rows), max(rows))
            )
        )
        present = {tuple(row) for row in stored}
        duplicates = [
            self._values(item._replace(status="skipped", reason="duplicate", dedupe_key=None))
            for item in items
            if (item.row, item.segment) not in present
        ]
        connection.execute(RUN_ITEM.insert(), duplicates)
        return len(duplicates)

    def _cut(self, connection: Connection, limit: int) -> None:
        pending = (RUN_ITEM.c.run_id == self._run_id) & (RUN_ITEM.c.status == "pending")
        kept = sa.select(RUN_ITEM.c.id).where(pending).order_by(RUN_ITEM.c.id).limit(limit).subquery()
        cut = connection.execute(
            RUN_ITEM.update()
            .where(pending, RUN_ITEM.c.id.not_in(sa.select(kept.c.id)))
            .values(status="skipped", reason="limit")
        ).rowcount
        count_changes(connection, self._run_id, {"pending": -cut, "skipped": cut})
