"""The sender: one event loop a process, shared by every slice that is delivered in it.

A slice claims a few items at a time, each claim small and late; every claimed item is rendered, sent,
judged and settled by itself. Connections stay warm from slice to slice.
"""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar

import httpx
import orjson

from clarion.campaign import Campaign, CompiledSegment
from clarion.errors import InputError, RenderError
from clarion.ledger.claims import ClaimedItem, Settlement, Slice
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord
from clarion.ledger.workers import LEASE_SECONDS, register_worker, retire_worker
from clarion.rendering import render_request, request_scope
from clarion.sending.auth import RequestAuth
from clarion.sending.decision import Call, decide, released, unsendable
from clarion.sending.places import Places
from clarion.sending.verdict import Verdict, judge_failure, judge_response, without_secrets
from clarion.sending.writer import LedgerWriter, Limit

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_SENDING = 256
"""Most items of a process between their claim and their result: what a `kill -9` can leave unknown."""

CLAIM_AT_ONCE = 64
"""Most items of one claim, so that slices take turns."""

LEAST_CLAIM = 32
"""Items of one claim while there are enough: half of it is on its way while the other half is claimed."""

BEAT_SECONDS = 1.0
SHORT_WAIT_SECONDS = 0.05
"""What is due this soon is waited for in place; what is due later goes back to Prefect's retries."""

LONG_WAIT_SECONDS = 5.0
"""What waits longer than this leaves the slice: the flow maps it again when it is due."""

LEAST_HOLD_SECONDS = 0.1
"""A `Retry-After: 0` would otherwise be asked again and again at full speed: a hold uses up no try."""

LEAVE_SECONDS = 8.0


Mask = Callable[[str], str]
NO_MASKS: Mapping[str, Mask] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """What a slice has left.

    `due_in_seconds` tells when the first pending item is due; `held_seconds`, how long the limit of the
    slice's action is held back.
    """

    pending: int
    due_in_seconds: float
    held_seconds: float


@dataclass(kw_only=True)
class RunSession:
    """A process's part in a run: its lease, and what it needs to render and to judge.

    Args:
        run: The run.
        campaign: The compiled job of the run's snapshot.
        auths: Credentials by action name; an action without is not there.
        limits: What paces each action.
        masks: What takes an action's secrets out of a text.
        token: The worker's lease.

    `control` is what a person asked for; a word other than `run` halts the session and stays.
    """

    run: RunRecord
    campaign: Campaign
    auths: Mapping[str, RequestAuth]
    limits: Mapping[str, Limit]
    masks: Mapping[str, Mask]
    token: str
    leased_until: float
    control: str = "run"
    segments: dict[str, CompiledSegment] = field(init=False)
    run_scope: dict[str, Any] = field(init=False)
    against: httpx.URL | None = field(init=False)
    beating: asyncio.Task[None] | None = None
    slices: set[asyncio.Task[Any]] = field(default_factory=set)
    open_calls: set[asyncio.Task[None]] = field(default_factory=set)
    unsent: dict[int, asyncio.Task[Any]] = field(default_factory=dict)
    halted: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        # Made here once, not for each message.
        self.segments = {segment.name: segment for segment in self.campaign.segments}
        self.run_scope = self.run.scope()
        self.against = httpx.URL(self.run.against) if self.run.against else None

    @property
    def may_send(self) -> bool:
        """Whether a request may be written now: nobody halts, the lease holds, and the time is not up."""
        until = self.run.send_until
        return (
            not self.halted.is_set()
            and time.monotonic() < self.leased_until
            and (until is None or datetime.now(UTC) < until)
        )

    def halt(self) -> None:
        """Sends nothing more; a call that waits for a connection gives its item back at once."""
        self.halted.set()
        for call in self.unsent.values():
            call.cancel()

    async def wait(self, seconds: float) -> None:
        """Waits, but no longer than until the session is halted."""
        try:
            await asyncio.wait_for(self.halted.wait(), timeout=seconds)
        except TimeoutError:
            return


class Sender:
    """Sends for one process.

    Args:
        database: The ledger.
        wire: Makes the transport, in the sender's own loop.
        connections: Most requests on their way at once.
    """

    def __init__(
        self, database: Database, *, wire: Callable[[], httpx.AsyncBaseTransport], connections: int
    ) -> None:
        self._database = database
        self._make_wire = wire
        self._connections = connections
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run_loop, name="clarion-sender", daemon=True)
        self._thread.start()
        self._ready.result()

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
        self._loop.call_soon_threadsafe(_halt, session, control)

    def drain(self, session: RunSession) -> None:
        """Waits for the answers that are on their way to a halted session, however long they take."""
        self.call(self._drain(session))

    def leave(self, session: RunSession) -> int:
        """Halts the session: unsent claims go back to pending, answers on their way get 8 s.

        Returns:
            How many items are unknown because their answer did not come in time.
        """
        self.call(self._leave(session))
        return retire_worker(self._database, session.run.id, session.token)

    def close(self) -> None:
        """Ends the loop; every session must have been left."""
        self.call(self._wire.aclose())
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
        self._wire = self._make_wire()
        self._writer = LedgerWriter(self._database, self._loop)
        self._places = Places(MOST_SENDING, lot=LEAST_CLAIM)
        self._slots = asyncio.Semaphore(self._connections)
        self._loop.call_soon(self._ready.set_result, None)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

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
                    _halt(session, beat.control)
            if not session.halted.is_set():
                await session.wait(BEAT_SECONDS)
            elif session.slices:
                await asyncio.wait(session.slices, timeout=BEAT_SECONDS)

    async def _drain(self, session: RunSession) -> None:
        while session.slices:
            await asyncio.wait(session.slices)

    async def _leave(self, session: RunSession) -> None:
        session.halt()
        if session.slices:
            await asyncio.wait(session.slices, timeout=LEAVE_SECONDS)
        for call in session.open_calls:
            call.cancel()
        await self._drain(session)
        if session.beating is not None:
            await session.beating

    async def _deliver(self, session: RunSession, part: Slice) -> SliceResult:
        this = asyncio.current_task()
        assert this is not None  # noqa: S101  # every coroutine of the loop is in a task
        session.slices.add(this)
        this.add_done_callback(session.slices.discard)
        calls: set[asyncio.Task[None]] = set()
        held_seconds = 0.0
        limit = session.limits[part.action]
        while session.may_send:
            most = await self._places.take(min(CLAIM_AT_ONCE, part.last_id - part.first_id + 1))
            if not session.may_send:  # halted while it waited for a place
                self._places.give_back(most)
                break
            try:
                claimed = await self._writer.claim(
                    session.run.id, part, token=session.token, most=most, limit=limit
                )
            except BaseException:
                self._places.give_back(most)  # else every failed claim would keep its places for ever
                raise
            self._places.give_back(most - len(claimed.items))
            for item, delay in zip(claimed.items, claimed.delays, strict=False):
                call = asyncio.create_task(self._send_and_settle(session, item, delay))
                for group in (calls, session.open_calls):
                    group.add(call)
                    call.add_done_callback(group.discard)
            if claimed.wait_seconds > LONG_WAIT_SECONDS:
                held_seconds = claimed.wait_seconds
                break
            if claimed.wait_seconds:
                await session.wait(min(claimed.wait_seconds, BEAT_SECONDS))
            elif len(claimed.items) < most and not await self._more_soon(session, part, calls):
                break
        if calls:
            await asyncio.wait(calls)
        work = await self._writer.open_work(session.run.id, part)
        return SliceResult(
            pending=work.pending, due_in_seconds=work.due_in_seconds, held_seconds=held_seconds
        )

    async def _more_soon(self, session: RunSession, part: Slice, calls: set[asyncio.Task[None]]) -> bool:
        """After the slice's calls have settled: waits for what is due very soon; False where nothing is."""
        if calls:
            await asyncio.wait(calls)
        work = await self._writer.open_work(session.run.id, part)
        if not work.pending or work.due_in_seconds > SHORT_WAIT_SECONDS:
            return False
        await session.wait(work.due_in_seconds)
        return True

    async def _send_and_settle(self, session: RunSession, item: ClaimedItem, delay: float) -> None:
        try:
            settlement, held = await self._send_unless_halted(session, item, delay)
            await self._writer.settle(session.run.id, settlement, token=session.token, held=held)
        except Exception:
            # Whatever went wrong, the item stays in sending and becomes unknown with the lease: never lost.
            logger.exception(
                "An item could not be settled", extra={"run": session.run.uid, "run_item": item.id}
            )
        finally:
            self._places.give_back(1)

    async def _send_unless_halted(
        self, session: RunSession, item: ClaimedItem, delay: float
    ) -> tuple[Settlement, tuple[str, float] | None]:
        """As `_send`, after a delay; a call cancelled before its request was written gives its item back."""
        call = asyncio.current_task()
        assert call is not None  # noqa: S101  # a coroutine of the loop runs in one
        session.unsent[item.id] = call
        try:
            if delay:
                await session.wait(delay)
            return await self._send(session, item)
        except asyncio.CancelledError:
            if item.id not in session.unsent:
                raise
            return released(item), None
        finally:
            session.unsent.pop(item.id, None)

    async def _send(
        self, session: RunSession, item: ClaimedItem
    ) -> tuple[Settlement, tuple[str, float] | None]:
        """Renders, sends and judges one item: what becomes of it, and what its limit is held back for."""
        if not session.may_send:
            return released(item), None
        segment = session.segments[item.segment]
        action = session.campaign.actions[segment.action]
        key = idempotency_key(session.run, item)
        try:
            scope = _scope(session, segment, item)
            request = render_request(action, scope, idempotency_key=key, against=session.against)
            auth = session.auths.get(segment.action)
            if auth is not None:
                request = auth.apply(request)
        except (RenderError, InputError) as exc:
            return unsendable(item, exc.message), None
        async with self._slots:
            if not session.may_send:
                return released(item), None
            del session.unsent[item.id]  # from here on the request may be out
            started = time.perf_counter()
            try:
                response = await self._wire.handle_async_request(request)
            except httpx.RequestError as exc:
                verdict = judge_failure(exc)
            else:
                verdict = judge_response(action, response, scope, now=datetime.now(UTC))
            verdict = without_secrets(verdict, session.masks.get(segment.action))
            latency_ms = (time.perf_counter() - started) * 1_000
        call = Call(idempotency_key=key, latency_ms=latency_ms, verdict=verdict)
        settlement = decide(item, call, action=action.action, now=datetime.now(UTC))
        return settlement, self._held(session, segment.action, verdict)

    def _held(self, session: RunSession, action: str, verdict: Verdict) -> tuple[str, float] | None:
        """How long a throttled answer holds the limit back: as asked, else the first wait of the retries."""
        if verdict.outcome != "held":
            return None
        policy = session.campaign.actions[action].action.retry_policy
        asked = verdict.retry_after_seconds
        seconds = policy.delay_seconds(1) if asked is None else max(asked, LEAST_HOLD_SECONDS)
        return session.limits[action].key, seconds


def _halt(session: RunSession, control: str) -> None:
    if not session.halted.is_set():
        session.control = control
        session.halt()


def idempotency_key(run: RunRecord, item: ClaimedItem) -> str:
    """`{run_item}.{step}.{epoch}`: the same for a resend after an unknown outcome, new after an answer."""
    return f"{run_item_ref(run, item.id)}.{item.step}.{item.epoch}"


def run_item_ref(run: RunRecord, item_id: int) -> str:
    """The id of a run item outside the ledger; no other installation gives the same one."""
    return f"{run.uid}-{item_id}"


def _scope(session: RunSession, segment: CompiledSegment, item: ClaimedItem) -> dict[str, Any]:
    return request_scope(
        session.campaign,
        segment,
        item=orjson.loads(item.item),
        recipient=item.recipient,
        run=session.run_scope,
        run_item={"id": run_item_ref(session.run, item.id), "row": item.row, "segment": item.segment},
    )


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
