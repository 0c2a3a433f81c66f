"""The log of what happened: events that came back, and those that run items and runs tell by themselves.

The latter are never stored: a run item has one by its status, a run three by its counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from clarion.addresses import address_of
from clarion.attribution import spellings
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import Database
from clarion.ledger.runs import REACTIONS
from clarion.ledger.tables import RUN, RUN_ITEM

PAGE_ROWS = 5_000

RUN_TYPES = ("run-items-total", "run-items-ready", "run-items-excluded")
ITEM_TYPES = ("run-item-skipped", "run-item-failed", "run-item-submitted")
STORED_TYPES = (
    "action-call-succeeded", "action-call-failed", "action-call-info", "recipient-response", "click",
    "conversion", "unsubscribe", "unknown",
)  # fmt: skip
EVENT_TYPES = (*STORED_TYPES, *ITEM_TYPES, *RUN_TYPES)

EVENT_FIELDS = (
    "id", "type", "occurred_at", "received_at", "job", "run_id", "run_item_id", "action", "src_ctx",
    "src_type", "recipient", "sender", "invocation_id", "related_id", "client_ref", "attributed_by",
    "endpoint", "name", "status", "error_code", "error", "text", "value", "currency", "data",
)  # fmt: skip
"""What is told of an event; those of a run tell their count as `value`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventFilter:
    """Which events are wanted; what is empty or None narrows nothing.

    `run` is a run's key: its own events, and those of the reactions to them. `since` and `until` are about
    when an event happened, `until` exclusive. `src_type` is `segmentation` or `event-handler`.
    """

    run: int | None = None
    types: Sequence[str] = ()
    recipient: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    action: str | None = None
    invocation_id: str | None = None
    run_item: int | None = None
    src_ctx: str | None = None
    src_type: str | None = None
    unattributed: bool = False

    def wants(self, types: Sequence[str]) -> bool:
        """Whether events of these types may be among the wanted."""
        return not self.types or bool(set(types) & set(self.types))


def read_log(
    database: Database, wanted: EventFilter, *, newest_first: bool = True, page_rows: int = PAGE_ROWS
) -> Iterator[list[dict[str, Any]]]:
    """Pages of events, each a mapping of EVENT_FIELDS.

    What runs and their items tell comes before what came back, which is in the order of its arrival; newest
    first it is the other way round. It is told where a run or one of these types is asked for.

    Args:
        database: The ledger.
        wanted: Which.
        newest_first: The order.
        page_rows: Rows of one query.
    """
    derived = [] if wanted.unattributed else _derived(database, wanted)
    readers = [*derived, _stored(wanted)] if wanted.wants(STORED_TYPES) else list(derived)
    for reader in reversed(readers) if newest_first else readers:
        yield from _pages(database, reader, newest_first=newest_first, rows=page_rows)


@dataclass(frozen=True, slots=True)
class _Reader:
    """A query, and the columns in whose order it is read."""

    query: sa.Select[Any]
    place: tuple[sa.ColumnElement[Any], ...]


def _pages(
    database: Database, reader: _Reader, *, newest_first: bool, rows: int
) -> Iterator[list[dict[str, Any]]]:
    order = [column.desc() if newest_first else column for column in reader.place]
    names = [f"place_{number}" for number in range(len(order))]
    labels = [column.label(name) for column, name in zip(reader.place, names, strict=True)]
    query = reader.query.add_columns(*labels).order_by(*order).limit(rows)
    last: tuple[Any, ...] | None = None
    while True:
        here = sa.tuple_(*reader.place)
        after = sa.true() if last is None else here < last if newest_first else here > last
        with database.read() as connection:
            found = connection.execute(query.where(after)).mappings().all()
        if not found:
            return
        last = tuple(found[-1][name] for name in names)
        yield [_told(row) for row in found]
        if len(found) < rows:
            return


def _told(row: Any) -> dict[str, Any]:
    told = {name: row.get(name) for name in EVENT_FIELDS}
    if row.get("item_key") is not None:
        told["run_item_id"] = f"{row['run_id']}-{row['item_key']}"
    told["src_type"] = row["kind"] and ("event-handler" if row["kind"] == REACTIONS else "segmentation")
    told["data"] = None if row.get("data") is None else orjson.loads(row["data"])
    return told


_OF_RUN = (RUN.c.job_name.label("job"), RUN.c.uid.label("run_id"), RUN.c.kind)


def _stored(wanted: EventFilter) -> _Reader:
    names = set(EVENT_FIELDS) - {"id", "job", "run_id", "run_item_id", "src_type", "occurred_at"}
    occurred_at = sa.func.coalesce(EVENT.c.occurred_at, EVENT.c.received_at)
    query = sa.select(
        EVENT.c.uid.label("id"), occurred_at.label("occurred_at"), *(EVENT.c[name] for name in sorted(names)),
        EVENT.c.run_item_id.label("item_key"), *_OF_RUN,
    ).select_from(EVENT.outerjoin(RUN, RUN.c.id == EVENT.c.run_id))  # fmt: skip
    if wanted.types:
        query = query.where(EVENT.c.type.in_(wanted.types))
    if wanted.unattributed:
        query = query.where(EVENT.c.run_id.is_(None))
    if wanted.recipient is not None:
        query = query.where(EVENT.c.recipient == address_of(wanted.recipient))
    narrow = {
        EVENT.c.action: wanted.action,
        EVENT.c.invocation_id: wanted.invocation_id,
        EVENT.c.run_item_id: wanted.run_item,
        EVENT.c.src_ctx: wanted.src_ctx,
    }
    return _Reader(_narrowed(query, narrow, wanted, occurred_at), (EVENT.c.id,))


def _narrowed(
    query: sa.Select[Any],
    narrow: dict[Any, Any],
    wanted: EventFilter,
    occurred_at: sa.ColumnElement[Any],
) -> sa.Select[Any]:
    for column, value in narrow.items():
        if value is not None:
            query = query.where(column == value)
    if wanted.run is not None:
        reactions = (RUN.c.parent_id == wanted.run) & (RUN.c.kind == REACTIONS)
        query = query.where((RUN.c.id == wanted.run) | reactions)
    if wanted.src_type is not None:
        is_reaction = RUN.c.kind == REACTIONS
        query = query.where(is_reaction if wanted.src_type == "event-handler" else ~is_reaction)
    if wanted.since is not None:
        query = query.where(occurred_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(occurred_at < wanted.until)
    return query


def _derived(database: Database, wanted: EventFilter) -> Iterator[_Reader]:
    """The readers of what runs and their items tell, run by run: only so is each read by an index."""
    if wanted.run is None and not wanted.types:
        return
    if not wanted.wants((*ITEM_TYPES, *RUN_TYPES)):
        return
    runs = _narrowed(sa.select(RUN.c.id), {}, EventFilter(run=wanted.run), RUN.c.created_at)
    with database.read() as connection:
        ids = list(connection.scalars(runs.where(RUN.c.planned_at.is_not(None)).order_by(RUN.c.id)))
    for run_id in ids:
        if wanted.wants(RUN_TYPES):
            yield _of_run(run_id, wanted)
        if wanted.wants(ITEM_TYPES):
            yield _of_items(run_id, wanted)


_TYPE = sa.case(
    (RUN_ITEM.c.status == "skipped", "run-item-skipped"),
    (RUN_ITEM.c.status == "failed", "run-item-failed"),
    else_="run-item-submitted",
)
_ENDED = ("skipped", "failed", "succeeded", "unknown")


def _of_items(run_id: int, wanted: EventFilter) -> _Reader:
    occurred_at = sa.func.coalesce(RUN_ITEM.c.settled_at, RUN.c.planned_at)
    identity = RUN.c.uid + "-" + sa.cast(RUN_ITEM.c.id, sa.String) + ":" + RUN_ITEM.c.status
    status = sa.func.coalesce(RUN_ITEM.c.reason, RUN_ITEM.c.status)
    query = (
        sa.select(
            identity.label("id"), _TYPE.label("type"), occurred_at.label("occurred_at"),
            occurred_at.label("received_at"), RUN_ITEM.c.id.label("item_key"), RUN_ITEM.c.action,
            RUN_ITEM.c.segment.label("src_ctx"), RUN_ITEM.c.recipient, RUN_ITEM.c.invocation_id,
            status.label("status"), RUN_ITEM.c.error_code, RUN_ITEM.c.error, *_OF_RUN,
        )
        .join_from(RUN_ITEM, RUN, RUN.c.id == RUN_ITEM.c.run_id)
        .where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status.in_(_ENDED))
    )  # fmt: skip
    if wanted.types:
        query = query.where(_TYPE.in_(wanted.types))
    if wanted.recipient is not None:
        spelled = {wanted.recipient, *spellings(address_of(wanted.recipient))}
        query = query.where(RUN_ITEM.c.recipient.in_(sorted(spelled)))
    narrow = {
        RUN_ITEM.c.action: wanted.action,
        RUN_ITEM.c.invocation_id: wanted.invocation_id,
        RUN_ITEM.c.id: wanted.run_item,
        RUN_ITEM.c.segment: wanted.src_ctx,
    }
    place = (RUN_ITEM.c.row, RUN_ITEM.c.segment)
    return _Reader(_narrowed(query, narrow, wanted, occurred_at), place)


def _of_run(run_id: int, wanted: EventFilter) -> _Reader:
    """The three counts of a run's plan. What the plan has skipped was never settled."""
    skipped = sa.select(sa.func.count()).where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status == "skipped")
    by_plan = skipped.where(RUN_ITEM.c.settled_at.is_(None))
    counts = (
        RUN.c.total,
        RUN.c.total - by_plan.scalar_subquery(),
        skipped.where(RUN_ITEM.c.reason == "excluded").scalar_subquery(),
    )
    arms = [
        sa.select(
            sa.literal(number).label("number"), sa.literal(name).label("type"), count.label("value"),
            (RUN.c.uid + f":{name}").label("id"), RUN.c.planned_at.label("occurred_at"),
            RUN.c.planned_at.label("received_at"), *_OF_RUN,
        ).where(RUN.c.id == run_id)
        for number, (name, count) in enumerate(zip(RUN_TYPES, counts, strict=True))
        if wanted.wants([name])
    ]  # fmt: skip
    union = sa.union_all(*arms).subquery()
    query = sa.select(union)
    of_items = (wanted.recipient, wanted.action, wanted.invocation_id, wanted.run_item, wanted.src_ctx)
    if any(each is not None for each in of_items):
        query = query.where(sa.false())
    if wanted.src_type is not None:
        query = query.where((union.c.kind == REACTIONS) == (wanted.src_type == "event-handler"))
    if wanted.since is not None:
        query = query.where(union.c.occurred_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(union.c.occurred_at < wanted.until)
    return _Reader(query, (union.c.number,))
