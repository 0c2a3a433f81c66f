"""Reading run items: for people, for exports, and as a list for another run."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pandas as pd
import sqlalchemy as sa

from clarion.errors import InputError
from clarion.ledger.database import Database
from clarion.ledger.runs import LAST, RunRecord, find_run, list_runs
from clarion.ledger.tables import RUN_ITEM
from clarion.models.job import RunList

PAGE_ROWS = 5_000
LOOK_BACK_RUNS = 1_000

ITEM_FIELDS = (
    "row", "segment", "recipient", "status", "reason", "action", "attempts", "status_code", "invocation_id",
    "error_code", "error", "latency_ms", "claimed_at", "settled_at", "due_at", "delivery",
    "delivery_status", "delivery_code", "delivery_reason", "delivered_at",
)  # fmt: skip


def read_items(
    database: Database, run_id: int, *, statuses: Sequence[str] = (), reasons: Sequence[str] = ()
) -> Iterator[list[dict[str, Any]]]:
    """Pages of a run's items in the order of the list, each a mapping of `id`, ITEM_FIELDS and `item`.

    Args:
        database: The ledger.
        run_id: The run.
        statuses: Only these; none means all.
        reasons: Only these; none means all.
    """
    columns = [RUN_ITEM.c.id, *(RUN_ITEM.c[name] for name in ITEM_FIELDS), RUN_ITEM.c.item]
    chosen = [RUN_ITEM.c.run_id == run_id]
    if statuses:
        chosen.append(RUN_ITEM.c.status.in_(statuses))
    if reasons:
        chosen.append(RUN_ITEM.c.reason.in_(reasons))
    place = (RUN_ITEM.c.row, RUN_ITEM.c.segment)  # not the id: a duplicate's comes after its chunk's others
    query = sa.select(*columns).where(*chosen).order_by(*place).limit(PAGE_ROWS)
    last: tuple[int, str] = (0, "")
    while True:
        with database.read() as connection:
            rows = connection.execute(query.where(sa.tuple_(*place) > last)).mappings().all()
        if not rows:
            return
        last = (rows[-1]["row"], rows[-1]["segment"])
        yield [{**row, "item": orjson.loads(row["item"])} for row in rows]


def item_reasons(database: Database, run_id: int) -> list[str]:
    """The reasons that the items of a run have, whatever their status, in the order of the alphabet."""
    reasons = sa.select(RUN_ITEM.c.reason).where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.reason.is_not(None))
    with database.read() as connection:
        return sorted(connection.scalars(reasons.distinct()))


def run_list_frames(database: Database, source: RunList, *, job_name: str) -> Iterator[pd.DataFrame]:
    """The items of an earlier run of the job; every frame has the columns of the whole list.

    `last` is the job's last run that ended and was no rehearsal.

    Raises:
        InputError: There is no such run.
    """
    run = _last_ended(database, job_name) if source.run == LAST else None
    if run is None and source.run == LAST:
        # Not the run that is being planned: it would be empty, and exclude nobody.
        raise InputError(f"no run of the job {job_name!r} has ended yet", where="run", expected="a run's id")
    run = run or find_run(database, source.run, job_name=job_name)
    columns: dict[str, None] = {}
    for page in read_items(database, run.id, statuses=source.status, reasons=source.reason):
        columns.update((name, None) for row in page for name in row["item"])
    start = 0
    for page in read_items(database, run.id, statuses=source.status, reasons=source.reason):
        frame = pd.DataFrame([row["item"] for row in page], columns=list(columns), dtype=object)
        frame.index = pd.RangeIndex(start, start + len(frame))
        start += len(frame)
        yield frame


def _last_ended(database: Database, job_name: str) -> RunRecord | None:
    runs = list_runs(database, limit=LOOK_BACK_RUNS, job_name=job_name, kind="run")
    return next((run for run in runs if run.ended), None)
