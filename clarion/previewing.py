"""A preview: who would get what, and why not. Nothing is sent and no run is created."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson

from clarion.campaign import Campaign
from clarion.errors import InputError, RenderError
from clarion.keyset import KeySet
from clarion.models.job import ITEM_STATUSES
from clarion.planning import PlannedItem, Planner, planned_request
from clarion.rendering import FORM_TYPE, JSON_TYPE
from clarion.sending.auth import RequestAuth
from clarion.sources import ListReader

PREVIEW_RUN = {"id": "preview", "name": None, "start_at": None}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A row whose request does not render."""

    row: int
    segment: str
    problem: str


@dataclass(kw_only=True)
class Preview:
    """What a run of the job would do.

    `counts` are those of a planned run: what would be sent is pending. `samples` are the first rendered
    requests, their secrets masked.
    """

    job: str
    samples: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    bad_rows: int = 0
    by_status: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)

    def counts(self, segment: str | None = None) -> dict[str, int]:
        """`total` and the count of each status, of a segment or of all."""
        found = dict.fromkeys(("total", *ITEM_STATUSES), 0)
        for (of, status, _), count in self.by_status.items():
            if segment in {None, of}:
                found[status] += count
                found["total"] += count
        return found

    def skipped_by_reason(self, segment: str | None = None) -> dict[str, int]:
        """How many would be skipped, by reason, of a segment or of all."""
        found: Counter[str] = Counter()
        for (of, status, reason), count in self.by_status.items():
            if status == "skipped" and segment in {None, of}:
                found[str(reason)] += count
        return dict(found.most_common())


def preview(
    campaign: Campaign,
    *,
    reader: ListReader,
    auths: Mapping[str, RequestAuth],
    samples: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Preview:
    """Plans the job without a ledger and renders every request.

    Args:
        campaign: The compiled job.
        reader: Reads its lists.
        auths: Credentials by action, masked.
        samples: How many rendered requests to keep.
        on_rows: Told how many rows were planned, after each frame.

    Raises:
        InputError: A list cannot be read, or a condition does not fit it.
        PlanError: The plan of a run would fail too.
    """
    found = Preview(job=campaign.job.name)
    planner = Planner(campaign=campaign, run=PREVIEW_RUN, now=datetime.now(UTC), reader=reader)
    with KeySet() as seen:
        for items in planner.plan():
            for item in _without_duplicates(items, seen):
                judged = _rendered(found, campaign, item, auths=auths, samples=samples)
                found.by_status[judged.segment, judged.status, judged.reason] += 1
            on_rows(planner.rows)
    found.bad_rows = reader.report.bad_rows
    return found


def _without_duplicates(items: list[PlannedItem], seen: KeySet) -> list[PlannedItem]:
    """The items, those whose recipient came before as skipped(duplicate)."""
    taken = set(seen.found([item.dedupe_key for item in items if item.dedupe_key is not None]))
    judged: list[PlannedItem] = []
    for item in items:
        if item.dedupe_key is not None and item.dedupe_key in taken:
            judged.append(item._replace(status="skipped", reason="duplicate"))
            continue
        if item.dedupe_key is not None:
            taken.add(item.dedupe_key)
        judged.append(item)
    seen.add(item.dedupe_key for item in items if item.dedupe_key is not None)
    return judged


def _rendered(
    found: Preview,
    campaign: Campaign,
    item: PlannedItem,
    *,
    auths: Mapping[str, RequestAuth],
    samples: int,
) -> PlannedItem:
    """The item, skipped where its request does not render; the first requests are kept as samples."""
    if item.status != "pending":
        if item.reason == "template-error":
            found.problems.append(Problem(row=item.row, segment=item.segment, problem=str(item.error)))
        return item
    try:
        request = planned_request(campaign, item, run=PREVIEW_RUN)
        auth = auths.get(str(item.action))
        if auth is not None:
            request = auth.apply(request)
        if len(found.samples) < samples:
            found.samples.append(_sample(item, request))
    except (RenderError, InputError) as exc:
        found.problems.append(Problem(row=item.row, segment=item.segment, problem=exc.message))
        return item._replace(status="skipped", reason="template-error")
    return item


def _sample(item: PlannedItem, request: httpx.Request) -> dict[str, Any]:
    hidden = {"host", "content-length"}
    return {
        "row": item.row,
        "segment": item.segment,
        "recipient": item.recipient,
        "method": request.method,
        "url": str(request.url),
        "headers": {name: value for name, value in request.headers.items() if name not in hidden},
        "body": _decoded(request),
    }


def _decoded(request: httpx.Request) -> Any:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if content_type == JSON_TYPE:
        with suppress(orjson.JSONDecodeError):  # an action may call anything JSON
            return orjson.loads(request.content)
    text = request.content.decode(errors="replace")
    return dict(parse_qsl(text, keep_blank_values=True)) if content_type == FORM_TYPE else text or None
