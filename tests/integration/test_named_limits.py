"""Named limits in the database: who may leave when, over actions, slices, runs and processes."""

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.ledger.claims import ClaimedItem, Slice
from clarion.ledger.database import Database
from clarion.ledger.limits import (
    AHEAD_SECONDS,
    hold,
    interval_seconds,
    lapse_seconds,
    limit_key,
    named_key,
)
from clarion.ledger.named_limits import (
    Allotment,
    LimitedClaim,
    Line,
    NamedLimit,
    claim_within,
)
from clarion.ledger.runs import count_changes
from clarion.ledger.workers import register_worker, retire_worker
from clarion.planning import PlannedItem
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    planned,
    planned_run,
    result,
    settled,
    statuses,
    whole,
)

SENDER = NamedLimit(name="sender", tps=1.1)
"""Two may leave within the next second, the third not for almost another one."""

LINES = NamedLimit(name="lines", concurrency=2)
KEY = limit_key(job_name="renewals", action="send", against=None)


def of(row: int, *values: str, **changes: Any) -> PlannedItem:
    """An item with the values of its limits' keys."""
    return planned(row, limit_keys=orjson.dumps(values).decode(), **changes)


def take(
    database: Database,
    run_id: int,
    *limits: NamedLimit,
    token: str = "t",
    part: Slice | None = None,
    **options: Any,
) -> LimitedClaim:
    """A claim in a transaction of its own, counted."""
    options = {"most": 64, "key": KEY, "tps": None} | options
    with database.write() as connection:
        taken = claim_within(
            connection, run_id=run_id, part=part or whole(), token=token, limits=limits, **options
        )
        count = len(taken.items)
        count_changes(connection, run_id, {"pending": -count, "sending": count})
    return taken


def rows(items: tuple[ClaimedItem, ...] | Any) -> list[int]:
    """The rows of claimed items, in order."""
    return sorted(item.row for item in items)


def test_slow_key_keeps_nobody_else_waiting(database: Database):
    """Of a hundred items of one sender and two of another, both of the other leave at once."""
    items = [of(row, "slow") for row in range(1, 101)] + [of(101, "other"), of(102, "other")]
    run_id = planned_run(database, items)
    taken = take(database, run_id, SENDER)
    assert rows(taken.items) == [1, 2, 101, 102]
    assert 0 < taken.wait_seconds <= 1.5
    again = take(database, run_id, SENDER)
    assert again.items == []
    assert 0 < again.wait_seconds <= 1.5
    assert_counts_add_up(database, run_id)


def test_each_item_leaves_when_its_last_limit_lets_it(database: Database):
    """Under two limits permits of both are used: two a sender, and the first two as far apart as for one."""
    account = NamedLimit(name="account", tps=50.0, keyed=False)
    run_id = planned_run(database, [of(row, "", "ab"[row % 2]) for row in range(1, 41)])
    taken = take(database, run_id, account, SENDER)
    times = [choice.leave_at for choice in taken.choices]
    assert len(times) == 4
    assert times[1] - times[0] == pytest.approx(interval_seconds(50.0), abs=1e-5)
    assert times[2] - times[0] == pytest.approx(interval_seconds(1.1), abs=1e-5)
    assert Counter(choice.limit_keys for choice in taken.choices) == {'["","a"]': 2, '["","b"]': 2}


def test_limit_without_a_key_is_shared_by_all(database: Database):
    """One limit beside the action's own, for whatever the item says."""
    run_id = planned_run(database, [of(row, "") for row in range(1, 10)])
    assert len(take(database, run_id, NamedLimit(name="account", tps=2.0, keyed=False)).items) == 2


def test_item_without_stored_keys_is_limited_all_the_same(database: Database):
    """What was planned without keys shares one place: a limit is never exceeded by a gap in the ledger."""
    run_id = planned_run(database, 9)
    assert len(take(database, run_id, SENDER).items) == 2


def test_concurrency_counts_what_is_sending(database: Database):
    """Two calls at once for each key; one that ends makes room for the next."""
    run_id = planned_run(database, [of(row, "ab"[row % 2]) for row in range(1, 21)])
    token = register_worker(database, run_id)
    first = take(database, run_id, LINES, token=token)
    assert Counter(choice.limit_keys for choice in first.choices) == {'["a"]': 2, '["b"]': 2}
    full = take(database, run_id, LINES, token=token)
    assert full.items == []
    assert 0 < full.wait_seconds <= 1.5
    done = first.items[0]
    settled(database, run_id, token, result(done, "succeeded"))
    (item,) = take(database, run_id, LINES, token=token).items
    assert item.row % 2 == done.row % 2


def test_concurrency_of_a_lost_worker_comes_back(database: Database):
    """What a dead worker had on its way is unknown, and counts no more."""
    run_id = planned_run(database, [of(row, "a") for row in range(1, 5)])
    lost = register_worker(database, run_id)
    assert len(take(database, run_id, LINES, token=lost).items) == 2
    retire_worker(database, run_id, lost)
    assert statuses(database, run_id) == {"unknown": 2, "pending": 2}
    assert len(take(database, run_id, LINES).items) == 2


@pytest.mark.parametrize("limit", [SENDER, LINES])
def test_two_runs_of_one_job_share_a_limit(database: Database, limit: NamedLimit):
    """The second run gets what the first one left: nothing."""
    one = planned_run(database, [of(row, "a") for row in range(1, 5)])
    other = planned_run(database, [of(row, "a") for row in range(1, 5)])
    assert len(take(database, one, limit).items) == 2
    assert take(database, other, limit).items == []


@pytest.mark.parametrize("limit", [SENDER, LINES])
def test_other_process_and_restart_forget_nothing(database: Database, database_url: str, limit: NamedLimit):
    """What one process gave out, another one knows."""
    run_id = planned_run(database, [of(row, "a") for row in range(1, 9)])
    assert len(take(database, run_id, limit).items) == 2
    with Database(database_url) as again:
        assert take(again, run_id, limit).items == []


def test_saved_action_is_shared_by_jobs_and_an_inline_one_is_not(database: Database):
    """A block's calls count together whatever the job; an action of the same name in another job apart."""
    for action, key_of, shared in (
        ("http-action/send", "http-action/send", True),
        ("send", "job/{}/send", False),
    ):
        counts = []
        for job in ("one", "two"):
            items = [of(row, "a", action=action) for row in range(1, 5)]
            run_id = planned_run(database, items, job_name=job)
            key = limit_key(job_name=job, action=action, against=None)
            assert key == key_of.format(job)
            counts.append(len(take(database, run_id, LINES, part=whole(action), key=key).items))
        assert counts == [2, 0 if shared else 2]


def test_rehearsal_is_apart(database: Database):
    """Calls to a sandbox neither use up nor wait for what the provider allows."""
    real = planned_run(database, [of(row, "a") for row in range(1, 5)])
    rehearsal = planned_run(
        database, [of(row, "a") for row in range(1, 5)], kind="rehearsal", against="http://127.0.0.1:1"
    )
    apart = limit_key(job_name="renewals", action="send", against="http://127.0.0.1:1")
    assert len(take(database, real, LINES).items) == 2
    assert len(take(database, rehearsal, LINES, key=apart).items) == 2
    assert take(database, rehearsal, LINES, key=apart).items == []


def test_hold_of_one_key_stops_that_key_alone(database: Database):
    """A provider that throttles one sender is not asked for it again, and for the others as before."""
    run_id = planned_run(database, [of(row, "ab"[row % 2]) for row in range(1, 21)])
    with database.write() as connection:
        hold(connection, key=named_key(KEY, name="sender", value="a"), seconds=60)
    taken = take(database, run_id, SENDER)
    assert {choice.limit_keys for choice in taken.choices} == {'["b"]'}
    assert taken.wait_seconds <= 1.5


def test_hold_of_the_action_stops_all_of_it(database: Database):
    """Whatever the keys, nothing leaves, and the wait is as long as the hold."""
    run_id = planned_run(database, [of(1, "a"), of(2, "b")])
    with database.write() as connection:
        hold(connection, key=KEY, seconds=60)
    taken = take(database, run_id, SENDER)
    assert taken.items == ()
    assert 50 < taken.wait_seconds <= 60


def test_wait_for_a_key_is_bounded(database: Database):
    """A key that is far from its next call makes neither the slice nor its action rest for so long."""
    run_id = planned_run(database, [of(row, "a") for row in range(1, 4)])
    rare = NamedLimit(name="sender", tps=0.01)
    assert len(take(database, run_id, rare).items) == 1
    assert take(database, run_id, rare).wait_seconds == 5.0


def test_concurrency_is_never_exceeded_by_processes_at_once(database_url: str):
    """Four processes claim and settle at once: at no commit are more than two of a key sending."""
    databases = [Database(database_url) for _ in range(4)]
    run_id = planned_run(databases[0], [of(row, "abc"[row % 3]) for row in range(1, 91)])
    most: list[int] = []

    def work(number: int) -> None:
        database, token = databases[number], f"t{number}"
        while statuses(database, run_id).keys() & {"pending", "sending"}:
            taken = take(database, run_id, LINES, token=token, most=3)
            with database.read() as connection:
                sending = connection.exec_driver_sql(
                    "SELECT count(*) FROM run_item WHERE status = 'sending' GROUP BY limit_keys"
                )
                most.extend(sending.scalars())
            if taken.items:
                settled(database, run_id, token, *(result(item, "succeeded") for item in taken.items))

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, number) for number in range(4)]:
            done.result()
    assert statuses(databases[0], run_id) == {"succeeded": 90}
    assert max(most) <= 2
    for database in databases:
        database.close()


TPS = st.sampled_from([0.5, 1.0, 3.0, 10.0, 50.0, 400.0])


@given(
    own=st.none() | TPS,
    tps=st.lists(TPS, min_size=1, max_size=4),
    rounds=st.lists(
        st.tuples(st.floats(0, 1.5), st.lists(st.integers(0, 3), max_size=40)), min_size=1, max_size=6
    ),
)
def test_allotments_keep_every_limit(
    own: float | None, tps: list[float], rounds: list[tuple[float, list[int]]]
):
    """Whatever comes when: no item leaves before its time or after its permit, and no limit is exceeded."""
    lines = {
        number: Line(0.0, interval_seconds(each), lapse_seconds(each)) for number, each in enumerate(tps)
    }
    own_line = Line(0.0, interval_seconds(own), lapse_seconds(own)) if own else Line(0.0)
    now, given_out = 0.0, defaultdict(list)
    for passed, numbers in rounds:
        now += passed
        for line in (own_line, *lines.values()):
            line.next_at = max(line.next_at, now)
        allotment = Allotment(
            now=now,
            own=own_line,
            lines={str(number): [line] for number, line in lines.items()},
            ahead=AHEAD_SECONDS,
        )
        items = [(index, str(number % len(tps))) for index, number in enumerate(numbers)]
        chosen = allotment.choose(items, 16)
        assert len(chosen) == len({choice.id for choice in chosen})
        assert len(chosen) == min(16, len(items)) or allotment.wait_seconds is not None
        for choice in chosen:
            assert now - 1e-9 <= choice.leave_at <= now + AHEAD_SECONDS + 1e-9
            assert choice.lapses_at > choice.leave_at
            given_out[int(choice.limit_keys)].append(choice.leave_at)
            given_out["own"].append(choice.leave_at)
    rates = dict(enumerate(tps)) | ({"own": own} if own else {})
    for name, rate in rates.items():
        times = sorted(given_out[name])
        for start in times:
            for window, most in ((1.0, rate + max(1.0, rate / 10)), (5.0, 5 * rate + 2)):
                assert sum(start <= each < start + window for each in times) <= most
