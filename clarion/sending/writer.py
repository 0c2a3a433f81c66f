"""The ledger's writer: one thread a process that commits claims and results in groups.

Whatever has gathered while the last commit was on its way goes into the next one. A single message is
committed at once; where much is to do, a commit waits a few milliseconds for more.

Every process locks in the same order, so that none waits for another in a circle on PostgreSQL: its lease,
the items that it settles, the rate limits by name, the counters of the runs by number.
"""

import asyncio
import math
import queue
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from clarion.errors import LedgerError
from clarion.ledger.claims import (
    ClaimedItem,
    OpenWork,
    Settlement,
    Slice,
    claim,
    lock_items,
    open_work,
    settle,
)
from clarion.ledger.database import Database
from clarion.ledger.limits import give_back, hold, own_key_of, take_permits
from clarion.ledger.named_limits import NamedLimit, claim_within, named_keys
from clarion.ledger.runs import count_changes
from clarion.ledger.suppressed_claims import suppress_refused, without_suppressed
from clarion.ledger.workers import read_control, renew_lease

MOST_AT_ONCE = 1_000
BUSY_FROM = 8
"""Operations of a commit from which on the next one waits for more."""

GATHER_SECONDS = 0.003
"""How long it waits. A commit costs a millisecond of work and a sync of the disk: three times fewer of them
made a run a third faster."""

COMMIT_TRIES = 6
FIRST_RETRY_SECONDS = 0.2

_UNWRITABLE = (DataError, IntegrityError, ProgrammingError)
"""What the database says of something that it will not take however often it is asked."""

Changes = Counter[tuple[int, str]]
"""(run, counter) to the difference that a transaction makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What paces an action: the key that all its users share, and its permits a second (None: no limit).

    `named` are the limits beside it, of each item by the keys that it was planned with.
    """

    key: str
    tps: float | None
    named: tuple[NamedLimit, ...] = ()

    def held_key(self, limit_keys: str) -> str:
        """What a throttled answer holds back: the last named limit that has a key, else the action's own."""
        keys = named_keys(self.key, self.named, limit_keys)
        keyed = [key for key, limit in zip(keys, self.named, strict=True) if limit.keyed]
        return keyed[-1] if keyed else self.key


class Permit(NamedTuple):
    """When an item may leave, and until when, by this process's monotonic clock.

    `limit` is the key of what its answer holds back, where it is throttled.
    """

    leave_at: float
    lapses_at: float
    limit: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """Items of one claim with the permit of each.

    Where there are fewer than asked for because of the limits, `wait_seconds` is how long to wait for more.
    """

    items: Sequence[ClaimedItem]
    permits: Sequence[Permit]
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat's news: whether the lease still holds, and what a person asks for."""

    leased: bool
    control: str


@dataclass(slots=True, kw_only=True)
class _Operation:
    """Something to do in the next transaction.

    `done` is called afterwards with the error; where there is none, `result` is set by then. `lease` is done
    before the settlements and `apply` after them, so that claims see their holds; `limit` is the key of the
    rate limit that `apply` locks.
    """

    done: Callable[[Exception | None], None]
    lease: Callable[[Connection], Any] | None = None
    settlement: tuple[int, str, Settlement] | None = None
    hold: tuple[str, float] | None = None
    apply: Callable[[Connection, Changes], Any] | None = None
    limit: str = ""
    result: Any = field(default=None)


class LedgerWriter:
    """Writes for the sender.

    Args:
        database: The ledger.
        loop: The loop whose coroutines await the results.
    """

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._loop = loop
        self._queue: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="clarion-ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commits what is queued and ends the thread."""
        self._queue.put(None)
        self._thread.join()

    async def claim(self, run_id: int, part: Slice, *, token: str, most: int, limit: Limit) -> Claimed:
        """Claims up to `most` items of a slice that have a permit to leave within a second."""

        def apply(connection: Connection, changes: Changes) -> Claimed:
            claim_some = _claim_limited if limit.named else _claim_paced
            claimed = claim_some(connection, run_id, part, changes, token=token, most=most, limit=limit)
            changes[run_id, "pending"] -= len(claimed.items)
            changes[run_id, "sending"] += len(claimed.items)
            return claimed

        return await self._submit(apply=apply, limit=limit.key)

    def settle(
        self,
        run_id: int,
        settlement: Settlement,
        *,
        token: str,
        done: Callable[[Exception | None], None],
        held: tuple[str, float] | None = None,
    ) -> None:
        """Records what became of an item with one of the next commits.

        Args:
            run_id: The run.
            settlement: What became of it.
            token: The worker's lease.
            done: Called in the loop once it is committed, or with the error that keeps it out.
            held: Also holds a limit back for so many seconds.
        """
        self._queue.put(_Operation(done=done, settlement=(run_id, token, settlement), hold=held))

    async def open_work(self, run_id: int, part: Slice) -> OpenWork:
        """What of a slice is still pending."""
        return await self._submit(apply=lambda connection, _: open_work(connection, run_id=run_id, part=part))

    async def beat(self, run_id: int, token: str) -> Beat:
        """Renews the worker's lease and reads the run's control."""
        return await self._submit(
            lease=lambda connection: Beat(renew_lease(connection, token), read_control(connection, run_id))
        )

    def _submit(self, **operation: Any) -> asyncio.Future[Any]:
        """An operation whose result somebody awaits."""
        future: asyncio.Future[Any] = self._loop.create_future()
        queued = _Operation(done=lambda error: _tell(future, queued, error), **operation)
        self._queue.put(queued)
        return future

    def _run(self) -> None:
        while batch := self._gather():
            self._commit_or_tell(batch)

    def _commit_or_tell(self, batch: Sequence[_Operation]) -> None:
        """Commits, and tells whoever awaits the results.

        What cannot be written fails alone: the batch is halved until the rest of it is committed.
        """
        error: Exception | None = None
        try:
            self._commit_patiently(batch)
        except Exception as exc:  # noqa: BLE001  # told to whoever awaits the result
            if len(batch) > 1 and not isinstance(exc, LedgerError):
                middle = len(batch) // 2
                self._commit_or_tell(batch[:middle])
                self._commit_or_tell(batch[middle:])
                return
            error = exc
        self._loop.call_soon_threadsafe(_resolve, batch, error)

    def _gather(self) -> list[_Operation]:
        """What waits in the queue, at least one operation; empty at the end."""
        first = self._queue.get()
        if first is None:
            return []
        if self._busy:
            time.sleep(GATHER_SECONDS)
        batch = [first]
        while len(batch) < MOST_AT_ONCE:
            try:
                operation = self._queue.get_nowait()
            except queue.Empty:
                break
            if operation is None:
                self._queue.put(None)
                break
            batch.append(operation)
        self._busy = len(batch) >= BUSY_FROM
        return batch

    def _commit_patiently(self, batch: Sequence[_Operation]) -> None:
        """Commits; tries again for some seconds where the database is away, because an answer is not lost."""
        for number in range(COMMIT_TRIES):
            try:
                return self._commit(batch)
            except _UNWRITABLE:
                raise
            except DBAPIError as exc:
                if number == COMMIT_TRIES - 1:
                    raise LedgerError(f"cannot write to the database: {exc.orig}") from exc
                time.sleep(FIRST_RETRY_SECONDS * 2**number)
        return None

    def _commit(self, batch: Sequence[_Operation]) -> None:
        changes: Changes = Counter()
        with self._database.write() as connection:
            for operation in batch:
                if operation.lease is not None:
                    operation.result = operation.lease(connection)
            _settle(connection, batch, changes)
            _pace_and_apply(connection, batch, changes)
            for run_id in sorted({run_id for run_id, _ in changes}):
                count_changes(
                    connection, run_id, {name: n for (of, name), n in changes.items() if of == run_id}
                )


def _claim_paced(
    connection: Connection,
    run_id: int,
    part: Slice,
    changes: Changes,
    *,
    token: str,
    most: int,
    limit: Limit,
) -> Claimed:
    """A claim of what the action's own limit lets leave."""
    permits = take_permits(connection, key=limit.key, tps=limit.tps, most=most)
    if not permits.delays:
        return Claimed((), (), permits.wait_seconds)
    items = claim(connection, run_id=run_id, part=part, token=token, most=len(permits.delays))
    items = without_suppressed(connection, run_id, items, changes)
    if limit.tps is None:
        return Claimed(items, (Permit(0.0, math.inf, limit.key),) * len(items), 0.0)
    spare = len(permits.delays) - len(items)
    if spare:
        give_back(connection, key=limit.key, tps=limit.tps, count=spare)
    times = [permits.read_at + delay for delay in permits.delays[: len(items)]]
    given = [Permit(time_, time_ + permits.lapse_seconds, limit.key) for time_ in times]
    return Claimed(items, given, 0.0 if spare else permits.wait_seconds)


def _claim_limited(
    connection: Connection,
    run_id: int,
    part: Slice,
    changes: Changes,
    *,
    token: str,
    most: int,
    limit: Limit,
) -> Claimed:
    """A claim of what every limit of an item lets leave."""
    claimed = claim_within(
        connection,
        run_id=run_id,
        part=part,
        token=token,
        most=most,
        key=limit.key,
        tps=limit.tps,
        limits=limit.named,
    )
    ahead = claimed.read_at - claimed.now  # from the database's clock to this process's
    permits = [
        Permit(each.leave_at + ahead, each.lapses_at + ahead, limit.held_key(each.limit_keys))
        for each in claimed.choices
    ]
    items = without_suppressed(connection, run_id, claimed.items, changes)
    if len(items) < len(permits):  # their places in the lines of their limits stay empty
        given = {item.id: permit for item, permit in zip(claimed.items, permits, strict=True)}
        permits = [given[item.id] for item in items]
    return Claimed(items, permits, claimed.wait_seconds)


def _settle(connection: Connection, batch: Sequence[_Operation], changes: Changes) -> None:
    by_run: dict[int, dict[str, list[Settlement]]] = defaultdict(lambda: defaultdict(list))
    for operation in batch:
        if operation.settlement is not None:
            run_id, token, settlement = operation.settlement
            by_run[run_id][token].append(settlement)
    for run_id, by_token in sorted(by_run.items()):
        if len(by_token) > 1:
            lock_items(connection, [each.item.id for results in by_token.values() for each in results])
        for token, results in by_token.items():
            changes.update(suppress_refused(connection, run_id, results))
            moved = settle(connection, run_id=run_id, token=token, results=results)
            changes.update({(run_id, status): change for status, change in moved.items()})


def _pace_and_apply(connection: Connection, batch: Sequence[_Operation], changes: Changes) -> None:
    """Action by action: first what holds its limits back, then the claims that they pace."""
    holds: dict[str, dict[str, float]] = defaultdict(dict)
    paced: dict[str, list[tuple[_Operation, Callable[[Connection, Changes], Any]]]] = defaultdict(list)
    for operation in batch:
        if operation.hold is not None:
            key, seconds = operation.hold
            held = holds[own_key_of(key)]
            held[key] = max(seconds, held.get(key, 0.0))
        if operation.apply is not None:
            paced[operation.limit].append((operation, operation.apply))
    for own_key in sorted({*holds, *paced}):
        for key, seconds in sorted(holds[own_key].items()):
            hold(connection, key=key, seconds=seconds)
        for operation, apply in paced[own_key]:
            operation.result = apply(connection, changes)


def _resolve(batch: Sequence[_Operation], error: Exception | None) -> None:
    for operation in batch:
        operation.done(error)


def _tell(future: asyncio.Future[Any], operation: _Operation, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(operation.result)
    else:
        future.set_exception(error)
