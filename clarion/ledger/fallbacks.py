"""Whom an item may fall back to: somebody whom no other item of the run is for, or has fallen back to."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from clarion.fallback import NextStep, passed_over
from clarion.ledger.suppressed_steps import suppressed_steps
from clarion.ledger.tables import FALLBACK_RECIPIENT, RUN_ITEM
from clarion.suppression import SUPPRESSED

DUPLICATE = "duplicate"


def first_free(
    connection: Connection, *, run_id: int, item_id: int, steps: Sequence[NextStep], record: str | None
) -> NextStep | None:
    """The first of an item's next steps that reaches nobody else's recipient; None where none does.

    That recipient is the item's from now on. The steps that were passed over, as duplicates or because their
    recipients are suppressed by now, are noted in the item's `fallback`.

    Args:
        connection: An open write transaction.
        run_id: The run.
        item_id: The item.
        steps: Where it may go, in order.
        record: The item's `fallback`.
    """
    free: NextStep | None = None
    held = suppressed_steps(connection, run_id, steps)
    for step in steps:
        if step.step in held:
            record = passed_over(record, step.step, SUPPRESSED)
            continue
        if _take(connection, run_id=run_id, item_id=item_id, key=step.dedupe_key):
            free = step
            break
        record = passed_over(record, step.step, DUPLICATE)
    noted: dict[str, str | None] = {"fallback": record}
    if free is not None:
        noted["limit_keys"] = free.limit_keys  # those of its new action
    connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.id == item_id).values(noted))
    return free


def _take(connection: Connection, *, run_id: int, item_id: int, key: str) -> bool:
    """Makes a recipient the item's, unless another has it. The plan's own keys do not change any more."""
    planned = sa.select(RUN_ITEM.c.id).where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.dedupe_key == key)
    owner = connection.scalar(planned)
    if owner is not None:
        return owner == item_id
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {"run_id": run_id, "dedupe_key": key, "run_item_id": item_id}
    connection.execute(insert(FALLBACK_RECIPIENT).values(row).on_conflict_do_nothing())
    reached = sa.select(FALLBACK_RECIPIENT.c.run_item_id).where(
        FALLBACK_RECIPIENT.c.run_id == run_id, FALLBACK_RECIPIENT.c.dedupe_key == key
    )
    return connection.scalar(reached) == item_id
