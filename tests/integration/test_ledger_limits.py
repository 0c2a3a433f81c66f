"""Rate limits in the database: permits, holds, and what is given back."""

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
from clarion.ledger.limits import AHEAD_SECONDS, Permits, give_back, hold, take_permits
from clarion.ledger.tables import RATE_LIMIT

KEY = "job/renewals/send"
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
    """Of 10 a second those of the next second are given out, a tenth apart; then one has to wait."""
    permits = take(database, tps=10, most=64)
    assert permits.delays == pytest.approx([place / 10 for place in range(11)], abs=TOLERANCE_SECONDS)
    after = take(database, tps=10, most=1)
    assert after.delays == ()
    assert after.wait_seconds == pytest.approx(1.1, abs=TOLERANCE_SECONDS)
    clock.seconds = 0.2
    assert take(database, tps=10, most=1).delays == pytest.approx([0.9], abs=TOLERANCE_SECONDS)


def test_permits_rarer_than_one_a_second(database: Database, clock: Clock):
    """One in five seconds: the next one is told to wait for, and is there when its time comes."""
    assert take(database, tps=0.2, most=5).delays == (0.0,)
    assert take(database, tps=0.2, most=5).wait_seconds == pytest.approx(5, abs=TOLERANCE_SECONDS)
    clock.seconds = 4.5
    assert take(database, tps=0.2, most=5).delays == pytest.approx([0.5], abs=TOLERANCE_SECONDS)
    clock.seconds = 9.0
    assert take(database, tps=0.2, most=5).delays == pytest.approx([1.0], abs=TOLERANCE_SECONDS)


def test_limit_that_was_idle_starts_anew(database: Database, clock: Clock):
    """What nobody took in an hour is not caught up on in a burst."""
    take(database, tps=10, most=1)
    clock.seconds = 3_600
    assert len(take(database, tps=10, most=64).delays) == 11


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
    assert held.wait_seconds == pytest.approx(30, abs=TOLERANCE_SECONDS)
    clock.seconds = 29.5
    assert take(database, tps=10, most=2).delays == pytest.approx([0.5, 0.6], abs=TOLERANCE_SECONDS)


def test_longer_hold_stays(database: Database, clock: Clock):
    """A later and shorter hold does not let anybody through earlier."""
    hold_back(database, 60)
    hold_back(database, 2)
    assert take(database, tps=10, most=1).wait_seconds == pytest.approx(60, abs=TOLERANCE_SECONDS)


def test_limits_do_not_share_permits(database: Database, clock: Clock):
    """Each key has its own line."""
    assert take(database, tps=1, most=1, key="a").delays == (0.0,)
    assert take(database, tps=1, most=1, key="b").delays == (0.0,)


def test_permits_survive_a_restart(database: Database, database_url: str, clock: Clock):
    """Another process goes on behind what was given out."""
    take(database, tps=1, most=2)
    again = Database(database_url)
    Clock(again)
    assert take(again, tps=1, most=1).wait_seconds == pytest.approx(2, abs=TOLERANCE_SECONDS)
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
    last, held_until = float("-inf"), float("-inf")
    with database.write() as connection:
        connection.execute(RATE_LIMIT.delete())
    for passed, most, share, hold_seconds in steps:
        clock.seconds = round(clock.seconds + passed, 6)  # as exact as the database's clock
        first_possible = max(clock.seconds, held_until, last + 1 / tps)
        with database.write() as connection:
            permits = take_permits(connection, key=KEY, tps=tps, most=most)
            used = int(len(permits.delays) * share)
            if used < len(permits.delays):
                give_back(connection, key=KEY, tps=tps, count=len(permits.delays) - used)
        times = [clock.seconds + delay for delay in permits.delays]
        if times:
            assert times[0] == pytest.approx(first_possible, abs=TOLERANCE_SECONDS)
            assert times[-1] <= clock.seconds + AHEAD_SECONDS + TOLERANCE_SECONDS
            assert all(b - a >= 1 / tps - TOLERANCE_SECONDS for a, b in pairwise(times))
            room = clock.seconds + AHEAD_SECONDS - times[-1]
            assert len(times) == most or room <= 1 / tps + TOLERANCE_SECONDS
        else:
            assert first_possible > clock.seconds + AHEAD_SECONDS - TOLERANCE_SECONDS
            wait = first_possible - clock.seconds
            assert permits.wait_seconds == pytest.approx(wait, abs=TOLERANCE_SECONDS)
        last = times[used - 1] if used else last
        if hold_seconds:
            hold_back(database, hold_seconds)
            held_until = max(held_until, clock.seconds + hold_seconds)


def test_permits_of_many_takers_at_once_keep_their_distance(database_url: str):
    """Whoever takes at the same time, and gives back, never shares a place in the line with another."""
    tps, takers = 2_000.0, 4
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
            places += [end - (taken - place) / tps for place in range(used)]
        return places

    with ThreadPoolExecutor(takers) as threads:
        places = sorted(place for some in threads.map(take_some, range(takers)) for place in some)
    for database in databases:
        database.close()
    assert len(places) > 50
    assert min(b - a for a, b in pairwise(places)) >= 1 / tps - TOLERANCE_SECONDS
