"""Planning: from list frames to run items. Whom, in which segment, under which recipient, or why not.

Nothing here writes to the ledger. A row's fate never depends on the frame that it came in.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import httpx
import orjson
import pandas as pd

from clarion.campaign import Campaign, CompiledAction, CompiledSegment
from clarion.errors import PlanError, RecipientError, RenderError
from clarion.excludes import Excluded, Rows, normal_recipient
from clarion.fallback import (
    dedupe_key,
    is_held,
    planned_steps,
    step_recipients,
    without_excluded,
    without_suppressed,
)
from clarion.limit_keys import limit_keys
from clarion.links.making import PREVIEW_ITEM_ID
from clarion.lists import frame_items
from clarion.rendering import job_scope, render_request, request_scope
from clarion.sources import ListReader, check_attributes
from clarion.suppression import SUPPRESSED, Scopes
from clarion.timing import Timing

MOST_AT_ONCE = 25_000
"""Items of a chunk once the plan is long. Recipients come in no order, so each transaction writes much of
their index anew: at a million rows, chunks of this size take 10 us an item to store, those of a frame 19."""


class PlannedItem(NamedTuple):
    """A run item as planned. `status` is pending, or skipped with the reason; `due_at` None means at once."""

    row: int
    segment: str
    recipient: str | None
    dedupe_key: str | None
    item: str
    status: str
    reason: str | None
    action: str | None
    error: str | None
    limit_keys: str | None = None
    due_at: datetime | None = None
    timezone: str | None = None
    fallback: str | None = None


@dataclass(kw_only=True)
class Planner:
    """Plans one run.

    Args:
        campaign: The compiled job.
        run: What templates see as `run`.
        now: The time that conditions see; one for the whole plan.
        reader: Reads the lists.
        start_at: Nothing is sent before.
        send_until: Nothing is sent from then on; what would be due later is planned as skipped(expired).
        rows: How many rows were planned.
        fell_back: How many items have the fallback zone, because their own is missing or not known.
    """

    campaign: Campaign
    run: dict[str, Any]
    now: datetime
    reader: ListReader
    start_at: datetime | None = None
    send_until: datetime | None = None
    rows: int = 0
    fell_back: int = 0
    _job: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._job = job_scope(self.campaign)

    def plan(self) -> Generator[list[PlannedItem]]:
        """Chunks of planned items, each for one transaction; duplicates are for the ledger to find.

        Closed, it closes the lists and removes what it holds on disk.

        Raises:
            ListError: A list cannot be read.
            ConditionError: A condition names an attribute that no list has.
            PlanError: An exclude list cannot be used, or `on_template_error: fail` met an error.
        """
        chunk: list[PlannedItem] = []
        with closing(self._planned_frames()) as frames:
            for items in frames:
                chunk += items
                if len(chunk) >= min(self.rows // 4, MOST_AT_ONCE):
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk

    def _planned_frames(self) -> Generator[list[PlannedItem]]:
        sources = self.campaign.job.recipients.include
        opened = [self.reader.opened(source) for source in sources]
        check_attributes(self.campaign, [first for first, _ in opened])
        with Excluded(self.campaign, self.reader) as excluded:
            for source, (_, frames) in zip(sources, opened, strict=True):
                for frame in frames:
                    if len(frame):
                        yield self._plan_frame(frame, key=source.key, excluded=excluded)

    def _plan_frame(self, frame: pd.DataFrame, *, key: str | None, excluded: Excluded) -> list[PlannedItem]:
        frame = frame.reset_index(drop=True)
        out = excluded.keys(frame, key=key)
        matched = self._match(frame, ~out)
        planned: list[PlannedItem] = []
        rows = zip(frame_items(frame), out.tolist(), matched, strict=True)
        for row, (item, excluded_here, segments) in enumerate(rows, self.rows + 1):
            if excluded_here:
                planned.append(_skipped(row, "", item, "excluded"))
            elif not segments:
                planned.append(_skipped(row, "", item, "no-segment"))
            else:
                planned += self._plan_item(row, item, segments)
        self.rows += len(frame)
        planned = self._without_suppressed(self._without_excluded(planned, excluded))
        if self.campaign.job.on_template_error == "fail":
            self._try_render(planned)
        return planned

    def _match(self, frame: pd.DataFrame, open_rows: Rows) -> list[list[CompiledSegment]]:
        """For each row, the segments that it is in, in the job's order."""
        matched: list[list[CompiledSegment]] = [[] for _ in range(len(frame))]
        scopes = {"item": frame, "job": self._job}
        for segment in self.campaign.segments:
            hits = open_rows
            if segment.condition is not None:
                hits = open_rows & segment.condition.matches(scopes, now=self.now).to_numpy()
            for position in hits.nonzero()[0].tolist():
                matched[position].append(segment)
            if self.campaign.job.matching == "first":
                open_rows = open_rows & ~hits
        return matched

    def _plan_item(
        self, row: int, item: dict[str, Any], segments: Sequence[CompiledSegment]
    ) -> list[PlannedItem]:
        scope = {"item": item, "job": self._job, "run": self.run}
        try:
            recipient = normal_recipient(self.campaign, self.campaign.recipient.render(scope), scope)
        except (RenderError, RecipientError) as exc:  # an empty cell is as little a recipient as a wrong one
            return [_skipped(row, each.name, item, "invalid-recipient", exc.message) for each in segments]
        scope["recipient"] = recipient
        planned = [self._sendable(row, item, segment, scope) for segment in segments]
        return planned if self.campaign.timing is None else self._timed(self.campaign.timing, planned, scope)

    def _timed(self, timing: Timing, planned: list[PlannedItem], scope: dict[str, Any]) -> list[PlannedItem]:
        """The items of a row with their time; skipped where it lies outside the windows or after the run."""
        try:
            start_at = max(self.now, self.start_at or self.now)
            when = timing.of_item(scope, now=self.now, start_at=start_at, send_until=self.send_until)
        except RenderError as exc:
            if self.campaign.job.on_template_error == "fail":
                raise _not_rendered(planned[0].row, exc) from None
            return [_left_out(each, "template-error", error=exc.message) for each in planned]
        self.fell_back += len(planned) if when.fell_back else 0
        if when.reason is not None:
            return [_left_out(each, when.reason) for each in planned]
        return [each._replace(timezone=when.zone, due_at=when.due_at) for each in planned]

    def _sendable(
        self, row: int, item: dict[str, Any], segment: CompiledSegment, scope: dict[str, Any]
    ) -> PlannedItem:
        recipient = scope["recipient"]
        dedupe = dedupe_key(self.campaign, segment.name, recipient)
        planned = PlannedItem(
            row, segment.name, recipient, dedupe, item_json(item), "pending", None, segment.action, None
        )
        if segment.fallback:
            planned = planned._replace(fallback=planned_steps(self.campaign, segment, scope))
        action = self.campaign.actions[segment.action]
        return self._limited(planned, action, segment, scope) if action.limit_keys else planned

    def _limited(
        self,
        planned: PlannedItem,
        action: CompiledAction,
        segment: CompiledSegment,
        scope: dict[str, Any],
    ) -> PlannedItem:
        """The item with what its action's named limits go by."""
        try:
            return planned._replace(limit_keys=limit_keys(action, segment, scope))
        except RenderError as exc:
            if self.campaign.job.on_template_error == "fail":
                raise _not_rendered(planned.row, exc) from None
            return _left_out(planned, "template-error", error=exc.message)

    def _try_render(self, planned: Sequence[PlannedItem]) -> None:
        """Renders what would be sent, and throws it away."""
        for each in planned:
            if each.status != "pending":
                continue
            try:
                planned_request(self.campaign, each, run=self.run)
            except RenderError as exc:
                raise _not_rendered(each.row, exc) from None

    def _without_excluded(self, planned: list[PlannedItem], excluded: Excluded) -> list[PlannedItem]:
        if any(item.fallback for item in planned):
            steps = without_excluded([item.fallback for item in planned], excluded.recipients)
            planned = [item._replace(fallback=each) for item, each in zip(planned, steps, strict=True)]
        found = excluded.recipients([item.recipient for item in planned if item.recipient is not None])
        if not found:
            return planned
        return [
            each._replace(status="skipped", reason="excluded", dedupe_key=None)
            if each.recipient in found and each.status == "pending"
            else each
            for each in planned
        ]

    def _without_suppressed(self, planned: list[PlannedItem]) -> list[PlannedItem]:
        """Nobody who is suppressed by now; who will be is found where items are claimed."""
        waiting = [item for item in planned if item.status == "pending"]
        recipients = [str(item.recipient) for item in waiting]
        scopes = self.reader.suppressions(recipients + step_recipients([item.fallback for item in waiting]))
        return [self._unless_suppressed(item, scopes) for item in planned] if scopes else planned

    def _unless_suppressed(self, item: PlannedItem, scopes: Scopes) -> PlannedItem:
        if item.status != "pending":
            return item
        if is_held(self.campaign, scopes, item.recipient, action=item.action):
            return _left_out(item, SUPPRESSED)
        steps = without_suppressed(self.campaign, item.segment, item.fallback, scopes)
        return item._replace(fallback=steps) if item.fallback else item


def planned_request(campaign: Campaign, planned: PlannedItem, *, run: dict[str, Any]) -> httpx.Request:
    """What would be sent for an item that is not in the ledger yet, without credentials.

    Raises:
        RenderError: It does not render with this item.
    """
    segment = campaign.segment(planned.segment)
    run_item = {"id": f"preview-{planned.row}", "row": planned.row, "segment": segment.name}
    maker = campaign.preview_links
    scope = request_scope(
        campaign,
        segment,
        item=orjson.loads(planned.item),
        recipient=str(planned.recipient),
        run=run,
        run_item=run_item,
        links=None if maker is None else maker.of_item(PREVIEW_ITEM_ID + planned.row),
    )
    return render_request(campaign.actions[segment.action], scope, idempotency_key=f"{run_item['id']}.0.0")


def _not_rendered(row: int, error: RenderError) -> PlanError:
    return PlanError(f"row {row}: {error.message} (on_template_error is fail)")


def _left_out(item: PlannedItem, reason: str, *, error: str | None = None) -> PlannedItem:
    """The item as skipped, unless it is by now."""
    if item.status != "pending":
        return item
    return item._replace(status="skipped", reason=reason, dedupe_key=None, error=error)


def item_json(item: dict[str, Any]) -> str:
    """The item as the ledger stores it."""
    return orjson.dumps(item).decode()


def _skipped(
    row: int, segment: str, item: dict[str, Any], reason: str, error: str | None = None
) -> PlannedItem:
    return PlannedItem(row, segment, None, None, item_json(item), "skipped", reason, None, error)
