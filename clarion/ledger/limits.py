"""Rate limits that every worker shares, kept in the database and given out with the claims.

A limit is one number: the moment up to which permits are given out. A permit is a place in that line, and
whoever takes places moves the moment on in the transaction that claims the items. So several workers never
exceed the limit together, and a restart forgets nothing.

What a provider counts are arrivals, and those come later than their permits: a commit, a busy loop or a full
connection pool shifts some and not others. Therefore a permit is good for a short while only, the line goes
a little slower than asked, and both together keep the promise: never more than tps + max(1, 10 %) calls in a
second, at most tps x T + 2 in any T >= 5 s.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from clarion.ledger.database import utc_now
from clarion.ledger.tables import RATE_LIMIT, RUN, RUN_ITEM

AHEAD_SECONDS = 1.0
"""How far ahead of their time permits are given out: what is claimed leaves within a second."""

REFILL_SECONDS = 0.5
"""How far ahead the line still is when it is worth asking again, so that it never stands still."""

PACE = 0.98
"""Part of the asked rate that the line goes at. Calls that come late by 0.1 s would otherwise add up to more
than tps x T + 2 in a window that begins with late ones and ends with punctual ones."""

USED_SHARE = 0.75
"""Part of the lateness that the promise has room for that is used up here; the network has the rest."""

SEPARATOR = "\x1f"
"""Between the parts of a named limit's key; no name holds it."""


def limit_key(*, job_name: str, action: str, against: str | None) -> str:
    """The key of an action's own limit: a saved action by its block, an inline one by job and name.

    A rehearsal has limits of its own.
    """
    apart = f"against/{against}/" if against else ""
    return f"{apart}{action if '/' in action else f'job/{job_name}/{action}'}"


OWN_KEY = sa.case((RUN.c.against.is_(None), ""), else_="against/" + RUN.c.against + "/") + sa.case(
    (RUN_ITEM.c.action.like("%/%"), RUN_ITEM.c.action),
    else_="job/" + RUN.c.job_name + "/" + RUN_ITEM.c.action,
)
"""The same of an item and its run, in SQL."""


def named_key(own_key: str, *, name: str, value: str) -> str:
    """The key of a named limit of an action, for one value of its template."""
    return f"{own_key}{SEPARATOR}{name}{SEPARATOR}{value}"


def own_key_of(key: str) -> str:
    """The key of the action's own limit, of that or of one of its named limits."""
    return key.partition(SEPARATOR)[0]


def interval_seconds(tps: float) -> float:
    """From one permit to the next."""
    return 1 / (tps * PACE)


def lapse_seconds(tps: float) -> float:
    """How long after its time a permit is still good.

    Calls that are up to J late number at most `r (T + J) + 1` in T seconds, r being the line's pace. With the
    two promises put in for T = 1 (where whole calls count: the last one is one of them) and T = 5, these are
    the longest J. Above 10 a second it is some 0.08 s, at 1 a second 0.8.
    """
    pace = tps * PACE
    of_a_second = math.floor(tps + max(1.0, tps / 10)) / pace - 1
    of_five = (5 * tps + 1) / pace - 5
    return USED_SHARE * min(of_a_second, of_five)


@dataclass(frozen=True, slots=True)
class Permits:
    """Places in the line.

    `delays` are seconds from `read_at` (of this process's monotonic clock) until each, below 0 for one whose
    time has just passed; each is good for `lapse_seconds`. Where there are fewer than were asked for,
    `wait_seconds` is how long to wait before asking again.
    """

    delays: Sequence[float]
    wait_seconds: float
    read_at: float = 0.0
    lapse_seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class State:
    """A limit's two moments, and when they were read, by the database's clock and by this process's."""

    now: float
    next_at: float
    held_until: float
    read_at: float

    def first_at(self, tps: float | None) -> float:
        """When the next permit is due. What nobody took is not caught up on but for half of a lapse."""
        if tps is None:
            return max(self.now, self.held_until)
        missed = self.next_at < self.now - lapse_seconds(tps) / 2
        return max(self.now if missed else self.next_at, self.held_until)


def take_permits(connection: Connection, *, key: str, tps: float | None, most: int) -> Permits:
    """Takes up to `most` permits that fall due within a second.

    Args:
        connection: An open write transaction.
        key: The limit.
        tps: Permits a second; None means that only a hold limits.
        most: At least 1.
    """
    state = locked_state(connection, key)
    first = state.first_at(tps) - state.now
    if tps is None:
        return Permits((), first, state.read_at) if first > 0 else Permits((0.0,) * most, 0.0, state.read_at)
    if first > AHEAD_SECONDS:
        return Permits((), first - REFILL_SECONDS, state.read_at)
    interval = interval_seconds(tps)
    count = min(most, int((AHEAD_SECONDS - first) / interval) + 1)
    after = first + count * interval
    _store(connection, key, next_at=state.now + after)
    return Permits(
        tuple(first + place * interval for place in range(count)),
        0.0 if count == most else after - REFILL_SECONDS,
        state.read_at,
        lapse_seconds(tps),
    )


def give_back(connection: Connection, *, key: str, tps: float, count: int) -> None:
    """Returns the last `count` permits that the same transaction took."""
    earlier = RATE_LIMIT.c.next_at - count * interval_seconds(tps)
    connection.execute(RATE_LIMIT.update().where(RATE_LIMIT.c.key == key).values(next_at=earlier))


def hold(connection: Connection, *, key: str, seconds: float) -> None:
    """Holds everyone who shares the limit back for so long; a longer hold stays.

    The named limits of an action are only written by whoever has locked the action's own.
    """
    if own_key_of(key) != key:
        locked_state(connection, own_key_of(key))
    state = locked_state(connection, key)
    _store(connection, key, held_until=max(state.held_until, state.now + seconds))


def locked_state(connection: Connection, key: str) -> State:
    """The limit's state, all moments in seconds since the epoch; locks the limit."""
    row = connection.execute(_LOCK, {"limit": key}).one_or_none()
    if row is None:
        insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(RATE_LIMIT)
        connection.execute(insert.values(key=key, next_at=0, held_until=0).on_conflict_do_nothing())
        row = connection.execute(_LOCK, {"limit": key}).one()
    now = connection.execute(_NOW).scalar_one()  # after the wait for the lock
    return State(now.timestamp(), row.next_at, row.held_until, time.monotonic())


# Every claim runs them: to put them together anew takes longer than that.
_LOCK = (
    sa.select(RATE_LIMIT.c.next_at, RATE_LIMIT.c.held_until)
    .where(RATE_LIMIT.c.key == sa.bindparam("limit"))
    .with_for_update()
)
_NOW = sa.select(utc_now())


def _store(connection: Connection, key: str, **moments: float) -> None:
    connection.execute(RATE_LIMIT.update().where(RATE_LIMIT.c.key == key).values(**moments))
