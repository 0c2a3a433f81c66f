"""A run's numbers, against the same numbers computed another way."""

import statistics
from collections import Counter, defaultdict
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.ledger.claims import expire
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run
from clarion.ledger.summaries import WHOLE_RUN, count_items, read_summary, summarize, top_errors
from clarion.ledger.tables import ATTEMPT, ITEM_COUNTS, RUN, RUN_ITEM
from tests.integration.ledger_runs import claimed, new_run, planned, planned_run, result, settled, skipped

LATENCIES = {"latency_ms_p50": 50, "latency_ms_p90": 90, "latency_ms_p99": 99}

results = st.sampled_from(["succeeded", "failed", "unknown", "pending"])
calls = st.tuples(st.sampled_from("ab"), results, st.integers(0, 4_000).map(lambda quarter: quarter / 4))


def percentile(values: list[float], percent: int) -> float:
    """The percentile between the two values nearest to it."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(calls, min_size=1, max_size=25), left_out=st.integers(0, 3))
def test_summary_is_what_the_calls_add_up_to(
    database: Database, plan: list[tuple[str, str, float]], left_out: int
):
    """Counts, reasons, calls and percentiles per segment and for the whole run, from lists in memory."""
    items = [planned(row, segment=segment) for row, (segment, _, _) in enumerate(plan, 1)]
    items += [skipped(len(plan) + 1 + more, "excluded") for more in range(left_out)]
    run_id = planned_run(database, items)
    expected: dict[str, Counter[str]] = defaultdict(Counter)
    latencies: dict[str, list[float]] = defaultdict(list)
    settlements = []
    for item, (segment, status, latency_ms) in zip(claimed(database, run_id, "t"), plan, strict=True):
        reason = "why" if status in {"failed", "unknown"} else None
        outcome = "retry" if status == "pending" else None
        settlements.append(
            result(item, status, reason=reason, outcome=outcome, latency_ms=latency_ms, invocation_id="m")
        )
        for part in (segment, WHOLE_RUN):
            expected[part].update(["total", status, "attempts", *([f"{status}.why"] if reason else [])])
            latencies[part].append(latency_ms)
    settled(database, run_id, "t", *settlements)
    expected[WHOLE_RUN].update({"total": left_out, "skipped": left_out, "skipped.excluded": left_out})
    metrics = summarize(database, run_id)
    for part, counted in expected.items():
        found = {metric: value for (of, metric), value in metrics.items() if of == part and value}
        assert {metric: found.get(metric, 0) for metric in counted} == counted
        for metric, percent in LATENCIES.items():
            wanted = percentile(latencies[part], percent)
            assert metrics[part, metric] == pytest.approx(wanted, rel=1e-5, abs=1e-3)
    assert {metric for of, metric in metrics if of == "a"} <= {*expected["a"], *LATENCIES}


def test_summary_is_stored_and_replaced(database: Database):
    """The stored numbers are the computed ones; summarizing again leaves no older ones."""
    run_id = planned_run(database, 2)
    assert read_summary(database, run_id) == {}
    first = summarize(database, run_id)
    assert read_summary(database, run_id) == first
    item, other = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "succeeded", latency_ms=1.0), result(other, "succeeded"))
    second = summarize(database, run_id)
    assert ("all", "pending") in first
    assert ("all", "pending") not in second
    assert read_summary(database, run_id) == second


def test_summary_of_a_run_without_items_is_all_zero(database: Database):
    """Every count is there to be shown, and nothing that was not measured."""
    run = new_run(database)
    metrics = summarize(database, run.id)
    assert metrics == {(WHOLE_RUN, name): 0 for name in ("total", *ITEM_COUNTS)}


def test_summary_counts_a_call_once_though_its_item_ended_later(database: Database):
    """An item whose time was over after its first try has made one call, not two."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "pending", outcome="retry", latency_ms=4.0))
    assert summarize(database, run_id)[WHOLE_RUN, "attempts"] == 1
    claimed(database, run_id, "t")
    assert summarize(database, run_id)[WHOLE_RUN, "attempts"] == 1
    settled(database, run_id, "t", result(item, "pending", attempts=1))
    expire(database, run_id, reason="expired")
    metrics = summarize(database, run_id)
    assert metrics[WHOLE_RUN, "attempts"] == 1
    assert metrics[WHOLE_RUN, "latency_ms_p50"] == 4.0
    assert metrics["all", "failed.expired"] == 1


def test_summary_measures_every_call_of_an_item(database: Database):
    """A slow call that was tried again is in the percentiles, as is the quick one after it."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "pending", outcome="unknown", latency_ms=5_000.0))
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "succeeded", latency_ms=10.0))
    metrics = summarize(database, run_id)
    assert metrics["all", "attempts"] == 2
    assert metrics["all", "latency_ms_p50"] == pytest.approx(2_505)


def test_summary_of_one_run_is_not_anothers(database: Database):
    """Items and calls of other runs do not count."""
    for _ in range(2):
        run_id = planned_run(database, 3)
        (item, *_) = claimed(database, run_id, "t")
        settled(database, run_id, "t", result(item, "pending", outcome="retry", latency_ms=1.0))
    metrics = summarize(database, run_id)
    assert metrics[WHOLE_RUN, "total"] == 3
    assert metrics[WHOLE_RUN, "attempts"] == 1


def test_summary_tells_the_times_of_planning_and_sending(database: Database):
    """Seconds from start to plan, from the plan to the last result, and what was settled in them.

    The first claim does not count: a retry claims an item anew, and would make the run look faster.
    """
    run_id = planned_run(database, 4)
    one, two, three = claimed(database, run_id, "t", most=3)
    settled(
        database,
        run_id,
        "t",
        result(one, "succeeded"),
        result(two, "failed"),
        result(three, "pending", attempts=0),
    )
    begun = get_run(database, run_id).created_at
    with database.write() as connection:
        connection.execute(RUN.update().values(started_at=begun, planned_at=begun + timedelta(seconds=7)))
        of_item = RUN_ITEM.update().where(RUN_ITEM.c.claimed_at.is_not(None))
        retried_at, settled_at = begun + timedelta(seconds=15), begun + timedelta(seconds=16)
        connection.execute(of_item.values(claimed_at=retried_at, settled_at=settled_at))
        first = RUN_ITEM.update().where(RUN_ITEM.c.id == one.id)
        connection.execute(first.values(settled_at=begun + timedelta(seconds=17)))
    metrics = summarize(database, run_id)
    assert metrics[WHOLE_RUN, "plan_seconds"] == 7
    assert metrics[WHOLE_RUN, "seconds"] == 10
    assert metrics[WHOLE_RUN, "throughput"] == pytest.approx(0.2)


def test_sending_is_timed_from_the_first_claim_where_the_plan_has_no_time(database: Database):
    """A run of which only its items tell when it was sent still has a speed."""
    run_id = planned_run(database, 1)
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "succeeded"))
    begun = get_run(database, run_id).created_at
    with database.write() as connection:
        connection.execute(RUN.update().values(planned_at=None))
        connection.execute(
            RUN_ITEM.update().values(claimed_at=begun, settled_at=begun + timedelta(seconds=4))
        )
    assert summarize(database, run_id)[WHOLE_RUN, "throughput"] == pytest.approx(0.25)


def test_top_errors_are_the_most_frequent_first(database: Database):
    """Grouped by reason, code and text; an item without either does not count."""
    run_id = planned_run(database, [*(planned(row) for row in range(1, 9)), skipped(9, "excluded")])
    items = iter(claimed(database, run_id, "t"))
    faults = [("refused", "422", "no such number")] * 3 + [("refused", "401", None)] * 2
    faults += [("retries-exhausted", None, "connection refused")]
    failures = [
        result(next(items), "failed", reason=reason, error_code=code, error=error)
        for reason, code, error in faults
    ]
    settled(database, run_id, "t", *failures, *(result(item, "succeeded") for item in items))
    found = top_errors(database, run_id, statuses=("failed", "skipped"), most=5)
    assert [tuple(each.values()) for each in found] == [
        ("refused", "422", "no such number", 3),
        ("refused", "401", None, 2),
        ("retries-exhausted", None, "connection refused", 1),
    ]
    assert list(found[0]) == ["reason", "error_code", "error", "count"]
    assert top_errors(database, run_id, statuses=("failed",), most=1) == found[:1]
    assert top_errors(database, run_id, statuses=("unknown",), most=5) == []


def test_counts_as_they_are_now_are_the_items_own(database: Database):
    """Before anything is summarized the report counts the items themselves."""
    run_id = planned_run(database, [planned(1), planned(2, segment="b"), skipped(3, "no-segment")])
    counted = count_items(database, run_id)
    assert counted[WHOLE_RUN, "total"] == 3
    assert counted["b", "pending"] == 1
    assert counted[WHOLE_RUN, "skipped.no-segment"] == 1
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(ATTEMPT)) == 0
