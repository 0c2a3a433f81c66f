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
from clarion.errors import InputError, ListError, RenderError
from clarion.estimate import Backlog, last_send_at
from clarion.keyset import KeySet
from clarion.ledger.runs import RunRecord
from clarion.links.making import link_maker
from clarion.lists.report import EXAMPLES, BadRow
from clarion.models.job import ITEM_STATUSES, Job
from clarion.models.lists import FileList
from clarion.planning import PlannedItem, Planner, planned_request
from clarion.rendering import FORM_TYPE, JSON_TYPE, render_request, request_scope
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
    requests, their secrets masked. `fell_back` is how many items have the fallback time zone, `last_send_at`
    an estimate, as `clarion.estimate` makes it, of when the last message would go out.
    """

    job: str
    samples: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    bad_rows: int = 0
    bad_row_examples: list[BadRow] = field(default_factory=list)
    by_status: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)
    fell_back: int = 0
    last_send_at: datetime | None = None

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
    backlog = Backlog(now=planner.now)
    with KeySet() as seen:
        for items in planner.plan():
            for item in _without_duplicates(items, seen):
                judged = _rendered(found, campaign, item, auths=auths, samples=samples)
                found.by_status[judged.segment, judged.status, judged.reason] += 1
                if judged.status == "pending":
                    backlog.add(str(judged.action), judged.timezone, judged.due_at)
            on_rows(planner.rows)
    found.fell_back = planner.fell_back
    rates = {name: action.action.tps for name, action in campaign.actions.items()}
    found.last_send_at = last_send_at(backlog, tps=rates, timing=campaign.timing)
    found.bad_rows = reader.report.bad_rows
    found.bad_row_examples = list(reader.report.examples)
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


def sent_message(
    campaign: Campaign, item: Mapping[str, Any], *, run: RunRecord, auth: RequestAuth | None
) -> dict[str, Any]:
    """What was sent for a run item, and what the provider answered.

    The request is rendered once more, as it was: only its idempotency key is left out, which was new for each
    call. Of an item that a fallback was used for, or that does not render, there is none.

    Args:
        campaign: The compiled job of the run's snapshot.
        item: The item as `read_items` gives it.
        run: The run.
        auth: The action's credentials, masked.
    """
    answer = ("status", "reason", "status_code", "error_code", "error", "invocation_id", "latency_ms")
    request = None
    with suppress(RenderError, InputError):
        request = _request_of(campaign, item, run=run, auth=auth)
    return {
        **{name: item[name] for name in ("row", "segment", "recipient")},
        "request": request,
        "answer": {name: item[name] for name in answer},
    }


def _request_of(
    campaign: Campaign, item: Mapping[str, Any], *, run: RunRecord, auth: RequestAuth | None
) -> dict[str, Any] | None:
    if item["recipient"] is None or not item["segment"]:
        return None
    segment = campaign.segment(item["segment"])
    if segment.action != item["action"]:
        return None
    action = campaign.actions[segment.action]
    run_item = {"id": f"{run.uid}-{item['id']}", "row": item["row"], "segment": segment.name}
    maker = link_maker(run.job, run_id=run.id, run_uid=run.uid, rehearsal=True)
    scope = request_scope(
        campaign,
        segment,
        item=item["item"],
        recipient=item["recipient"],
        run=run.scope(),
        run_item=run_item,
        links=None if maker is None else maker.of_item(item["id"]),
    )
    against = httpx.URL(run.against) if run.against else None
    request = render_request(action, scope, idempotency_key="", against=against)
    told = _told(request if auth is None else auth.apply(request))
    key_header = (action.action.idempotency_header or "").lower()
    return {**told, "headers": {name: text for name, text in told["headers"].items() if name != key_header}}


def bad_rows(job: Job, *, reader: ListReader, most: int = EXAMPLES) -> list[BadRow]:
    """The first rows of a job's lists that are left out as unreadable, as far as the lists can be read.

    Args:
        job: The job.
        reader: Reads its lists; nothing but this function has read with it.
        most: At most so many; no list is read further than to them.
    """
    sources = (*job.recipients.include, *job.recipients.exclude)
    with suppress(ListError):
        for source in sources:
            if isinstance(source, FileList) and source.on_bad_row == "skip":
                for _ in reader.frames(source):
                    if len(reader.report.examples) >= most:
                        break
    return reader.report.examples[:most]


def _sample(item: PlannedItem, request: httpx.Request) -> dict[str, Any]:
    return {"row": item.row, "segment": item.segment, "recipient": item.recipient, **_told(request)}


def _told(request: httpx.Request) -> dict[str, Any]:
    hidden = {"host", "content-length"}
    return {
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
