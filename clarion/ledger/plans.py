"""Writing a plan: run items in chunks, duplicates found by the database's own constraint.

A dedupe key that is taken makes the insert do nothing; how many rows did tells whether any was. Only then
are they looked up and stored as skipped. So a list without duplicates pays nothing, and memory stays flat.
"""

import threading
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC
from itertools import chain

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.errors import RunConflictError
from clarion.ledger.database import Database, utc_now
from clarion.ledger.runs import count_changes, status_values
from clarion.ledger.summaries import FALLBACK_TIMEZONE, note_metric
from clarion.ledger.suppressions import last_change, sweep
from clarion.ledger.tables import ENDED_STATUSES, RUN, RUN_ITEM, WORKER
from clarion.ledger.workers import add_worker, keep_lease
from clarion.planning import PlannedItem

DELETED_AT_ONCE = 20_000

SQLITE_TIME = "%Y-%m-%d %H:%M:%S.%f"
"""How SQLite's tables hold a time, in UTC."""

INSERTED_AT_ONCE = 30_000 // len(PlannedItem._fields)
"""Rows of one INSERT, handed to the driver as they are: 7 us a row on SQLite, where one statement each takes
8 and SQLAlchemy's own parameters 13. Many, because after each statement a plan that is made meanwhile keeps
the interpreter for 5 ms; SQLite takes 32,766 values in a statement, PostgreSQL 65,535."""


class PlanWriter:
    """Writes the plan of one run, for as long as no other process begins to plan it.

    Whoever begins last plans: a planner that hangs is overtaken, and one that was overtaken writes no more.

    Args:
        database: The ledger.
        run_id: A run that is scheduled, or whose planning was cut off.
    """

    def __init__(self, database: Database, run_id: int) -> None:
        self._database = database
        self._run_id = run_id
        self._token = ""
        self._suppressions_before = 0
        self._left = False
        self._lock = threading.Lock()
        self._dialect = database.dialect
        mark = "%s" if database.dialect == "postgresql" else "?"
        self._columns = ", ".join(f'"{name}"' for name in PlannedItem._fields)
        self._row = f"({run_id:d}, 0, 0, 0, {', '.join(mark for _ in PlannedItem._fields)})"

    def begin(self) -> None:
        """Puts the run into planning, and takes away what an earlier, cut-off plan left.

        Raises:
            RunConflictError: The run is planned already.
        """
        unplanned = RUN.update().where(RUN.c.id == self._run_id, RUN.c.planned_at.is_(None))
        with self._writing() as connection:
            if not connection.execute(unplanned.values(**status_values("planning"))).rowcount:
                raise RunConflictError("the run is planned already")
            connection.execute(WORKER.delete().where(WORKER.c.run_id == self._run_id))
            self._token = add_worker(connection, self._run_id)
            self._suppressions_before = last_change(connection)
        self._clear()

    def write(self, items: Sequence[PlannedItem]) -> None:
        """Stores a chunk in one transaction; a recipient seen before is stored as skipped(duplicate).

        Raises:
            RunConflictError: Another process plans the run now.
        """
        with self._planning() as connection:
            written = self._insert(connection, items)
            pending = sum(item.status == "pending" for item in items)
            if written < len(items):
                pending -= self._store_duplicates(connection, items)
            changes = {"total": len(items), "pending": pending, "skipped": len(items) - pending}
            count_changes(connection, self._run_id, changes)

    def finish(self, *, limit: int | None, bad_rows: int, fell_back: int = 0) -> None:
        """The one commit that opens the run for sending.

        Args:
            limit: Keep only the first so many items that would be sent; the rest is skipped(limit).
            bad_rows: Rows of the lists that were left out as unreadable.
            fell_back: Items that have the fallback zone, because their own is missing or not known.

        Raises:
            RunConflictError: Another process plans the run now, or a person has ended it.
        """
        with self._planning() as connection:
            sweep(connection, self._run_id, after=self._suppressions_before)
            if limit is not None:
                self._cut(connection, limit)
            opened = connection.execute(
                RUN.update()
                .where(RUN.c.id == self._run_id, RUN.c.status.not_in(ENDED_STATUSES))
                .values(**status_values("running"), planned_at=utc_now(), bad_rows=bad_rows)
            )
            if not opened.rowcount:
                raise RunConflictError("the run was ended while it was planned")
            if fell_back:
                note_metric(connection, self._run_id, FALLBACK_TIMEZONE, fell_back)
            connection.execute(WORKER.delete().where(WORKER.c.token == self._token))

    def discard(self, reason: str) -> None:
        """Ends the run as failed with no items; what another process plans meanwhile is not touched."""
        try:
            self._clear()
            with self._planning() as connection:
                failed = status_values("failed", reason=reason)
                connection.execute(RUN.update().where(RUN.c.id == self._run_id).values(**failed))
                connection.execute(WORKER.delete().where(WORKER.c.token == self._token))
        except RunConflictError:
            return

    def leave(self) -> None:
        """Gives up the lease and leaves the half plan to whoever begins next; another thread may call it."""
        with self._lock, self._database.write() as connection:
            self._left = True
            connection.execute(WORKER.delete().where(WORKER.c.token == self._token))

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        """A write transaction, unless this planner has left."""
        with self._lock:
            if self._left:
                raise RunConflictError("the plan was given up")
            with self._database.write() as connection:
                yield connection

    @contextmanager
    def _planning(self) -> Generator[Connection]:
        """A write transaction of the run's only planner; as in `begin` the run is locked before the lease."""
        run = sa.select(RUN.c.id).where(RUN.c.id == self._run_id).with_for_update(key_share=True)
        with self._writing() as connection:
            connection.execute(run)
            if not keep_lease(connection, self._token):
                raise RunConflictError("another process plans the run now")
            yield connection

    def _clear(self) -> None:
        """Deletes every item, in transactions of a bounded size; the counters go down with them."""
        some = sa.select(RUN_ITEM.c.id).where(RUN_ITEM.c.run_id == self._run_id).limit(DELETED_AT_ONCE)
        delete = RUN_ITEM.delete().where(RUN_ITEM.c.id.in_(some)).returning(RUN_ITEM.c.status)
        deleted = DELETED_AT_ONCE
        while deleted:
            with self._planning() as connection:
                by_status = Counter(connection.scalars(delete))
                deleted = by_status.total()
                gone = {"total": -deleted} | {status: -count for status, count in by_status.items()}
                count_changes(connection, self._run_id, gone)

    def _insert(self, connection: Connection, items: Sequence[PlannedItem]) -> int:
        """Inserts the items whose dedupe key is new; how many those were."""
        written = 0
        for start in range(0, len(items), INSERTED_AT_ONCE):
            part = [self._stored(item) for item in items[start : start + INSERTED_AT_ONCE]]
            statement = (
                f"INSERT INTO run_item (run_id, step, epoch, attempts, {self._columns}) "  # noqa: S608  # no input in it
                f"VALUES {', '.join([self._row] * len(part))} ON CONFLICT (run_id, dedupe_key) DO NOTHING"
            )
            written += connection.exec_driver_sql(statement, tuple(chain.from_iterable(part))).rowcount
        return written

    def _stored(self, item: PlannedItem) -> PlannedItem:
        """The item as the driver takes it: SQLite's knows no times."""
        if item.due_at is None or self._dialect != "sqlite":
            return item
        return item._replace(due_at=item.due_at.astimezone(UTC).strftime(SQLITE_TIME))  # ty: ignore[invalid-argument-type]  # text, for this driver alone

    def _store_duplicates(self, connection: Connection, items: Sequence[PlannedItem]) -> int:
        rows = [item.row for item in items]
        stored = connection.execute(
            sa.select(RUN_ITEM.c.row, RUN_ITEM.c.segment).where(
                RUN_ITEM.c.run_id == self._run_id, RUN_ITEM.c.row.between(min(rows), max(rows))
            )
        )
        present = {tuple(row) for row in stored}
        duplicates = [
            item._replace(status="skipped", reason="duplicate", dedupe_key=None)
            for item in items
            if (item.row, item.segment) not in present
        ]
        self._insert(connection, duplicates)
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
