"""Events on their way to subscribers: who is to get which, what is due, what became of it.

A delivery's subscriber is named `NAME` where it is the installation's, `JOB/NAME` where it is a job's: no
name of either holds a slash. A job's are those of the run's own snapshot.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

import orjson
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from clarion.ledger.answer_tables import EVENT, WEBHOOK_DELIVERY
from clarion.ledger.database import Database, utc_now
from clarion.ledger.tables import RUN, RUN_ITEM
from clarion.models.subscribers import Subscriber

LEASE_SECONDS = 120.0
"""After which another process takes up a delivery that was begun: longer than any request may take."""

CHUNK = 500
"""Events looked up at once."""

REMEMBERED_JOBS = 64

_DUE = (WEBHOOK_DELIVERY.c.status == "pending") & (WEBHOOK_DELIVERY.c.due_at <= utc_now())

Status = Literal["pending", "delivered", "dead"]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event that a subscriber is to get now. `attempts` counts the one that is being made."""

    event_id: int
    subscriber: str
    attempts: int
    event: Mapping[str, Any]
    """The columns of EVENT but for its raw data, and `run_uid`, `job_name`, `item_segment`."""
    own: Subscriber | None
    """The subscriber as the run's job has it; None for one of the installation's."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a try: delivered, to be tried again at `due_at`, or dead."""

    delivery: Delivery
    status: Status
    due_in_seconds: float | None = None
    status_code: int | None = None
    error: str | None = None
    tried: bool = True
    """False for one that was given back: it does not count."""


def enqueue(
    connection: Connection, event_ids: Sequence[int], *, subscribers: Sequence[Subscriber] = ()
) -> int:
    """Notes who is to get which of these events; once more changes nothing.

    Called in the transaction that handles the events, after they were attributed and have their final type.
    Events of a rehearsal go to nobody.

    Args:
        connection: A transaction that may write.
        event_ids: The events.
        subscribers: Those of the installation; a job's are in its runs.

    Returns:
        How many deliveries are new.
    """
    rows: list[dict[str, Any]] = []
    for events, runs in _looked_up(connection, event_ids):
        for event in events:
            run = runs.get(event.run_id)
            if run is not None and run.against is not None:
                continue
            rows += _deliveries(event.id, (each.name for each in subscribers if event.type in each.events))
            if run is not None:
                own = (each for each in _subscribers_of(run.job) if event.type in each.events)
                rows += _deliveries(event.id, (f"{run.job_name}/{each.name}" for each in own))
    return _insert(connection, rows)


def emit(connection: Connection, event_ids: Sequence[int], *, subscriber: str) -> int:
    """Notes that a subscriber is to get these events, whatever types it asked for; as a handler says.

    Args:
        connection: A transaction that may write.
        event_ids: Events of runs.
        subscriber: Name of one of the job's subscribers, else of the installation's.

    Returns:
        How many deliveries are new.
    """
    rows: list[dict[str, Any]] = []
    for events, runs in _looked_up(connection, event_ids):
        for event in events:
            run = runs.get(event.run_id)
            if run is None or run.against is not None:
                continue
            own = any(each.name == subscriber for each in _subscribers_of(run.job))
            rows += _deliveries(event.id, [f"{run.job_name}/{subscriber}" if own else subscriber])
    return _insert(connection, rows)


def _looked_up(
    connection: Connection, event_ids: Sequence[int]
) -> Iterable[tuple[Sequence[sa.Row[Any]], dict[int, sa.Row[Any]]]]:
    """Chunks of the events with the runs that they belong to."""
    for begin in range(0, len(event_ids), CHUNK):
        chosen = EVENT.c.id.in_(event_ids[begin : begin + CHUNK])
        query = sa.select(EVENT.c.id, EVENT.c.type, EVENT.c.run_id).where(chosen).order_by(EVENT.c.id)
        events = connection.execute(query).all()
        named = {event.run_id for event in events} - {None}
        columns = (RUN.c.id, RUN.c.job_name, RUN.c.job, RUN.c.against)
        runs = connection.execute(sa.select(*columns).where(RUN.c.id.in_(named))).all() if named else ()
        yield events, {run.id: run for run in runs}


@lru_cache(maxsize=REMEMBERED_JOBS)
def _subscribers_of(job: str) -> tuple[Subscriber, ...]:
    """The subscribers that a run's job has. The rest of it may be of an older Clarion, and is not read."""
    given = orjson.loads(job).get("webhooks") or ()
    return tuple(Subscriber.model_validate(each) for each in given)


def _deliveries(event_id: int, names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"event_id": event_id, "subscriber": name} for name in names]


def _insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(WEBHOOK_DELIVERY)
    fixed = {"status": "pending", "attempts": 0, "due_at": utc_now()}
    count = 0
    for begin in range(0, len(rows), CHUNK):
        values = [{**row, **fixed} for row in rows[begin : begin + CHUNK]]
        new = insert.values(values).on_conflict_do_nothing().returning(WEBHOOK_DELIVERY.c.event_id)
        count += len(connection.execute(new).all())
    return count


def claim_deliveries(database: Database, *, most: int) -> list[Delivery]:
    """What is due, the oldest first, at most so many. It is the caller's until LEASE_SECONDS have passed."""
    table = WEBHOOK_DELIVERY
    oldest = sa.select(table.c.event_id, table.c.subscriber).where(_DUE)
    oldest = oldest.order_by(table.c.due_at, table.c.event_id).limit(most).with_for_update(skip_locked=True)
    with database.write() as connection:
        keys = [tuple(row) for row in connection.execute(oldest)]
        if not keys:
            return []
        begun = sa.tuple_(table.c.event_id, table.c.subscriber).in_(keys)
        until = _now(connection) + timedelta(seconds=LEASE_SECONDS)
        connection.execute(table.update().where(begun).values(due_at=until, attempts=table.c.attempts + 1))
        return [_delivery(row) for row in connection.execute(_PAYLOADS.where(begun))]


def _now(connection: Connection) -> datetime:
    return connection.execute(sa.select(utc_now())).scalar_one()


_EVENT_COLUMNS = tuple(column for column in EVENT.c if column.name != "data")

_PAYLOADS = (
    sa.select(
        WEBHOOK_DELIVERY.c.subscriber,
        WEBHOOK_DELIVERY.c.attempts,
        *_EVENT_COLUMNS,
        RUN.c.uid.label("run_uid"),
        RUN.c.job_name,
        RUN.c.job,
        RUN_ITEM.c.segment.label("item_segment"),
    )
    .join_from(WEBHOOK_DELIVERY, EVENT, WEBHOOK_DELIVERY.c.event_id == EVENT.c.id)
    .outerjoin(RUN, EVENT.c.run_id == RUN.c.id)
    .outerjoin(RUN_ITEM, EVENT.c.run_item_id == RUN_ITEM.c.id)
    .order_by(EVENT.c.id, WEBHOOK_DELIVERY.c.subscriber)
)


def _delivery(row: sa.Row[Any]) -> Delivery:
    fields = row._asdict()
    subscriber, attempts, job = fields.pop("subscriber"), fields.pop("attempts"), fields.pop("job")
    of_job, _, name = subscriber.rpartition("/")
    own = _own(job, name) if of_job and job else None
    return Delivery(event_id=row.id, subscriber=subscriber, attempts=attempts, event=fields, own=own)


def _own(job: str, name: str) -> Subscriber | None:
    """A subscriber of a job; None also where this version cannot read what an older one has stored."""
    try:
        return next((each for each in _subscribers_of(job) if each.name == name), None)
    except ValidationError:
        return None


def settle_deliveries(database: Database, outcomes: Sequence[Outcome]) -> None:
    """Records what became of tries. One whose lease ran out, and that another has begun anew, stays his.

    Args:
        database: The ledger.
        outcomes: One a delivery.
    """
    table = WEBHOOK_DELIVERY
    with database.write() as connection:
        now = _now(connection)
        for each in outcomes:
            this = (table.c.event_id == each.delivery.event_id) & (
                table.c.subscriber == each.delivery.subscriber
            )
            mine = (table.c.status == "pending") & (table.c.attempts == each.delivery.attempts)
            connection.execute(table.update().where(this & mine).values(**_settled(each, now)))


def _settled(outcome: Outcome, now: datetime) -> dict[str, Any]:
    wait = outcome.due_in_seconds
    values: dict[str, Any] = {
        "status": outcome.status,
        "due_at": None if wait is None else now + timedelta(seconds=wait),
    }
    if not outcome.tried:
        return {**values, "attempts": outcome.delivery.attempts - 1}
    return {
        **values,
        "last_status_code": outcome.status_code,
        "error": outcome.error,
        "delivered_at": now if outcome.status == "delivered" else None,
    }


def hold_back(database: Database, subscriber: str, *, seconds: float) -> None:
    """Puts off all that is due to a subscriber; their tries are not touched."""
    held = WEBHOOK_DELIVERY.update().where(_DUE, WEBHOOK_DELIVERY.c.subscriber == subscriber)
    with database.write() as connection:
        connection.execute(held.values(due_at=_now(connection) + timedelta(seconds=seconds)))


def is_any_due(database: Database) -> bool:
    """Whether there is something to deliver."""
    with database.read() as connection:
        return connection.scalar(sa.select(WEBHOOK_DELIVERY.c.event_id).where(_DUE).limit(1)) is not None


def count_deliveries(database: Database) -> dict[str, dict[str, int]]:
    """How many deliveries each subscriber has in which status, by its name."""
    columns = (WEBHOOK_DELIVERY.c.subscriber, WEBHOOK_DELIVERY.c.status)
    query = sa.select(*columns, sa.func.count()).group_by(*columns).order_by(*columns)
    counts: dict[str, dict[str, int]] = {}
    with database.read() as connection:
        for subscriber, status, count in connection.execute(query):
            counts.setdefault(subscriber, {})[status] = count
    return counts


def dead_letters(database: Database, *, subscriber: str | None, most: int) -> list[dict[str, Any]]:
    """Deliveries that were given up, the newest events first.

    Returns:
        Mappings of `event_id` (the event's uid), `subscriber`, `type`, `run_id`, `job`, `attempts`,
        `status_code` and `error`.
    """
    table = WEBHOOK_DELIVERY
    columns = (
        EVENT.c.uid.label("event_id"), table.c.subscriber, EVENT.c.type, RUN.c.uid.label("run_id"),
        RUN.c.job_name.label("job"), table.c.attempts, table.c.last_status_code.label("status_code"),
        table.c.error,
    )  # fmt: skip
    query = (
        sa.select(*columns)
        .join_from(table, EVENT, table.c.event_id == EVENT.c.id)
        .outerjoin(RUN, EVENT.c.run_id == RUN.c.id)
        .where(table.c.status == "dead")
        .order_by(EVENT.c.id.desc(), table.c.subscriber)
        .limit(most)
    )
    if subscriber is not None:
        query = query.where(table.c.subscriber == subscriber)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def replay(database: Database, *, subscriber: str | None = None, event: str | None = None) -> int:
    """Makes dead deliveries due at once with all their tries before them; how many.

    Args:
        database: The ledger.
        subscriber: Only this one's.
        event: Only this event's, by its uid.
    """
    table = WEBHOOK_DELIVERY
    chosen = table.c.status == "dead"
    if subscriber is not None:
        chosen &= table.c.subscriber == subscriber
    if event is not None:
        chosen &= table.c.event_id.in_(sa.select(EVENT.c.id).where(EVENT.c.uid == event))
    again = table.update().where(chosen).values(status="pending", attempts=0, due_at=utc_now())
    with database.write() as connection:
        return connection.execute(again).rowcount
