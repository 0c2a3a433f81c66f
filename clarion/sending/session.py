"""A process's part in a run: its lease, and what it needs to render, to send and to judge."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import httpx
import orjson

from clarion.campaign import Campaign, CompiledSegment
from clarion.ledger.claims import ClaimedItem
from clarion.ledger.runs import REACTIONS, RunRecord
from clarion.links.making import LinkMaker, link_maker
from clarion.reactions import reaction_parts
from clarion.rendering import request_scope
from clarion.sending.auth import RequestAuth
from clarion.sending.circuit import Circuit
from clarion.sending.verdict import Mask
from clarion.sending.writer import Limit

NO_MASKS: Mapping[str, Mask] = MappingProxyType({})


@dataclass(kw_only=True, eq=False)
class RunSession:
    """A process's part in a run.

    Args:
        run: The run.
        campaign: The compiled job of the run's snapshot.
        auths: Credentials by action name; an action without is not there.
        limits: What paces each action.
        masks: What takes an action's secrets out of a text.
        token: The worker's lease.
        leased_until: Its end, by the monotonic clock.

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
    against: httpx.URL | None = field(init=False)
    beating: asyncio.Task[None] | None = None
    slices: set[asyncio.Task[Any]] = field(default_factory=set)
    in_flight: set[asyncio.Task[None]] = field(default_factory=set)
    """What waits for an answer: a request that may have been written."""
    halted: asyncio.Event = field(default_factory=asyncio.Event)
    closed: dict[str, datetime] = field(default_factory=dict)
    """Zones whose windows closed while items waited, with the time when they open."""
    circuit: Circuit = field(init=False)
    pause_written: bool = False
    """Whether the ledger knows that the circuit broke."""
    _run_scope: dict[str, Any] = field(init=False)
    _links: LinkMaker | None = field(init=False)

    def __post_init__(self) -> None:
        # Made here once, not for each message.
        self.segments = {segment.name: segment for segment in self.campaign.segments}
        self.against = httpx.URL(self.run.against) if self.run.against else None
        self._run_scope = self.run.scope()
        self._links = link_maker(
            self.run.job,
            run_id=self.run.id,
            run_uid=self.run.uid,
            rehearsal=self.run.against is not None,
        )
        self.circuit = Circuit(self.campaign.job.pause_after_errors)

    @property
    def may_send(self) -> bool:
        """Whether a request may be written now: nobody halts, the lease holds, and the time is not up."""
        until = self.run.send_until
        return (
            not self.halted.is_set()
            and time.monotonic() < self.leased_until
            and (until is None or datetime.now(UTC) < until)
        )

    async def wait(self, seconds: float) -> None:
        """Waits, but no longer than until the session is halted."""
        try:
            await asyncio.wait_for(self.halted.wait(), timeout=seconds)
        except TimeoutError:
            return

    def scope(self, item: ClaimedItem) -> dict[str, Any]:
        """What the templates of an item's action see. Raises RenderError."""
        content, event = orjson.loads(item.item), None
        if self.run.kind == REACTIONS:
            segment, content, event = reaction_parts(self.campaign, item.segment, content)
        else:
            segment = self.segments[item.segment].at_step(item.step)
        return request_scope(
            self.campaign,
            segment,
            item=content,
            recipient=item.recipient,
            run=self._run_scope,
            run_item={"id": self.item_ref(item), "row": item.row, "segment": item.segment},
            links=None if self._links is None else self._links.of_item(item.id, step=item.step),
            event=event,
        )

    def item_ref(self, item: ClaimedItem) -> str:
        """The id of a run item outside the ledger; no other installation gives the same one."""
        return f"{self.run.uid}-{item.id}"

    def idempotency_key(self, item: ClaimedItem) -> str:
        """`{run_item}.{step}.{epoch}`: the same for a resend after an unknown outcome."""
        return f"{self.item_ref(item)}.{item.step}.{item.epoch}"
