"""Finding the calls that events may be about: by provider's ids, by our own references, by recipient.

Nothing here searches a run: items are found by the indexes of invocation ids, by their ids, and by the keys
that no two items of a run share.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.addresses import address_of
from clarion.attribution import LISTENING, Call, listens_until, parse_reference, spellings
from clarion.ledger.answer_tables import EVENT, REACTION
from clarion.ledger.runs import REACTIONS
from clarion.ledger.suppressed_items import job_facts
from clarion.ledger.tables import ATTEMPT, FALLBACK_RECIPIENT, RUN, RUN_ITEM
from clarion.ledger.texts import as_parameter, is_among
from clarion.receipts import UNDELIVERED

V = TypeVar("V")

LOOKED_UP = 500
"""Values of one statement."""

LOGGED_WITHIN = timedelta(seconds=2)
"""So long after its answer a call may be logged; results are committed at least every second."""

_ITEM = tuple(
    RUN_ITEM.c[name]
    for name in (
        "id", "run_id", "row", "segment", "recipient", "item", "status", "reason", "action", "step", "epoch",
        "attempts", "in_doubt", "invocation_id", "claimed_at", "fallback",
    )
)  # fmt: skip
_RUN = (
    RUN.c.uid, RUN.c.name.label("run_name"), RUN.c.job_name, RUN.c.kind, RUN.c.against, RUN.c.start_at,
    RUN.c.created_at, RUN.c.end_at, RUN.c.ended_at,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactedItem:
    """A run item with its run, and the calls that were made for it.

    `row` has the columns of the item and `uid`, `run_name`, `job_name`, `kind`, `against`, `start_at` and
    `created_at` of its run.
    """

    row: Row[Any]
    calls: tuple[Call, ...]


def items_of_invocations(connection: Connection, invocation_ids: Collection[str]) -> set[int]:
    """The items that a provider's ids name, by their last call or by one before it."""
    dialect = connection.dialect.name
    found: set[int] = set()
    for some in _chunks(sorted(invocation_ids)):
        names = {"names": as_parameter(connection, some)}
        for column, item in (
            (RUN_ITEM.c.invocation_id, RUN_ITEM.c.id),
            (ATTEMPT.c.invocation_id, ATTEMPT.c.run_item_id),
        ):
            query = sa.select(item).where(is_among(column, "names", dialect=dialect))
            found.update(connection.scalars(query, names))
    return found


def items_of_recipients(connection: Connection, addresses: Collection[str], *, since: datetime) -> set[int]:
    """The items of runs that listened at a time or later, and may have reached one of the addresses.

    Whether they did the calls tell; what the plan spells in a way of its own is not found.

    Args:
        connection: An open transaction.
        addresses: As `address_of` spells them.
        since: When the first of the events came.
    """
    found: set[int] = set()
    for run in _listening(connection, since):
        keys = [
            f"{prefix}{spelling}"
            for prefix in job_facts(run.job).prefixes
            for address in addresses
            for spelling in spellings(address)
        ]
        for table, item in (
            (RUN_ITEM, RUN_ITEM.c.id),
            (FALLBACK_RECIPIENT, FALLBACK_RECIPIENT.c.run_item_id),
        ):
            found |= _with_keys(connection, table, item, run.id, keys)
    return found | _reactions(connection, addresses)


def _listening(connection: Connection, since: datetime) -> Sequence[Row[Any]]:
    """Runs that were not over yet, or not for long; of reactions the answered events tell."""
    open_still = sa.case(
        (RUN.c.end_at.is_not(None), RUN.c.end_at >= since),
        else_=RUN.c.ended_at.is_(None) | (RUN.c.ended_at >= since - LISTENING),
    )
    runs = sa.select(RUN.c.id, RUN.c.job).where(RUN.c.planned_at.is_not(None), RUN.c.kind != REACTIONS)
    return connection.execute(runs.where(open_still)).all()


def _with_keys(
    connection: Connection, table: sa.Table, item: sa.Column[int], run_id: int, keys: Sequence[str]
) -> set[int]:
    found: set[int] = set()
    for some in _chunks(keys):
        query = sa.select(item).where(
            table.c.run_id == run_id, is_among(table.c.dedupe_key, "keys", dialect=connection.dialect.name)
        )
        found.update(connection.scalars(query, {"keys": as_parameter(connection, some)}))
    return found


def _reactions(connection: Connection, addresses: Collection[str]) -> set[int]:
    """The items of reactions to what came from the addresses before."""
    found: set[int] = set()
    for some in _chunks(sorted(addresses)):
        query = (
            sa.select(REACTION.c.run_item_id)
            .join_from(EVENT, REACTION, REACTION.c.event_id == EVENT.c.id)
            .where(
                is_among(EVENT.c.recipient, "names", dialect=connection.dialect.name),
                REACTION.c.run_item_id.is_not(None),
            )
        )
        found.update(connection.scalars(query, {"names": as_parameter(connection, some)}))
    return found


def contacted_items(connection: Connection, ids: Collection[int]) -> dict[int, ContactedItem]:
    """Those of the items that a call was made for, by id."""
    found: dict[int, ContactedItem] = {}
    for some in _chunks(sorted(ids)):
        query = sa.select(*_ITEM, *_RUN).join_from(RUN_ITEM, RUN, RUN.c.id == RUN_ITEM.c.run_id)
        rows = connection.execute(query.where(RUN_ITEM.c.id.in_(some))).all()
        earlier = _attempts(connection, [row.id for row in rows])
        for row in rows:
            calls = tuple(_calls(row, earlier.get(row.id, ())))
            if calls:
                found[row.id] = ContactedItem(row=row, calls=calls)
    return found


def _attempts(connection: Connection, ids: Sequence[int]) -> Mapping[int, Sequence[Row[Any]]]:
    query = ATTEMPT.select().where(ATTEMPT.c.run_item_id.in_(ids)).order_by(ATTEMPT.c.id)
    by_item: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        by_item[row.run_item_id].append(row)
    return by_item


def _calls(item: Row[Any], attempts: Iterable[Row[Any]]) -> Iterator[Call]:
    """The item's last call where it is one that counts, and those before it."""
    until = listens_until(end_at=item.end_at, ended_at=item.ended_at, rehearsal=item.against is not None)
    shared: dict[str, Any] = {"item_id": item.id, "run_id": item.run_id, "listens_until": until}
    in_doubt = item.status == "pending" and item.in_doubt
    called = item.claimed_at is not None and (item.status in _CALLED or in_doubt)
    if called:
        yield Call(
            **shared, step=item.step, epoch=item.epoch, action=item.action,
            address=address_of(item.recipient or ""),  # nobody's, once it was forgotten
            sent_at=item.claimed_at, is_last=True,
            unanswered=item.status in {"sending", "unknown"} or in_doubt,
            may_have_arrived=item.status != "failed" or item.reason == UNDELIVERED,
            # Until the call that is being made is settled, the item has the id of the one before.
            invocation_id=None if item.status == "sending" else item.invocation_id,
        )  # fmt: skip
    for each in attempts:
        key = parse_reference(each.idempotency_key)
        epoch = 0 if key is None or key.epoch is None else key.epoch
        yield Call(
            **shared, step=each.step, epoch=epoch, action=each.action, address=address_of(each.recipient),
            sent_at=each.attempted_at - timedelta(milliseconds=each.latency_ms or 0) - LOGGED_WITHIN,
            is_last=called and (each.step, epoch) == (item.step, item.epoch),  # a resend is the same message
            unanswered=each.outcome in _UNANSWERED,
            may_have_arrived=each.outcome in _UNANSWERED or each.outcome == UNDELIVERED,
            invocation_id=each.invocation_id, attempt_id=each.id,
        )  # fmt: skip


_CALLED = frozenset({"sending", "unknown", "succeeded", "failed"})
_UNANSWERED = frozenset({"unknown", "no-answer", "worker-lost"})
"""Outcomes of attempts of which nobody knows whether they arrived."""


def _chunks(values: Sequence[V]) -> Iterator[Sequence[V]]:
    for start in range(0, len(values), LOOKED_UP):
        yield values[start : start + LOOKED_UP]
