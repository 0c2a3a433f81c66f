"""Makes events durable: one thread that commits them in groups.

Whatever came in while the last commit was on its way goes into the next one, so that a sync of the disk is
shared by all who wait for it. An opt-out suppresses in the same transaction.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from clarion.errors import LedgerError
from clarion.ledger.database import Database
from clarion.ledger.events import store_each
from clarion.ledger.webhook_tokens import forget_old_tokens, remember_tokens
from clarion.optout import suppress_opt_outs
from clarion.receiving.incoming import IncomingEvent

MOST_AT_ONCE = 1_000
"""Deliveries of one transaction."""

COMMIT_TRIES = 5
FIRST_RETRY_SECONDS = 0.1
"""Waits of 0.1, 0.2, 0.4 and 0.8 seconds, which a provider bears; after that it is told to come again."""

FORGET_EVERY_SECONDS = 60.0

_UNWRITABLE = (DataError, IntegrityError, ProgrammingError)
"""What the database says of something that it will not take however often it is asked."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One verified request.

    Attributes:
        endpoint: Where it came in.
        events: What it says.
        token: Its one-time token, if it has one.
        digest: The digest of what the token may be used for.
    """

    endpoint: str
    events: Sequence[IncomingEvent]
    token: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a delivery: how many events are new, or that its token had other content before."""

    new: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Waiting:
    delivery: Delivery
    future: "asyncio.Future[Stored]"


class EventWriter:
    """Stores the deliveries of one event loop, in whose thread it is made.

    Args:
        database: The ledger.
        on_stored: Called in the writer's thread after a commit that brought new events; must not block.
    """

    def __init__(self, database: Database, *, on_stored: Callable[[], None] | None = None) -> None:
        self._database = database
        self._on_stored = on_stored
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._forget_at = 0.0
        self._thread = threading.Thread(target=self._run, name="clarion-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commits what waits and ends the thread."""
        self._queue.put(None)
        self._thread.join()

    async def store(self, delivery: Delivery) -> Stored:
        """Returns once the delivery is durable.

        Raises:
            LedgerError: It is not: the database cannot be written to.
        """
        future: asyncio.Future[Stored] = self._loop.create_future()
        self._queue.put(_Waiting(delivery, future))
        return await future

    def _run(self) -> None:
        while batch := self._gather():
            self._commit_or_tell(batch)

    def _gather(self) -> list[_Waiting]:
        """What waits, at least one delivery; empty at the end."""
        first = self._queue.get()
        batch = [] if first is None else [first]
        while first is not None and len(batch) < MOST_AT_ONCE:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                self._queue.put(None)
                break
            batch.append(waiting)
        return batch

    def _commit_or_tell(self, batch: Sequence[_Waiting]) -> None:
        """Commits, and tells whoever waits. What cannot be written fails alone: the batch is halved."""
        try:
            results = self._commit_patiently([each.delivery for each in batch])
        except Exception as exc:  # noqa: BLE001  # told to whoever waits
            if len(batch) > 1 and not isinstance(exc, LedgerError):
                middle = len(batch) // 2
                self._commit_or_tell(batch[:middle])
                self._commit_or_tell(batch[middle:])
                return
            _log.error("events cannot be stored: %s", type(exc).__name__)  # its text may hold an address
            error = exc if isinstance(exc, LedgerError) else LedgerError("an event cannot be stored")
            self._loop.call_soon_threadsafe(_fail, batch, error)
            return
        self._loop.call_soon_threadsafe(_resolve, batch, results)
        if self._on_stored is not None and any(stored.new for stored in results):
            self._on_stored()

    def _commit_patiently(self, deliveries: Sequence[Delivery]) -> list[Stored]:
        for number in range(COMMIT_TRIES):
            try:
                return self._commit(deliveries)
            except _UNWRITABLE:
                raise
            except DBAPIError as exc:
                if number == COMMIT_TRIES - 1:
                    raise LedgerError(f"cannot write to the database: {exc.orig}") from exc
                time.sleep(FIRST_RETRY_SECONDS * 2**number)
        raise AssertionError

    def _commit(self, deliveries: Sequence[Delivery]) -> list[Stored]:
        results: dict[int, Stored] = {}
        by_endpoint: dict[str, list[int]] = defaultdict(list)
        for index, delivery in enumerate(deliveries):
            by_endpoint[delivery.endpoint].append(index)
        with self._database.write() as connection:
            for endpoint, indexes in sorted(by_endpoint.items()):
                stored = store_deliveries(connection, endpoint, [deliveries[index] for index in indexes])
                results.update(zip(indexes, stored, strict=True))
            if time.monotonic() >= self._forget_at:
                forget_old_tokens(connection)
                self._forget_at = time.monotonic() + FORGET_EVERY_SECONDS
        return [results[index] for index in range(len(deliveries))]


def store_deliveries(connection: Connection, endpoint: str, deliveries: Sequence[Delivery]) -> list[Stored]:
    """Stores what one endpoint got, in this order; nothing of a delivery whose token is replayed."""
    replayed = _replayed(connection, endpoint, deliveries)
    accepted = [delivery for index, delivery in enumerate(deliveries) if index not in replayed]
    events = [event for delivery in accepted for event in delivery.events]
    numbers = store_each(connection, endpoint, events)
    new = [event for event, number in zip(events, numbers, strict=True) if number is not None]
    suppress_opt_outs(connection, endpoint, new)
    remaining = iter(numbers)
    return [
        Stored(0, replayed=True)
        if index in replayed
        else Stored(sum(next(remaining) is not None for _ in delivery.events))
        for index, delivery in enumerate(deliveries)
    ]


def _replayed(connection: Connection, endpoint: str, deliveries: Sequence[Delivery]) -> set[int]:
    """Which of the deliveries have a token that had other content, before or earlier in the group."""
    digests: dict[str, str] = {}
    for delivery in deliveries:
        if delivery.token is not None:
            digests.setdefault(delivery.token, delivery.digest)
    used = remember_tokens(connection, endpoint, digests)
    return {
        index
        for index, delivery in enumerate(deliveries)
        if delivery.token is not None
        and (delivery.token in used or digests[delivery.token] != delivery.digest)
    }


def _resolve(batch: Sequence[_Waiting], results: Sequence[Stored]) -> None:
    for waiting, stored in zip(batch, results, strict=True):
        if not waiting.future.done():
            waiting.future.set_result(stored)


def _fail(batch: Sequence[_Waiting], error: LedgerError) -> None:
    for waiting in batch:
        if not waiting.future.done():
            waiting.future.set_exception(error)
