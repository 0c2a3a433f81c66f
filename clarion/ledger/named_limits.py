"""Named limits: beside its action's own limit, an item may have to keep others, by sender, account or host.

An item is claimed only where every one of its limits lets it leave within a second; one that may not keeps
nobody else of its slice waiting. All of it happens under the lock of the action's own limit, which whoever
writes one of the named ones holds: so their order of locking does not matter.

Lines move on for what leaves. An item leaves when the last of its limits lets it, and its permit of every
other one must still be good then. Where that is long after the next permit of the action's own limit, the
item waits in the ledger: to move that line there would take the places of everybody in between.

How many calls of a limit are on their way is counted among the items that are in sending: what a crash leaves
there becomes unknown with the lease, so that no counter can leak.
"""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from clarion.ledger.claims import ClaimedItem, Slice, claim_chosen, due_items
from clarion.ledger.limits import (
    AHEAD_SECONDS,
    OWN_KEY,
    State,
    interval_seconds,
    lapse_seconds,
    locked_state,
    named_key,
)
from clarion.ledger.tables import RATE_LIMIT, RUN, RUN_ITEM

CONCURRENT_AHEAD_SECONDS = 0.1
"""How far ahead of their time permits are given out where calls are counted: who waits for it counts too."""

POLL_SECONDS = 0.1
"""When to look again for the end of somebody's call."""

LEAST_WAIT_SECONDS = 0.02
MOST_WAIT_SECONDS = 5.0
"""A slice that would wait longer makes its action rest, and with it the items of every other key."""

LOOKED_AT = 2_000
"""Most items of a slice that a claim looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedLimit:
    """A limit beside the action's own.

    `keyed` tells whether it is one for each value of a template; else all of the action's calls share it.
    """

    name: str
    tps: float | None = None
    concurrency: int | None = None
    keyed: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """An item that may leave: when, until when, in seconds of the database's clock, and what to hold back."""

    id: int
    limit_keys: str
    leave_at: float
    lapses_at: float


@dataclass(frozen=True, slots=True)
class LimitedClaim:
    """Claimed items with what lets each of them leave; `wait_seconds` until more may be claimed.

    The choices were made at `now` of the database's clock, at `read_at` of this process's monotonic one.
    """

    items: Sequence[ClaimedItem]
    choices: Sequence[Choice]
    wait_seconds: float
    now: float
    read_at: float


@dataclass(slots=True)
class Line:
    """A limit while its permits are given out: when the next is due, and room for how many more calls."""

    next_at: float
    interval: float = 0.0
    lapse: float = math.inf
    room: float = math.inf

    @property
    def patience(self) -> float:
        """How long after its permit an item may leave by plan; the rest of the lapse is for mishaps."""
        return self.lapse / 2

    def advance(self, leave_at: float) -> float:
        """Gives out a permit for a time; until when it is good."""
        place = max(self.next_at, leave_at - self.patience)
        self.next_at = place + self.interval
        self.room -= 1
        return place + self.lapse


def line_of(state: State, *, tps: float | None, room: float = math.inf) -> Line:
    """The line of a limit as it stands."""
    if tps is None:
        return Line(state.first_at(None), room=room)
    return Line(state.first_at(tps), interval_seconds(tps), lapse_seconds(tps), room)


@dataclass(kw_only=True)
class Allotment:
    """Gives permits to items, the one that may leave first before all others.

    Args:
        now: The time, in seconds of the database's clock.
        own: The line of the action's own limit.
        lines: By an item's limit keys, the lines of its named limits.
        ahead: How far ahead of its time a permit is given out, in seconds.

    After `choose`, `wait_seconds` tells when something of what is left may leave; None where nothing is left.
    """

    now: float
    own: Line
    lines: Mapping[str, Sequence[Line]]
    ahead: float
    wait_seconds: float | None = None

    def choose(self, items: Iterable[tuple[int, str]], most: int) -> list[Choice]:
        """Up to `most` of the items (id, limit keys), each group of equal keys in the given order."""
        waiting: dict[str, deque[int]] = defaultdict(deque)
        for item_id, keys in items:
            waiting[keys].append(item_id)
        queue = [(self._leave_at(keys), ids[0], keys) for keys, ids in waiting.items()]
        heapq.heapify(queue)
        chosen: list[Choice] = []
        while queue and len(chosen) < most:
            seen_at, item_id, keys = heapq.heappop(queue)
            leave_at = self._leave_at(keys)
            if leave_at > seen_at:  # another group has taken of the same line meanwhile
                heapq.heappush(queue, (leave_at, item_id, keys))
            elif not self._must_wait(keys, leave_at):
                chosen.append(self._take(item_id, keys, leave_at))
                waiting[keys].popleft()
                if waiting[keys]:
                    heapq.heappush(queue, (leave_at, waiting[keys][0], keys))
        return chosen

    def _leave_at(self, keys: str) -> float:
        return max(self.own.next_at, *(line.next_at for line in self.lines[keys]))

    def _must_wait(self, keys: str, leave_at: float) -> bool:
        """Whether an item cannot be claimed yet; notes how long that takes."""
        if any(line.room < 1 for line in self.lines[keys]):
            self._wait(POLL_SECONDS)
        elif leave_at > self.now + self.ahead:
            self._wait(leave_at - self.now - self.ahead / 2)
        elif leave_at > self.own.next_at + self.own.patience:
            self._wait(leave_at - self.now - self.own.patience)
        else:
            return False
        return True

    def _wait(self, seconds: float) -> None:
        seconds = min(max(seconds, LEAST_WAIT_SECONDS), MOST_WAIT_SECONDS)
        self.wait_seconds = min(seconds, self.wait_seconds or seconds)

    def _take(self, item_id: int, keys: str, leave_at: float) -> Choice:
        lapses_at = min(line.advance(leave_at) for line in (self.own, *self.lines[keys]))
        return Choice(item_id, keys, leave_at, lapses_at)


def named_keys(own_key: str, limits: Sequence[NamedLimit], limit_keys: str) -> list[str]:
    """The keys of an item's named limits, in their order.

    Args:
        own_key: The key of the action's own limit.
        limits: The action's.
        limit_keys: The item's values as the plan stored them; one that is missing is as empty.
    """
    values = [*orjson.loads(limit_keys or "[]"), *[""] * len(limits)]
    return [
        named_key(own_key, name=limit.name, value=value) for limit, value in zip(limits, values, strict=False)
    ]


def claim_within(
    connection: Connection,
    *,
    run_id: int,
    part: Slice,
    token: str,
    most: int,
    key: str,
    tps: float | None,
    limits: Sequence[NamedLimit],
) -> LimitedClaim:
    """Moves up to `most` due items of a slice to sending that their limits let leave; the caller counts them.

    Args:
        connection: An open write transaction.
        run_id: The run.
        part: Where to look.
        token: The worker's.
        most: At least 1.
        key: The action's own limit.
        tps: Its permits a second.
        limits: The action's named limits.
    """
    state = locked_state(connection, key)
    ahead = CONCURRENT_AHEAD_SECONDS if any(limit.concurrency for limit in limits) else AHEAD_SECONDS
    own = line_of(state, tps=tps)
    if own.next_at > state.now + (0.0 if tps is None else ahead):
        wait = own.next_at - state.now - (0.0 if tps is None else ahead / 2)
        return LimitedClaim((), (), wait, state.now, state.read_at)
    items = due_items(connection, run_id=run_id, part=part, most=LOOKED_AT)
    keys = {given: named_keys(key, limits, given) for given in {given for _, given in items}}
    lines = _lines(connection, state, own_key=key, limits=limits, keys=keys.values())
    of_items = {given: [lines[each] for each in of_it] for given, of_it in keys.items()}
    allotment = Allotment(now=state.now, own=own, lines=of_items, ahead=ahead)
    claimed, choices = _claim_chosen(connection, allotment.choose(items, most), token=token)
    if choices:
        moved = {each for choice in choices for each in keys[choice.limit_keys]}
        _store(connection, {key: own, **{each: lines[each] for each in moved}})
    wait = 0.0 if len(choices) == most else allotment.wait_seconds or 0.0
    return LimitedClaim(claimed, choices, wait, state.now, state.read_at)


def _claim_chosen(
    connection: Connection, choices: Sequence[Choice], *, token: str
) -> tuple[list[ClaimedItem], list[Choice]]:
    """Claims what was chosen; what another worker took first is not among it. In the order of leaving."""
    chosen = {choice.id: choice for choice in choices}
    claimed = claim_chosen(connection, ids=list(chosen), token=token) if chosen else []
    claimed.sort(key=lambda item: chosen[item.id].leave_at)
    return claimed, [chosen[item.id] for item in claimed]


def _lines(
    connection: Connection,
    state: State,
    *,
    own_key: str,
    limits: Sequence[NamedLimit],
    keys: Iterable[Sequence[str]],
) -> dict[str, Line]:
    """The lines of all keys that the items have."""
    limit_of = {key: limit for of_it in keys for key, limit in zip(of_it, limits, strict=True)}
    known = {row.key: row for some in _chunks(sorted(limit_of)) for row in connection.execute(_moments(some))}
    sending = _sending(connection, own_key, limits) if any(limit.concurrency for limit in limits) else {}
    lines: dict[str, Line] = {}
    for key, limit in limit_of.items():
        row = known.get(key)
        moments = (row.next_at, row.held_until) if row else (0.0, 0.0)
        room = math.inf if limit.concurrency is None else limit.concurrency - sending.get(key, 0)
        lines[key] = line_of(State(state.now, *moments, state.read_at), tps=limit.tps, room=room)
    return lines


def _chunks(keys: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _moments(keys: Sequence[str]) -> sa.Select[tuple[str, float, float]]:
    return sa.select(RATE_LIMIT.c.key, RATE_LIMIT.c.next_at, RATE_LIMIT.c.held_until).where(
        RATE_LIMIT.c.key.in_(keys)
    )


def _sending(connection: Connection, own_key: str, limits: Sequence[NamedLimit]) -> Counter[str]:
    """How many calls of each named limit are on their way, in whatever run and process."""
    count: Counter[str] = Counter()
    for limit_keys, items in connection.execute(_SENDING, {"own_key": own_key}):
        for key in named_keys(own_key, limits, limit_keys):
            count[key] += items
    return count


_SENDING = (
    sa.select(RUN_ITEM.c.limit_keys, sa.func.count())
    .join(RUN, RUN.c.id == RUN_ITEM.c.run_id)
    # Written out, so that the index serves it that has these items alone.
    .where(sa.text("run_item.status = 'sending' AND run_item.limit_keys IS NOT NULL"))
    .where(sa.bindparam("own_key") == OWN_KEY)
    .group_by(RUN_ITEM.c.limit_keys)
)


def _store(connection: Connection, lines: Mapping[str, Line]) -> None:
    """Writes how far the lines have moved; a limit without a rate has nothing to keep."""
    rows = [
        {"key": key, "next_at": line.next_at, "held_until": 0.0}
        for key, line in sorted(lines.items())
        if line.interval
    ]
    if not rows:
        return
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(RATE_LIMIT)
    moved = insert.on_conflict_do_update(
        index_elements=[RATE_LIMIT.c.key], set_={"next_at": insert.excluded.next_at}
    )
    connection.execute(moved, rows)
