"""The first step of a run: its lists become run items."""

from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from clarion.errors import ClarionError
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import find_run
from clarion.planning import Planner
from tasks.sessions import compiled, ledger, list_reader


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
    try:
        writer.begin()
        campaign = compiled(run)
        reader = list_reader(campaign.job, base=Path(run.base))
        planner = Planner(campaign=campaign, run=run.scope(), now=datetime.now(UTC), reader=reader)
        for items in planner.plan():
            writer.write(items)
        writer.finish(limit=run.item_limit, bad_rows=reader.report.bad_rows)
    except ClarionError as exc:
        writer.discard(exc.message)
        raise
    except BaseException:
        writer.leave()
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
