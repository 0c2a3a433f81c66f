"""Storing conversions, each with the message that it is counted for.

That is the message of the last click of a person within the job's `conversion_days`; where nobody clicked,
the last message that may have arrived in that time. What belongs to none is kept without one.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.addresses import address_of
from clarion.attribution import parse_reference, spellings
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.calls_made import ContactedItem, contacted_items
from clarion.ledger.events import store_events
from clarion.ledger.suppressed_items import REACTIONS, job_facts
from clarion.ledger.tables import FALLBACK_RECIPIENT, RUN, RUN_ITEM
from clarion.receiving.incoming import IncomingEvent

MOST_DAYS = timedelta(days=365)
DEFAULT_DAYS = 7
CLOCK_SKEW = timedelta(minutes=5)
"""How much earlier than its click a conversion may seem to be, by a clock that is not ours."""


class Touch(NamedTuple):
    """A click or a message that a conversion can be counted for; the greatest is the one."""

    clicked: bool
    at: datetime
    run_item_id: int
    run_id: int
    action: str
    segment: str
    address: str

    @property
    def rule(self) -> Literal["click", "message"]:
        """By what the conversion is attributed."""
        return "click" if self.clicked else "message"


@dataclass(frozen=True, kw_only=True)
class Hints:
    """By what the message behind a conversion is found, the surest first; what is not known is None.

    `clicked_step` is the step of the clicked item that sent the message with the link.
    """

    clicked_item_id: int | None = None
    clicked_step: int = 0
    client_ref: str | None = None
    recipient: str | None = None


def touch_before(connection: Connection, hints: Hints, *, at: datetime) -> Touch | None:
    """What a conversion at a time is counted for; None where it is nothing that the ledger knows.

    Args:
        connection: An open transaction.
        hints: By what it is found.
        at: When the conversion occurred.
    """
    if hints.clicked_item_id is not None:
        found = _last_touch(connection, {hints.clicked_item_id}, at=at, clicked_step=hints.clicked_step)
        if found is not None:
            return found
    reference = parse_reference(hints.client_ref)
    if reference is not None:
        found = _last_touch(connection, {reference.item_id}, at=at, run_uid=reference.run_uid)
        if found is not None:
            return found
    if hints.recipient is None:
        return None
    address = address_of(hints.recipient)
    return _last_touch(connection, _items_of(connection, address, at=at), at=at, address=address)


def store_conversion(
    connection: Connection, endpoint: str, event: IncomingEvent, *, touch: Touch | None
) -> bool:
    """Stores a conversion and what it is counted for; False where this endpoint has it already."""
    new = store_events(connection, endpoint, [event])
    if new and touch is not None:
        attributed = {
            "run_id": touch.run_id,
            "run_item_id": touch.run_item_id,
            "attributed_by": touch.rule,
            "action": touch.action,
            "src_ctx": touch.segment,
            "recipient": touch.address or None,
        }
        connection.execute(EVENT.update().where(EVENT.c.id.in_(new)).values(attributed))
    return bool(new)


def _last_touch(
    connection: Connection,
    ids: Collection[int],
    *,
    at: datetime,
    run_uid: str | None = None,
    address: str | None = None,
    clicked_step: int | None = None,
) -> Touch | None:
    """The last click, else the last message, of some items; of one run, address or step where that is given.

    A click that a token proves counts also where its visitor seemed to be a machine.
    """
    items = contacted_items(connection, ids)
    clicks = _clicks(connection, items, at=at, machines=clicked_step is not None)
    days = _conversion_days(connection, {item.row.run_id for item in items.values()})
    touches = (
        touch
        for number, item in items.items()
        if run_uid in {None, item.row.uid}
        for touch in _touches(item, clicks.get(number, {}), address=address, step=clicked_step)
        if at - days[touch.run_id] <= touch.at <= at + CLOCK_SKEW
    )
    return max(touches, default=None)


def _touches(
    item: ContactedItem, clicked_at: Mapping[str, datetime], *, address: str | None, step: int | None
) -> list[Touch]:
    """The messages of an item, and for each address that a link was followed from the last one to it."""
    row = item.row
    sent = [
        Touch(False, call.sent_at, row.id, row.run_id, call.action, row.segment, call.address)
        for call in item.calls
        if call.may_have_arrived and address in {None, call.address} and step in {None, call.step}
    ]
    last = {touch.address: touch for touch in sorted(sent)}
    return sent + [
        last[each]._replace(clicked=True, at=at) for each, at in clicked_at.items() if each in last
    ]


def _clicks(
    connection: Connection, ids: Collection[int], *, at: datetime, machines: bool
) -> Mapping[int, Mapping[str, datetime]]:
    """When a link of each item was followed last before a time, by the address that had got it."""
    of_people = () if machines else (EVENT.c.status.is_(None),)
    last = (
        sa.select(
            EVENT.c.run_item_id,
            EVENT.c.recipient,
            sa.func.max(EVENT.c.occurred_at, type_=EVENT.c.occurred_at.type),
        )
        .where(
            EVENT.c.run_item_id.in_(ids),
            EVENT.c.type == "click",
            EVENT.c.occurred_at <= at + CLOCK_SKEW,
            *of_people,
        )
        .group_by(EVENT.c.run_item_id, EVENT.c.recipient)
    )
    found: dict[int, dict[str, datetime]] = defaultdict(dict)
    for number, address, moment in connection.execute(last):
        found[number][address or ""] = moment  # nobody's, once it was forgotten
    return found


def _conversion_days(connection: Connection, run_ids: Collection[int]) -> Mapping[int, timedelta]:
    runs = connection.execute(sa.select(RUN.c.id, RUN.c.job).where(RUN.c.id.in_(run_ids)))
    return {run.id: _days(run.job) for run in runs}


def _days(job: str) -> timedelta:
    """What the job of a run says; runs of before there was such a thing say nothing."""
    return timedelta(days=orjson.loads(job).get("conversion_days", DEFAULT_DAYS))


def _items_of(connection: Connection, address: str, *, at: datetime) -> set[int]:
    """The items of real runs within their `conversion_days` that may have reached an address."""
    runs = sa.select(RUN.c.id, RUN.c.job, RUN.c.ended_at).where(
        RUN.c.planned_at.is_not(None),
        RUN.c.kind != REACTIONS,
        RUN.c.against.is_(None),
        RUN.c.ended_at.is_(None) | (RUN.c.ended_at >= at - MOST_DAYS),
    )
    chosen: set[int] = set()
    keys: set[str] = set()
    for run in connection.execute(runs):
        if run.ended_at is None or run.ended_at >= at - _days(run.job):
            chosen.add(run.id)
            keys |= {
                f"{prefix}{each}" for prefix in job_facts(run.job).prefixes for each in spellings(address)
            }
    found: set[int] = set()
    for table, item in ((RUN_ITEM, RUN_ITEM.c.id), (FALLBACK_RECIPIENT, FALLBACK_RECIPIENT.c.run_item_id)):
        query = sa.select(item).where(table.c.run_id.in_(chosen), table.c.dedupe_key.in_(keys))
        found.update(connection.scalars(query))
    return found
