"""Lanes: so many calls at once, each lane one call after the other."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from clarion.ledger.claims import ClaimedItem
from clarion.sending.session import RunSession
from clarion.sending.writer import Permit

logger = logging.getLogger(__name__)


class Outstanding:
    """Counts what of a slice is claimed and not settled. For one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def add(self, count: int) -> None:
        """So many more."""
        self._count += count
        if self._count:
            self._none.clear()

    def done(self) -> None:
        """One less."""
        self._count -= 1
        if not self._count:
            self._none.set()

    async def wait(self) -> None:
        """Waits until there is none."""
        await self._none.wait()


@dataclass(slots=True, eq=False)
class Ticket:
    """A claimed item on its way through a lane."""

    session: RunSession
    item: ClaimedItem
    slice: Outstanding
    permit: Permit


class Lanes:
    """Takes tickets one after the other, in the order of their coming, in up to so many lanes at once.

    A lane is a task for as long as there is something to do: a task for each item would cost a sixth of the
    time that the item takes.

    Args:
        count: Most lanes.
        work: What is done with a ticket; gets the lane's own task too. It raises nothing but to be cancelled.
    """

    def __init__(self, count: int, *, work: Callable[[Ticket, asyncio.Task[None]], Awaitable[None]]) -> None:
        self._count = count
        self._work = work
        self._ready: deque[Ticket] = deque()
        self._delayed: dict[Ticket, asyncio.TimerHandle] = {}
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def put(self, ticket: Ticket, *, delay: float) -> None:
        """A ticket for the next free lane, not before so many seconds from now."""
        if delay > 0:
            self._delayed[ticket] = self._loop.call_later(delay, self._due, ticket)
        else:
            self._enter(ticket)

    def recall(self, session: RunSession) -> list[Ticket]:
        """Takes back the tickets of a session that no lane has begun with."""
        delayed = [ticket for ticket in self._delayed if ticket.session is session]
        for ticket in delayed:
            self._delayed.pop(ticket).cancel()
        waiting = [ticket for ticket in self._ready if ticket.session is session]
        self._ready = deque(ticket for ticket in self._ready if ticket.session is not session)
        return waiting + delayed

    def _due(self, ticket: Ticket) -> None:
        del self._delayed[ticket]
        self._enter(ticket)

    def _enter(self, ticket: Ticket) -> None:
        self._ready.append(ticket)
        self._open_one()

    def _open_one(self) -> None:
        if len(self._open) < self._count:
            lane = self._loop.create_task(self._run())
            self._open.add(lane)
            lane.add_done_callback(self._closed)

    def _closed(self, lane: asyncio.Task[None]) -> None:
        self._open.discard(lane)
        error = None if lane.cancelled() else lane.exception()
        if error is not None:
            logger.error("A lane broke down", exc_info=error)
        if self._ready:  # it was cancelled, or something came in its last step
            self._open_one()

    async def _run(self) -> None:
        lane = asyncio.current_task()
        assert lane is not None  # noqa: S101  # a coroutine of the loop runs in one
        while self._ready:
            await self._work(self._ready.popleft(), lane)
