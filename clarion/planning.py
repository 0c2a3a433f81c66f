"""Planning: from list frames to run items. Whom, in which segment, under which recipient, or why not.

Nothing here writes to the ledger. A row's fate never depends on the frame that it came in.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import httpx
import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd

from clarion.campaign import Campaign, CompiledSegment
from clarion.errors import ListError, PlanError, RecipientError, RenderError, RowError, nearest
from clarion.keyset import KeySet
from clarion.lists import ReadReport, frame_items, read_frames
from clarion.models.job import ListSource, RunList
from clarion.recipients import normalise
from clarion.rendering import job_scope, render_request, request_scope

FRAME_ROWS = 5_000
"""Rows planned at a time: large enough for pandas, small enough for a flat memory."""

MOST_AT_ONCE = 25_000
"""Items of a chunk once the plan is long. Recipients come in no order, so each transaction writes much of
their index anew: at a million rows, chunks of this size take 10 us an item to store, those of a frame 19."""

Rows = npt.NDArray[np.bool_]
"""One truth a row."""


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


class RunItems(Protocol):
    """Where the items of an earlier run come from: the ledger."""

    def __call__(self, source: RunList) -> Iterator[pd.DataFrame]:
        """Frames of the items that `source` chooses."""
        ...


@dataclass(kw_only=True)
class ListReader:
    """Reads a job's lists: files and inline items by themselves, earlier runs by the ledger.

    Args:
        base: Folder that relative paths start from.
        run_items: Reads the items of an earlier run.
    """

    base: Path
    run_items: RunItems
    report: ReadReport = field(default_factory=ReadReport)

    def frames(self, source: ListSource) -> Iterator[pd.DataFrame]:
        """The list in frames. Raises ListError."""
        if isinstance(source, RunList):
            return self.run_items(source)
        return read_frames(source, base=self.base, frame_rows=FRAME_ROWS, report=self.report)

    def opened(self, source: ListSource) -> tuple[pd.DataFrame, Iterator[pd.DataFrame]]:
        """The first frame (empty where the list is), and an iterator over all of them."""
        frames = self.frames(source)
        first = next(frames, pd.DataFrame())
        return first, _chain(first, frames)

    def check(self, campaign: Campaign) -> None:
        """Opens every list, and holds the job against the attributes that they have.

        Raises:
            ListError: A list cannot be opened, or lacks its key. A row that cannot be read is not told here.
            ConditionError: A condition names an attribute that no list has.
        """
        try:
            for index, source in enumerate(campaign.job.recipients.exclude):
                _check_exclude(campaign, index, self.opened(source)[0])
            firsts = [self.opened(source)[0] for source in campaign.job.recipients.include]
        except RowError:
            return  # trouble in the rows is the plan's to find
        check_attributes(campaign, firsts)


def check_attributes(campaign: Campaign, firsts: Sequence[pd.DataFrame]) -> None:
    """Holds keys and conditions against the first frames of the include lists, as `ListReader.check`."""
    lists = campaign.job.recipients
    by_key = [(f"recipients.exclude[{n}].key", each.key) for n, each in enumerate(lists.exclude) if each.key]
    for index, (source, first) in enumerate(zip(lists.include, firsts, strict=True)):
        own = f"recipients.include[{index}]"
        # Without a key of its own, a list that lacks the attribute would let through everyone excluded by it.
        for where, attribute in by_key if source.key is None else [(f"{own}.key", source.key)]:
            _require(first, attribute, where=where, told=own)
    if any(len(first.columns) for first in firsts):
        campaign.check_attributes(sorted({str(column) for first in firsts for column in first.columns}))


def _check_exclude(campaign: Campaign, index: int, first: pd.DataFrame) -> None:
    """Holds what an exclude list is matched by against its first frame. Raises ListError."""
    source, where = campaign.job.recipients.exclude[index], f"recipients.exclude[{index}]"
    if source.key is not None:
        _require(first, source.key, where=f"{where}.key")
    for attribute in _exclude_attributes(campaign, index):
        _require(first, attribute, where=f"{where}.recipient")


def _exclude_attributes(campaign: Campaign, index: int) -> list[str]:
    """The attributes that the recipients of an exclude list are made of."""
    template = campaign.exclude_recipients[index]
    references = template.references if template is not None else frozenset()
    return sorted(name for scope, name in references if scope == "item")


def _require(first: pd.DataFrame, attribute: str, *, where: str, told: str = "the list") -> None:
    columns = [str(column) for column in first.columns]
    if columns and attribute not in columns:
        raise ListError(
            f"{told} has no attribute {attribute!r}",
            where=where,
            expected=f"one of {', '.join(columns)}",
            nearest=nearest(attribute, columns),
        )


def _chain(first: pd.DataFrame, rest: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    yield first
    yield from rest


class Excluded:
    """The exclude lists of a job, as sets on disk. Use as a context manager."""

    def __init__(self, campaign: Campaign, reader: ListReader) -> None:
        self._campaign = campaign
        self._stack = ExitStack()
        self._by_attribute: dict[str, KeySet] = {}
        self._by_recipient: KeySet | None = None
        try:
            for index, source in enumerate(campaign.job.recipients.exclude):
                self._read(source, index=index, reader=reader)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def keys(self, frame: pd.DataFrame, *, key: str | None) -> Rows:
        """For each row, whether an exclude list names its key.

        Args:
            frame: Items.
            key: The include list's own key attribute; None looks under the exclude list's name for it.
        """
        hit = np.zeros(len(frame), dtype=np.bool_)
        for attribute, keys in self._by_attribute.items():
            column = frame.get(key or attribute)
            if column is not None:
                texts = _key_texts(column)
                found = keys.found(text for text in texts if text is not None)
                hit |= [text in found for text in texts]
        return hit

    def recipients(self, recipients: Sequence[str]) -> frozenset[str]:
        """Those of `recipients` that an exclude list names."""
        return self._by_recipient.found(recipients) if self._by_recipient else frozenset()

    def _read(self, source: ListSource, *, index: int, reader: ListReader) -> None:
        where = f"recipients.exclude[{index}]"
        first, frames = reader.opened(source)
        _check_exclude(self._campaign, index, first)
        if source.key is not None:
            keys = self._by_attribute.setdefault(source.key, self._new_set())
            for frame in frames:
                if source.key in frame.columns:
                    keys.add(text for text in _key_texts(frame[source.key]) if text is not None)
            return
        self._by_recipient = self._by_recipient or self._new_set()
        for frame in frames:
            self._by_recipient.add(self._normalised(frame, index=index, where=where))

    def _new_set(self) -> KeySet:
        return self._stack.enter_context(KeySet())

    def _normalised(self, frame: pd.DataFrame, *, index: int, where: str) -> Iterator[str]:
        template = self._campaign.exclude_recipients[index]
        attributes = _exclude_attributes(self._campaign, index)
        job = job_scope(self._campaign)
        for row, item in zip(frame.index, frame_items(frame), strict=True):
            scope = {"item": item, "job": job, "run": {}}
            try:
                value = template.render(scope) if template is not None else None
                if not _is_blank(value):
                    yield _normal(self._campaign, value, scope)
            except (RenderError, RecipientError) as exc:
                if (
                    isinstance(exc, RenderError)
                    and attributes
                    and all(name not in item for name in attributes)
                ):
                    continue  # the cells are empty: nobody is named here
                # An entry that cannot be compared would let someone through who asked not to be written to.
                raise PlanError(
                    f"{where} row {int(row) + 1}: {exc.message}; what cannot be read cannot be excluded"
                ) from None


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _key_texts(column: pd.Series) -> list[str | None]:
    """Keys as text, so that 7 of a JSON list meets "7" of a CSV; None where one is missing."""
    if isinstance(column.dtype, pd.StringDtype):  # at once: value by value takes 0.6 us of a key's 4
        return column.to_numpy(dtype=object, na_value=None).tolist()  # ty: ignore[no-matching-overload]  # the stubs know no None here
    return [_key_text(value) for value in column.tolist()]


def _key_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        # 7.0 of a column of fractions is the customer 7 of another list.
        return None if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    return None if value is None or value is pd.NA else str(value)


def _normal(campaign: Campaign, value: Any, scope: dict[str, Any]) -> str:
    region = None
    if campaign.region is not None:
        # Without a country only international numbers can be read.
        with suppress(RenderError):
            found = campaign.region.render(scope)
            region = None if found is None else str(found)
    return normalise(value, kind=campaign.job.recipient.type, region=region)


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
            recipient = _normal(self.campaign, self.campaign.recipient.render(scope), scope)
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
