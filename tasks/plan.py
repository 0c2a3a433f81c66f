"""The first step of a run: its lists become run items."""

import threading
from concurrent.futures import Future, wait
from contextlib import closing
from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from clarion.ahead import made_ahead
from clarion.errors import ClarionError
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import RunRecord, find_run
from clarion.planning import Planner
from tasks.sessions import compiled, ledger, list_reader

LEAVE_SECONDS = 5.0
"""How long a planner that is told to leave may take over what it reads; it writes no more."""


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE, persist_result=False)
def plan(run_uid: str) -> int:
    """Plans a run: reads its lists, matches the segments, stores the run items, and opens it for sending.

    A plan that was cut off is thrown away and made again. One that cannot be made leaves the run failed,
    with no items.

    Args:
        run_uid: A run that is scheduled or planning.

    Returns:
        How many items wait to be sent.
    """
    database = ledger()
    run = find_run(database, run_uid)
    writer = PlanWriter(database, run.id)
    made: Future[None] = Future()
    try:
        # Aside, where no signal is lost: pandas swallows what its handler raises within it.
        threading.Thread(target=copy_context().run, args=(_make, run, writer, made), daemon=True).start()
        made.result()
    except ClarionError as exc:
        writer.discard(exc.message)
        raise
    except BaseException:
        writer.leave()
        wait([made], LEAVE_SECONDS)
        raise
    planned = find_run(database, run_uid)
    get_run_logger().info(
        "Run %s has %d items: %d to send, %d skipped",
        run_uid,
        planned.total,
        planned.pending,
        planned.skipped,
    )
    return planned.pending


def _make(run: RunRecord, writer: PlanWriter, made: Future[None]) -> None:
    try:
        write_plan(run, writer)
    except BaseException as exc:  # noqa: BLE001  # whoever waits for it raises it
        made.set_exception(exc)
    else:
        made.set_result(None)


def write_plan(run: RunRecord, writer: PlanWriter) -> None:
    """Writes the plan of a run, and opens it for sending.

    Raises:
        ClarionError: It cannot be made; whoever gets this discards what is written of it.
    """
    writer.begin()
    campaign = compiled(run)
    reader = list_reader(campaign.job, base=Path(run.base))
    planner = Planner(
        campaign=campaign,
        run=run.scope(),
        now=datetime.now(UTC),
        reader=reader,
        start_at=run.start_at,
        send_until=run.send_until,
    )
    with closing(made_ahead(planner.plan())) as chunks:
        for items in chunks:
            writer.write(items)
    writer.finish(limit=run.item_limit, bad_rows=reader.report.bad_rows, fell_back=planner.fell_back)
