"""Planning: from list frames to run items. Whom, in which segment, under which recipient, or why not.

Nothing here writes to the ledger. A row's fate never depends on the frame that it came in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import httpx
import orjson
import pandas as pd

from clarion.campaign import Campaign, CompiledSegment
from clarion.errors import PlanError, RecipientError, RenderError
from clarion.excludes import Excluded, Rows, normal_recipient
from clarion.lists import frame_items
from clarion.rendering import job_scope, render_request, request_scope
from clarion.sources import ListReader, check_attributes

MOST_AT_ONCE = 25_000
"""Items of a chunk once the plan is long. Recipients come in no order, so each transaction writes much of
their index anew: at a million rows, chunks of this size take 10 us an item to store, those of a frame 19."""


class PlannedItem(NamedTuple):
    """A run item as planned. `status` is pending, or skipped with the reason."""

    row: int
    segment: str
    recipient: str | None
    dedupe_key: str | None
    item: str
    status: str
    reason: str | None
    action: str | None
    error: str | None


@dataclass(kw_only=True)
class Planner:
    """Plans one run.

    Args:
        campaign: The compiled job.
        run: What templates see as `run`.
        now: The time that conditions see; one for the whole plan.
    """

    campaign: Campaign
    run: dict[str, Any]
    now: datetime
    reader: ListReader
    rows: int = 0
    _job: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._job = job_scope(self.campaign)

    def plan(self) -> Iterator[list[PlannedItem]]:
        """Chunks of planned items, each for one transaction; duplicates are for the ledger to find.

        Raises:
            ListError: A list cannot be read.
            ConditionError: A condition names an attribute that no list has.
            PlanError: An exclude list cannot be used, or `on_template_error: fail` met an error.
        """
        chunk: list[PlannedItem] = []
        for items in self._planned_frames():
            chunk += items
            if len(chunk) >= min(self.rows // 4, MOST_AT_ONCE):
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _planned_frames(self) -> Iterator[list[PlannedItem]]:
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
        planned = self._without_excluded(planned, excluded)
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
        return [self._sendable(row, item, segment, recipient) for segment in segments]

    def _sendable(
        self, row: int, item: dict[str, Any], segment: CompiledSegment, recipient: str
    ) -> PlannedItem:
        dedupe = recipient if self.campaign.job.matching == "first" else f"{segment.name}\x1f{recipient}"
        return PlannedItem(
            row, segment.name, recipient, dedupe, item_json(item), "pending", None, segment.action, None
        )

    def _try_render(self, planned: Sequence[PlannedItem]) -> None:
        """Renders what would be sent, and throws it away."""
        for each in planned:
            if each.status != "pending":
                continue
            try:
                planned_request(self.campaign, each, run=self.run)
            except RenderError as exc:
                raise PlanError(f"row {each.row}: {exc.message} (on_template_error is fail)") from None

    def _without_excluded(self, planned: list[PlannedItem], excluded: Excluded) -> list[PlannedItem]:
        found = excluded.recipients([item.recipient for item in planned if item.recipient is not None])
        if not found:
            return planned
        return [
            each._replace(status="skipped", reason="excluded", dedupe_key=None)
            if each.recipient in found and each.status == "pending"
            else each
            for each in planned
        ]


def planned_request(campaign: Campaign, planned: PlannedItem, *, run: dict[str, Any]) -> httpx.Request:
    """What would be sent for an item that is not in the ledger yet, without credentials.

    Raises:
        RenderError: It does not render with this item.
    """
    segment = campaign.segment(planned.segment)
    run_item = {"id": f"preview-{planned.row}", "row": planned.row, "segment": segment.name}
    scope = request_scope(
        campaign,
        segment,
        item=orjson.loads(planned.item),
        recipient=str(planned.recipient),
        run=run,
        run_item=run_item,
    )
    return render_request(campaign.actions[segment.action], scope, idempotency_key=f"{run_item['id']}.0.0")


def item_json(item: dict[str, Any]) -> str:
    """The item as the ledger stores it."""
    return orjson.dumps(item).decode()


def _skipped(
    row: int, segment: str, item: dict[str, Any], reason: str, error: str | None = None
) -> PlannedItem:
    return PlannedItem(row, segment, None, None, item_json(item), "skipped", reason, None, error)
