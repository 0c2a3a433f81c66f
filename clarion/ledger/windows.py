"""Windows that close while items wait: moving a whole zone at once, and tries that would fall outside."""

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.ledger.claims import Settlement, end_pending
from clarion.ledger.item_statements import PENDING
from clarion.ledger.tables import RUN_ITEM
from clarion.timing import OUTSIDE, Timing


def within_windows(settlement: Settlement, timing: Timing | None) -> Settlement:
    """A settlement whose next try falls within the windows: later than it was, or given up as outside them.

    Args:
        settlement: Of an item that was called; one without another try stays as it is.
        timing: What the job says about time.
    """
    if timing is None or settlement.status != "pending" or settlement.due_at is None:
        return settlement
    closed_until = timing.closed_until(settlement.item.timezone, settlement.due_at)
    if closed_until is None:
        return settlement
    if not timing.skips:
        return replace(settlement, due_at=closed_until)
    status = "unknown" if settlement.in_doubt else "failed"
    return replace(settlement, status=status, reason=OUTSIDE, due_at=None, outcome=None)


def hold_zone(connection: Connection, run_id: int, zone: str, until: datetime) -> int:
    """Holds everything pending of a zone until its windows open; how many items that moved.

    One statement for all of them, so that none is claimed only to be put back. What is due later than that
    stays so; the items that a worker has claimed are the worker's to give back.

    Args:
        connection: An open write transaction.
        run_id: The run.
        zone: As the items have it.
        until: When the windows open.
    """
    held = RUN_ITEM.update().where(RUN_ITEM.c.id.in_(_early(run_id, zone, until))).values(due_at=until)
    return connection.execute(held).rowcount


def skip_zone(connection: Connection, run_id: int, zone: str, until: datetime) -> int:
    """Gives up everything of a zone that would be due before its windows open; how many items.

    They are skipped where nothing was ever sent for them, unknown where a call was never answered, else
    failed; the run's counters change with them. Takes what `hold_zone` takes.
    """
    which = (RUN_ITEM.c.status == PENDING) & RUN_ITEM.c.id.in_(_early(run_id, zone, until))
    return end_pending(connection, run_id, which, reason=OUTSIDE)


def _early(run_id: int, zone: str, until: datetime) -> sa.Select[tuple[int]]:
    """The ids of what is pending in a zone and due before a time; the index `run_item_zone` has a zone's."""
    return (
        sa.select(RUN_ITEM.c.id)
        .where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status == PENDING, RUN_ITEM.c.timezone == zone)
        .where(sa.or_(RUN_ITEM.c.due_at.is_(None), RUN_ITEM.c.due_at < until))
        .order_by(RUN_ITEM.c.id)  # everyone locks in one order: nobody waits in a circle
        .with_for_update()
    )
