"""Rate limits in the database: permits, holds, and what is given back."""

import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from clarion.ledger.database import Database, utc_now
from clarion.ledger.limits import (
    AHEAD_SECONDS,
    REFILL_SECONDS,
    Permits,
    give_back,
    hold,
    interval_seconds,
    lapse_seconds,
    take_permits,
)
from clarion.ledger.tables import RATE_LIMIT

KEY = "job/renewals/send"
TENTH = interval_seconds(10)
TOLERANCE_SECONDS = 1e-5
"""Seconds since the epoch as a float are exact to a quarter of a microsecond; sums of them a little less."""

BEGIN = datetime(2026, 12, 1, 9, tzinfo=UTC)


class Clock:
    """Stands in for the database's clock, in whatever statement reads it.

    Args:
        database: The ledger.
    """

    def __init__(self, database: Database) -> None:
        self.seconds = 0.0
        self._real = str(utc_now().compile(database.engine))
        self._literal = "'{}'" if database.dialect == "sqlite" else "timestamptz '{}+00'"
        event.listen(database.engine, "before_cursor_execute", self._set, retval=True)

    def _set(self, _c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        moment = BEGIN + timedelta(seconds=self.seconds)
        literal = self._literal.format(f"{moment:%Y-%m-%d %H:%M:%S.%f}")
        return statement.replace(self._real, literal), parameters


@pytest.fixture
def clock(database: Database) -> Clock:
    """A clock that goes when a test says so."""
    return Clock(database)


def take(database: Database, *, tps: float | None, most: int, key: str = KEY) -> Permits:
    """Takes permits in a transaction of its own."""
    with database.write() as connection:
        return take_permits(connection, key=key, tps=tps, most=most)


def hold_back(database: Database, seconds: float) -> None:
    """Holds the limit back in a transaction of its own."""
    with database.write() as connection:
        hold(connection, key=KEY, seconds=seconds)


def test_permits_are_evenly_spaced(database: Database, clock: Clock):
    """Of 10 a second those of the next second are given out, then one has to wait for half of it."""
    permits = take(database, tps=10, most=64)
    assert permits.delays == pytest.approx([place * TENTH for place in range(10)], abs=TOLERANCE_SECONDS)
    assert permits.wait_seconds == pytest.approx(10 * TENTH - REFILL_SECONDS, abs=TOLERANCE_SECONDS)
    after = take(database, tps=10, most=1)
    assert after.delays == ()
    assert after.wait_seconds == pytest.approx(10 * TENTH - REFILL_SECONDS, abs=TOLERANCE_SECONDS)
    clock.seconds = 0.2
    assert take(database, tps=10, most=1).delays == pytest.approx([10 * TENTH - 0.2], abs=TOLERANCE_SECONDS)


def test_permits_rarer_than_one_a_second(database: Database, clock: Clock):
    """One in five seconds: the next one is told to wait for, and is there when its time comes."""
    apart = interval_seconds(0.2)
    assert 5 <= apart < 5 / 0.9
    assert take(database, tps=0.2, most=5).delays == (0.0,)
    wait = take(database, tps=0.2, most=5).wait_seconds
    assert wait == pytest.approx(apart - REFILL_SECONDS, abs=TOLERANCE_SECONDS)
    clock.seconds = apart - 0.5
    assert take(database, tps=0.2, most=5).delays == pytest.approx([0.5], abs=TOLERANCE_SECONDS)
    clock.seconds = 2 * apart - 1
    assert take(database, tps=0.2, most=5).delays == pytest.approx([1.0], abs=TOLERANCE_SECONDS)


def test_limit_that_was_idle_starts_anew(database: Database, clock: Clock):
    """What nobody took in an hour is not caught up on in a burst."""
    take(database, tps=10, most=1)
    clock.seconds = 3_600
    assert len(take(database, tps=10, most=64).delays) == 10


def test_permit_that_was_just_missed_is_made_up_for(database: Database, clock: Clock):
    """Whoever comes a little late takes the place that was due, which keeps the mean; not one long past."""
    take(database, tps=200, most=1)
    clock.seconds = interval_seconds(200) + lapse_seconds(200) / 2 - 0.001
    late = take(database, tps=200, most=1).delays
    assert late == pytest.approx([0.001 - lapse_seconds(200) / 2], abs=TOLERANCE_SECONDS)
    clock.seconds += 0.1
    assert take(database, tps=200, most=1).delays == (0.0,)


@given(
    tps=st.floats(0.01, 100_000) | st.integers(1, 1_000).map(float),
    late=st.lists(st.floats(0, 1), min_size=2, max_size=40),
)
def test_permits_used_late_keep_the_promise(tps: float, late: list[float]):
    """However late within the lapse calls leave, no second and no five seconds have too many of them.

    As few as possible calls late is the worst case: those before a window that slip into it.
    """
    apart, lapse = interval_seconds(tps), lapse_seconds(tps)
    assert 0 < lapse <= 5 / tps + 1
    for window, most in ((1.0, tps + max(1.0, tps / 10)), (5.0, 5 * tps + 2), (60.0, 60 * tps + 2)):
        slipped_in = math.floor(lapse * (1 - 1e-9) / apart)  # permits due within a lapse before the window
        assert slipped_in + math.ceil(window / apart) <= most + 1e-6
    times = sorted(place * apart + share * lapse for place, share in enumerate(late))
    for start in times:
        assert sum(start <= each < start + 1 for each in times) <= tps + max(1.0, tps / 10)


def test_limit_without_a_rate_lets_everything_pass(database: Database, clock: Clock):
    """Only a hold stops it, from its first moment to its last."""
    assert take(database, tps=None, most=64).delays == (0.0,) * 64
    hold_back(database, 0.5)
    held = take(database, tps=None, most=64)
    assert held.delays == ()
    assert held.wait_seconds == pytest.approx(0.5, abs=TOLERANCE_SECONDS)
    clock.seconds = 0.6
    assert take(database, tps=None, most=2).delays == (0.0, 0.0)


def test_hold_moves_every_permit_behind_it(database: Database, clock: Clock):
    """A hold longer than a second gives none out; a shorter one those after its end."""
    hold_back(database, 30)
    held = take(database, tps=10, most=5)
    assert held.delays == ()
    assert held.wait_seconds == pytest.approx(30 - REFILL_SECONDS, abs=TOLERANCE_SECONDS)
    clock.seconds = 29.5
    assert take(database, tps=10, most=2).delays == pytest.approx([0.5, 0.5 + TENTH], abs=TOLERANCE_SECONDS)


def test_longer_hold_stays(database: Database, clock: Clock):
    """A later and shorter hold does not let anybody through earlier."""
    hold_back(database, 60)
    hold_back(database, 2)
    wait = take(database, tps=10, most=1).wait_seconds
    assert wait == pytest.approx(60 - REFILL_SECONDS, abs=TOLERANCE_SECONDS)


def test_limits_do_not_share_permits(database: Database, clock: Clock):
    """Each key has its own line."""
    assert take(database, tps=1, most=1, key="a").delays == (0.0,)
    assert take(database, tps=1, most=1, key="b").delays == (0.0,)


def test_permits_survive_a_restart(database: Database, database_url: str, clock: Clock):
    """Another process goes on behind what was given out."""
    take(database, tps=1, most=2)
    again = Database(database_url)
    Clock(again)
    wait = take(again, tps=1, most=1).wait_seconds
    assert wait == pytest.approx(interval_seconds(1) - REFILL_SECONDS, abs=TOLERANCE_SECONDS)
    again.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tps=st.sampled_from([0.2, 0.9, 1.0, 3.0, 7.5, 30.0, 1_000.0]),
    steps=st.lists(
        st.tuples(
            st.floats(0, 3),  # seconds that pass before
            st.integers(1, 64),  # how many are asked for
            st.floats(0, 1),  # which share of them is used
            st.sampled_from([0.0] * 6 + [0.3, 2.0]),  # seconds of a hold after it
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_permits_keep_their_distance_and_none_is_lost(
    database: Database, clock: Clock, tps: float, steps: list[tuple[float, int, float, float]]
):
    """Used permits are never closer than the rate allows, none before a hold ends, none too late."""
    clock.seconds = 0.0
    apart = interval_seconds(tps)
    next_at, held_until, last = float("-inf"), float("-inf"), float("-inf")
    with database.write() as connection:
        connection.execute(RATE_LIMIT.delete())
    for passed, most, share, hold_seconds in steps:
        clock.seconds = round(clock.seconds + passed, 6)  # as exact as the database's clock
        missed = next_at < clock.seconds - lapse_seconds(tps) / 2 - TOLERANCE_SECONDS
        first_possible = max(clock.seconds if missed else next_at, held_until)
        with database.write() as connection:
            permits = take_permits(connection, key=KEY, tps=tps, most=most)
            used = int(len(permits.delays) * share)
            if used < len(permits.delays):
                give_back(connection, key=KEY, tps=tps, count=len(permits.delays) - used)
        times = [clock.seconds + delay for delay in permits.delays]
        if times:
            assert times[0] == pytest.approx(first_possible, abs=TOLERANCE_SECONDS)
            assert times[0] >= last + apart - TOLERANCE_SECONDS
            assert times[-1] <= clock.seconds + AHEAD_SECONDS + TOLERANCE_SECONDS
            assert all(b - a >= apart - TOLERANCE_SECONDS for a, b in pairwise(times))
            room = clock.seconds + AHEAD_SECONDS - times[-1]
            assert len(times) == most or room <= apart + TOLERANCE_SECONDS
        else:
            assert first_possible > clock.seconds + AHEAD_SECONDS - TOLERANCE_SECONDS
            wait = first_possible - clock.seconds - REFILL_SECONDS
            assert permits.wait_seconds == pytest.approx(wait, abs=TOLERANCE_SECONDS)
        next_at = times[0] + used * apart if times else next_at
        last = times[used - 1] if used else last
        if hold_seconds:
            hold_back(database, hold_seconds)
            held_until = max(held_until, clock.seconds + hold_seconds)


def test_permits_of_many_takers_at_once_keep_their_distance(database_url: str):
    """Whoever takes at the same time, and gives back, never shares a place in the line with another."""
    tps, takers = 2_000.0, 4
    apart = interval_seconds(tps)
    databases = [Database(database_url) for _ in range(takers)]
    start = threading.Barrier(takers)

    def take_some(number: int) -> list[float]:
        chance, places = random.Random(number), []
        start.wait()
        for _ in range(20):
            with databases[number].write() as connection:
                permits = take_permits(connection, key=KEY, tps=tps, most=chance.randint(1, 10))
                taken = len(permits.delays)
                # Where the line ends tells when each permit falls due, by the database's clock.
                end = connection.execute(sa.select(RATE_LIMIT.c.next_at)).scalar_one()
                used = chance.randint(0, taken)
                if used < taken:
                    give_back(connection, key=KEY, tps=tps, count=taken - used)
            places += [end - (taken - place) * apart for place in range(used)]
        return places

    with ThreadPoolExecutor(takers) as threads:
        places = sorted(place for some in threads.map(take_some, range(takers)) for place in some)
    for database in databases:
        database.close()
    assert len(places) > 50
    assert min(b - a for a, b in pairwise(places)) >= apart - TOLERANCE_SECONDS
