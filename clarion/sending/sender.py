"""The sender: one event loop a process, shared by every slice that is delivered in it.

A slice claims a few items at a time, each claim small and late; every claimed item is rendered, sent,
judged and settled by itself. Connections stay warm from slice to slice.
"""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import httpx

from clarion.campaign import Campaign
from clarion.ledger.circuits import give_back_tries, pause_for_errors
from clarion.ledger.claims import Settlement, Slice
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord
from clarion.ledger.windows import hold_zone, skip_zone
from clarion.ledger.workers import LEASE_SECONDS, register_worker, retire_worker
from clarion.sending.auth import RequestAuth
from clarion.sending.calls import Hold, send_item
from clarion.sending.decision import outside_windows, released
from clarion.sending.lanes import Lanes, Outstanding, Ticket
from clarion.sending.places import Places
from clarion.sending.session import NO_MASKS, Mask, RunSession
from clarion.sending.writer import Claimed, LedgerWriter, Limit

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_SENDING = 256
"""Most items of a process between their claim and their result: what a `kill -9` can leave unknown."""

CLAIM_AT_ONCE = 64
"""Most items of one claim, so that slices take turns."""

LEAST_CLAIM = 64
"""Items of one claim while there are enough: half of it is on its way while the other half is claimed."""

BEAT_SECONDS = 1.0
SHORT_WAIT_SECONDS = 0.05
"""What is due this soon is waited for in place; what is due later goes back to Prefect's retries."""

LONG_WAIT_SECONDS = 5.0
"""What waits longer than this leaves the slice: the flow maps it again when it is due."""

LEAVE_SECONDS = 8.0

NOTHING = Claimed((), (), 0.0)


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """What a slice has left.

    `due_in_seconds` tells when the first pending item is due; `held_seconds`, how long the limit of the
    slice's action is held back.
    """

    pending: int
    due_in_seconds: float
    held_seconds: float


class Sender:
    """Sends for one process.

    Args:
        database: The ledger.
        wire: Makes the transport, in the sender's own loop.
        connections: Most requests on their way at once.

    Raises:
        SettingError: The wire cannot be made.
    """

    def __init__(
        self, database: Database, *, wire: Callable[[], httpx.AsyncBaseTransport], connections: int
    ) -> None:
        self._database = database
        self._make_wire = wire
        self._connections = connections
        self._ready: Future[None] = Future()
        self._background: dict[asyncio.Future[object], RunSession] = {}
        self._thread = threading.Thread(target=self._run_loop, name="clarion-sender", daemon=True)
        self._thread.start()
        try:
            self._ready.result()
        except BaseException:
            self._thread.join()
            raise

    def open(
        self,
        run: RunRecord,
        campaign: Campaign,
        *,
        auths: Mapping[str, RequestAuth],
        limits: Mapping[str, Limit],
        masks: Mapping[str, Mask] = NO_MASKS,
    ) -> RunSession:
        """Takes a lease on a run and begins to renew it."""
        leased_until = time.monotonic() + LEASE_SECONDS
        session = RunSession(
            run=run,
            campaign=campaign,
            auths=auths,
            limits=limits,
            masks=masks,
            token=register_worker(self._database, run.id),
            leased_until=leased_until,
        )
        self.call(self._start_beating(session))
        return session

    def deliver(self, session: RunSession, part: Slice) -> SliceResult:
        """Sends what is due of a slice; returns when nothing of it is due soon, or the session is halted."""
        return self.call(self._deliver(session, part))

    def halt(self, session: RunSession, control: str) -> None:
        """Sends nothing more for a session, because of what a person asked for."""
        self._loop.call_soon_threadsafe(self._halt, session, control)

    def drain(self, session: RunSession) -> None:
        """Waits for the answers that are on their way to a halted session, however long they take."""
        self.call(self._drain(session))

    def leave(self, session: RunSession) -> int:
        """Halts the session: unsent claims go back to pending, answers on their way get 8 s.

        Returns:
            How many items are unknown because their answer did not come in time.
        """
        self.call(self._leave(session))
        lost = retire_worker(self._database, session.run.id, session.token)
        if session.circuit.reason is not None:
            # Where it broke in a session that was halted already, or the ledger was away then.
            self._pause(session, session.circuit.reason)
            burned = session.circuit.take_burned()
            if burned:
                give_back_tries(self._database, session.run.id, burned)
        return lost

    def close(self) -> None:
        """Ends the loop, once all is written; every session must have been left."""
        self.call(self._close())
        self._writer.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the sender's loop and waits for it, from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _run_loop(self) -> None:
        # What is loaded by now stays: a sixth of the sender's time went into looking through it for garbage.
        gc.freeze()
        self._loop = _new_loop()
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._start)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _start(self) -> None:
        try:
            self._wire = self._make_wire()
        except BaseException as exc:  # noqa: BLE001  # raised to whoever waits for the sender
            self._loop.stop()
            self._ready.set_exception(exc)
            return
        self._writer = LedgerWriter(self._database, self._loop)
        self._places = Places(MOST_SENDING, lot=LEAST_CLAIM)
        self._lanes = Lanes(self._connections, work=self._send)
        self._ready.set_result(None)

    async def _close(self) -> None:
        await self._wire.aclose()
        await _done(self._background)

    async def _start_beating(self, session: RunSession) -> None:
        session.beating = asyncio.create_task(self._beat(session))

    async def _beat(self, session: RunSession) -> None:
        """Keeps the lease and hears what a person asks for, once a second, until the last answer is here."""
        while session.slices or not session.halted.is_set():
            before = time.monotonic()
            try:
                beat = await self._writer.beat(session.run.id, session.token)
            except Exception:
                logger.exception("The lease of a run could not be renewed", extra={"run": session.run.uid})
            else:
                if beat.leased:
                    session.leased_until = before + LEASE_SECONDS
                if not beat.leased or beat.control != "run":
                    self._halt(session, beat.control)
            if not session.halted.is_set():
                await session.wait(BEAT_SECONDS)
            elif session.slices:
                await asyncio.wait(session.slices, timeout=BEAT_SECONDS)

    async def _drain(self, session: RunSession) -> None:
        while session.slices:
            await asyncio.wait(session.slices)

    async def _leave(self, session: RunSession) -> None:
        self._halt(session, session.control)
        if session.slices:
            await asyncio.wait(session.slices, timeout=LEAVE_SECONDS)
        for lane in session.in_flight:
            lane.cancel()
        await self._drain(session)
        if session.beating is not None:
            await session.beating
        await _done(writing for writing, of in self._background.items() if of is session)

    async def _deliver(self, session: RunSession, part: Slice) -> SliceResult:
        this = asyncio.current_task()
        assert this is not None  # noqa: S101  # every coroutine of the loop is in a task
        session.slices.add(this)
        this.add_done_callback(session.slices.discard)
        calls = Outstanding()
        try:
            held_seconds = await self._send_due(session, part, calls)
        finally:  # after a claim that failed too: whoever leaves then waits for the calls of those before
            await calls.wait()
        work = await self._writer.open_work(session.run.id, part)
        return SliceResult(
            pending=work.pending, due_in_seconds=work.due_in_seconds, held_seconds=held_seconds
        )

    async def _send_due(self, session: RunSession, part: Slice, calls: Outstanding) -> float:
        """Claims and hands to the lanes what is due; how long the limit is held back, where that is long."""
        while session.may_send:
            most = await self._places.take(
                min(CLAIM_AT_ONCE, part.last_id - part.first_id + 1), owner=session
            )
            claimed = await self._claim(session, part, most)
            now = time.monotonic()
            for item, permit in zip(claimed.items, claimed.permits, strict=True):
                calls.add(1)
                self._lanes.put(Ticket(session, item, calls, permit), delay=permit.leave_at - now)
            if session.halted.is_set():
                self._recall(session)  # halted while the claim was on its way
            elif claimed.wait_seconds > LONG_WAIT_SECONDS:
                return claimed.wait_seconds
            elif claimed.wait_seconds:
                await session.wait(min(claimed.wait_seconds, BEAT_SECONDS))
            elif len(claimed.items) < most and not await self._more_soon(session, part, calls):
                break
        return 0.0

    async def _claim(self, session: RunSession, part: Slice, most: int) -> Claimed:
        """Claims for places that were taken; those that stay empty are given back."""
        taken = 0
        try:
            if not session.may_send:  # halted while it waited for a place
                return NOTHING
            claimed = await self._writer.claim(
                session.run.id, part, token=session.token, most=most, limit=session.limits[part.action]
            )
            taken = len(claimed.items)
            return claimed
        finally:  # else every failed claim would keep its places for ever
            self._places.give_back(most - taken)

    async def _more_soon(self, session: RunSession, part: Slice, calls: Outstanding) -> bool:
        """After the slice's calls have settled: waits for what is due very soon; False where nothing is."""
        await calls.wait()
        work = await self._writer.open_work(session.run.id, part)
        if not work.pending or work.due_in_seconds > SHORT_WAIT_SECONDS:
            return False
        await session.wait(work.due_in_seconds)
        return True

    async def _send(self, ticket: Ticket, lane: asyncio.Task[None]) -> None:
        """A lane's work: one call, and its result on its way to the ledger."""
        try:
            if self._is_outside(ticket):
                return
            settlement, hold = await send_item(
                ticket.session, ticket.item, permit=ticket.permit, wire=self._wire, lane=lane
            )
            if ticket.session.circuit.broken:
                self._break(ticket.session)
            self._settle(ticket, settlement, hold)
        except Exception as exc:  # noqa: BLE001  # told below
            self._places.give_back(1)
            self._settled(ticket, exc)
        except asyncio.CancelledError:  # left: nobody knows what became of the request
            self._places.give_back(1)
            self._settled(ticket, None)
            raise

    def _is_outside(self, ticket: Ticket) -> bool:
        """Whether the windows of an item closed while it waited; then it is settled, and so is its zone."""
        session, item = ticket.session, ticket.item
        timing = session.campaign.timing
        opens_at = timing.closed_until(item.timezone, datetime.now(UTC)) if timing is not None else None
        if timing is None or opens_at is None:
            return False
        if item.timezone is not None and session.closed.get(item.timezone) != opens_at:
            session.closed[item.timezone] = opens_at
            self._in_background(session, partial(self._close_zone, session, item.timezone, opens_at))
        self._settle(ticket, outside_windows(item, opens_at=opens_at, skips=timing.skips))
        return True

    def _close_zone(self, session: RunSession, zone: str, opens_at: datetime) -> None:
        """Holds or gives up all that waits in a zone at once: else each would be claimed to be put back."""
        timing = session.campaign.timing
        assert timing is not None  # noqa: S101  # it closed the zone
        move = skip_zone if timing.skips else hold_zone
        with self._database.write() as connection:
            move(connection, session.run.id, zone, opens_at)

    def _in_background(self, session: RunSession, work: Callable[[], object]) -> None:
        """Writes to the ledger aside from the claims and results, before the session is left.

        An error is logged.
        """
        writing = self._loop.run_in_executor(None, work)
        self._background[writing] = session
        writing.add_done_callback(self._background.pop)
        writing.add_done_callback(_log_error)

    def _settle(self, ticket: Ticket, settlement: Settlement, hold: Hold | None = None) -> None:
        """Hands a result to the ledger's writer, and gives its place to whoever wants to claim.

        Such a claim comes after the result, in the same commit or a later one, so that no commit leaves more
        in sending than there are places; and it need not wait for the result's commit.
        """
        session = ticket.session
        self._writer.settle(
            session.run.id, settlement, token=session.token, held=hold, done=partial(self._settled, ticket)
        )
        self._places.give_back(1)

    def _settled(self, ticket: Ticket, error: Exception | None) -> None:
        """A result is in the ledger; or an error keeps it out.

        Then the item stays in sending and becomes unknown with the lease: never lost.
        """
        if error is not None:
            run, item = ticket.session.run.uid, ticket.item.id
            logger.error("An item could not be settled", exc_info=error, extra={"run": run, "run_item": item})
        ticket.slice.done()

    def _break(self, session: RunSession) -> None:
        """Pauses the run, once, as its provider fails; the other processes hear of it from the ledger."""
        reason = session.circuit.reason
        if reason is not None and not session.halted.is_set():
            self._halt(session, "pause")
            self._in_background(session, partial(self._pause, session, reason))

    def _pause(self, session: RunSession, reason: str) -> None:
        """Asks the run to pause; once, for a person may have resumed it since."""
        if not session.pause_written:
            pause_for_errors(self._database, session.run.id, reason=reason)
            session.pause_written = True

    def _halt(self, session: RunSession, control: str) -> None:
        """Sends nothing more for a session; what no lane has begun with is given back at once."""
        if not session.halted.is_set():
            session.control = control
            session.halted.set()
            self._places.dismiss(session)
            self._recall(session)

    def _recall(self, session: RunSession) -> None:
        for ticket in self._lanes.recall(session):
            self._settle(ticket, released(ticket.item))


async def _done(work: Iterable[asyncio.Future[object]]) -> None:
    """Waits for what is under way, whatever comes of it."""
    await asyncio.gather(*work, return_exceptions=True)


def _log_error(work: asyncio.Future[object]) -> None:
    error = work.exception()
    if error is not None:
        logger.error("The ledger could not be written", exc_info=error)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
