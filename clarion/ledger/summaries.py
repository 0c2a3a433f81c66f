"""The numbers of a run's report, computed from its items and kept in `run_summary`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.ledger.database import Database
from clarion.ledger.tables import ATTEMPT, ITEM_COUNTS, RUN, RUN_ITEM, RUN_SUMMARY

WHOLE_RUN = ""
FALLBACK_TIMEZONE = "fallback_timezone"
"""How many items have the fallback zone, because their own was missing or not known."""

PERCENTILES = (50, 90, 99)

Metrics = dict[tuple[str, str], float]
"""(segment, metric) to number; the empty segment is the whole run."""


def summarize(database: Database, run_id: int) -> Metrics:
    """Computes a run's metrics, per segment and for the whole run, and stores them in place of older ones.

    Metrics: `total`, one for each status, `STATUS.REASON`, `attempts` (calls made), `latency_ms_p50`, `_p90`
    and `_p99` over all calls, and for the whole run `plan_seconds`, `seconds` (from when sending began, which
    is the end of the plan, to the last result) and `throughput` (settled items a second).
    """
    with database.read() as connection:
        metrics = _counts(connection, run_id)
        _add_calls(connection, run_id, metrics)
        metrics.update(_latencies(connection, run_id))
        metrics.update(_throughput(connection, run_id))
    rows = [
        {"run_id": run_id, "segment": segment, "metric": metric, "value": float(value)}
        for (segment, metric), value in sorted(metrics.items())
    ]
    with database.write() as connection:
        kept = RUN_SUMMARY.c.metric == FALLBACK_TIMEZONE  # the plan's to tell: the items do not
        connection.execute(RUN_SUMMARY.delete().where(RUN_SUMMARY.c.run_id == run_id, ~kept))
        if rows:
            connection.execute(RUN_SUMMARY.insert(), rows)
    return metrics


def note_metric(connection: Connection, run_id: int, metric: str, value: float) -> None:
    """Stores a number of the whole run that its items do not tell, in place of an older one."""
    this = (RUN_SUMMARY.c.run_id == run_id) & (RUN_SUMMARY.c.metric == metric)
    connection.execute(RUN_SUMMARY.delete().where(this, RUN_SUMMARY.c.segment == WHOLE_RUN))
    row = {"run_id": run_id, "segment": WHOLE_RUN, "metric": metric, "value": float(value)}
    connection.execute(RUN_SUMMARY.insert().values(**row))


def read_summary(database: Database, run_id: int) -> Metrics:
    """The stored metrics of a run; none before it was summarized."""
    with database.read() as connection:
        rows = connection.execute(RUN_SUMMARY.select().where(RUN_SUMMARY.c.run_id == run_id))
        return {(row.segment, row.metric): row.value for row in rows}


def count_items(database: Database, run_id: int) -> Metrics:
    """The counts per segment, status and reason, from the items as they are now."""
    with database.read() as connection:
        return _counts(connection, run_id)


def top_errors(
    database: Database, run_id: int, *, statuses: Sequence[str], most: int
) -> list[dict[str, Any]]:
    """The errors that the most items of some statuses ended with, the most frequent first.

    Returns:
        At most `most` mappings of `reason`, `error_code`, `error` (one of the latter two may be None) and
        `count`.
    """
    columns = (RUN_ITEM.c.reason, RUN_ITEM.c.error_code, RUN_ITEM.c.error)
    count = sa.func.count().label("count")
    told = sa.or_(RUN_ITEM.c.error.is_not(None), RUN_ITEM.c.error_code.is_not(None))
    query = (
        sa.select(*columns, count)
        .where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status.in_(statuses), told)
        .group_by(*columns)
        .order_by(count.desc(), *(column.is_(None) for column in columns), *columns)
        .limit(most)
    )
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _counts(connection: Connection, run_id: int) -> Metrics:
    columns = (RUN_ITEM.c.segment, RUN_ITEM.c.status, RUN_ITEM.c.reason)
    rows = connection.execute(
        sa.select(*columns, sa.func.count()).where(RUN_ITEM.c.run_id == run_id).group_by(*columns)
    )
    metrics: Metrics = defaultdict(float)
    for status in ("total", *ITEM_COUNTS):
        metrics[WHOLE_RUN, status] = 0
    for segment, status, reason, count in rows:
        for part in {segment, WHOLE_RUN}:
            metrics[part, "total"] += count
            metrics[part, status] += count
            if reason is not None and status != "pending":
                metrics[part, f"{status}.{reason}"] += count
    return dict(metrics)


def _calls(run_id: int) -> sa.Subquery:
    """Segment and latency of each call made: those that were the last of their item, and those before."""
    last = sa.select(RUN_ITEM.c.segment, RUN_ITEM.c.latency_ms).where(
        RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status != "pending", RUN_ITEM.c.latency_ms.is_not(None)
    )
    earlier = (
        sa.select(RUN_ITEM.c.segment, ATTEMPT.c.latency_ms)
        .join_from(ATTEMPT, RUN_ITEM, ATTEMPT.c.run_item_id == RUN_ITEM.c.id)
        .where(ATTEMPT.c.run_id == run_id)
    )
    return sa.union_all(last, earlier).subquery()


def _add_calls(connection: Connection, run_id: int, metrics: Metrics) -> None:
    calls = _calls(run_id)
    for segment, count in connection.execute(
        sa.select(calls.c.segment, sa.func.count()).group_by(calls.c.segment)
    ):
        for part in {segment, WHOLE_RUN}:
            metrics[part, "attempts"] = metrics.get((part, "attempts"), 0) + count


def _latencies(connection: Connection, run_id: int) -> Iterator[tuple[tuple[str, str], float]]:
    """Percentiles need the values in memory: 4 bytes a call, 4 MB for a million."""
    calls = _calls(run_id)
    rows = connection.execute(
        sa.select(calls).where(calls.c.latency_ms.is_not(None)), execution_options={"yield_per": 10_000}
    )
    chunks: dict[str, list[np.ndarray[Any, np.dtype[np.float32]]]] = defaultdict(list)
    for partition in rows.partitions():
        by_segment: dict[str, list[float]] = defaultdict(list)
        for segment, latency_ms in partition:
            by_segment[segment].append(latency_ms)
        for segment, values in by_segment.items():
            chunks[segment].append(np.asarray(values, dtype=np.float32))
    if chunks:
        chunks[WHOLE_RUN] = [chunk for parts in list(chunks.values()) for chunk in parts]
    for segment, parts in chunks.items():
        for percentile, value in zip(
            PERCENTILES, np.percentile(np.concatenate(parts), PERCENTILES), strict=True
        ):
            yield (segment, f"latency_ms_p{percentile}"), float(value)


def _throughput(connection: Connection, run_id: int) -> Metrics:
    claimed, ended, settled = connection.execute(
        sa.select(
            sa.func.min(RUN_ITEM.c.claimed_at), sa.func.max(RUN_ITEM.c.settled_at), sa.func.count()
        ).where(
            RUN_ITEM.c.run_id == run_id,
            RUN_ITEM.c.claimed_at.is_not(None),
            RUN_ITEM.c.status.not_in(("pending", "sending")),
        )
    ).one()
    planned = connection.execute(
        sa.select(RUN.c.started_at, RUN.c.planned_at).where(RUN.c.id == run_id)
    ).one()
    metrics: Metrics = {}
    if planned.started_at and planned.planned_at:
        metrics[WHOLE_RUN, "plan_seconds"] = (planned.planned_at - planned.started_at).total_seconds()
    # A retried item has a new claim, so the first claim that is left may lie long after the first sent.
    begun = planned.planned_at or claimed
    if claimed and ended:
        seconds = max((ended - begun).total_seconds(), 0.001)
        metrics[WHOLE_RUN, "seconds"] = seconds
        metrics[WHOLE_RUN, "throughput"] = settled / seconds
    return metrics
