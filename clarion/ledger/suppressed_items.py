"""Giving up what waits to be sent to somebody who was suppressed, at once and in every unfinished run.

It finds items by the keys that no two items of a run share, so that no run is searched: an item is found if
its recipient is spelled as phone numbers and e-mail addresses are. What is spelled in another way is kept
back when it is claimed; so are the items of a plan that is being made meanwhile.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.addresses import address_of
from clarion.ledger.database import utc_now
from clarion.ledger.runs import REACTIONS, count_changes
from clarion.ledger.tables import ENDED_STATUSES, FALLBACK_RECIPIENT, RUN, RUN_ITEM
from clarion.ledger.texts import as_parameter, is_among
from clarion.suppression import CHANNEL, EVERYTHING, JOB, SUPPRESSED

LOOKED_AT = 2_000
"""Keys looked for in one statement."""

Changes = Counter[tuple[int, str]]
"""(run, counter) to the difference that a transaction makes."""


class Moving(NamedTuple):
    """A suppressed address, as somebody spelled it too, and what it is suppressed from."""

    address: str
    spelling: str
    scope: str


class JobFacts(NamedTuple):
    """What of a run's job tells whom a suppression holds back.

    `prefixes` is what stands before a recipient in the keys that no two items share.
    """

    channels: Mapping[str, str]
    prefixes: tuple[str, ...]


@lru_cache(maxsize=64)
def job_facts(job: str) -> JobFacts:
    """The facts of a run's job, as the ledger keeps it."""
    data = orjson.loads(job)
    actions = data.get("actions", {})
    channels = {name: action["channel"] for name, action in actions.items() if action.get("channel")}
    if data.get("matching") != "all":
        return JobFacts(channels, ("",))
    return JobFacts(channels, tuple(f"{segment['name']}\x1f" for segment in data["segments"]))


def move_pending(connection: Connection, moving: Sequence[Moving], *, run_id: int | None = None) -> Changes:
    """Gives up what waits to be sent to suppressed addresses; what to count.

    Args:
        connection: An open write transaction.
        moving: Whom, and from what.
        run_id: Only of this run; None means all that have not ended.
    """
    runs = sa.select(RUN.c.id, RUN.c.job_name, RUN.c.job).where(
        RUN.c.status.not_in(ENDED_STATUSES), RUN.c.pending > 0, RUN.c.kind != REACTIONS
    )
    if run_id is not None:
        runs = runs.where(RUN.c.id == run_id)
    changes: Changes = Counter()
    for run in connection.execute(runs.order_by(RUN.c.id)).all() if moving else ():
        changes.update(_move_of_run(connection, run, moving))
    return changes


def end_items(connection: Connection, ids: Sequence[int], *, status: str) -> Changes:
    """Ends those of the items that are in a status: nobody may have them any more; what to count.

    It is unknown where a call was never answered, skipped where nothing was ever sent, else failed.
    """
    untouched = (RUN_ITEM.c.attempts == 0) & (RUN_ITEM.c.epoch == 0) & (RUN_ITEM.c.step == 0)
    ended = (
        RUN_ITEM.update()
        .where(RUN_ITEM.c.id.in_(ids), RUN_ITEM.c.status == status)
        .values(
            status=sa.case((RUN_ITEM.c.in_doubt, "unknown"), (untouched, "skipped"), else_="failed"),
            reason=SUPPRESSED, due_at=None, settled_at=utc_now(), claim_token=None, latency_ms=None,
            claimed_at=sa.case((untouched, None), else_=RUN_ITEM.c.claimed_at),
        )
        .returning(RUN_ITEM.c.run_id, RUN_ITEM.c.status)
    )  # fmt: skip
    changes: Changes = Counter()
    for run_id, now in connection.execute(ended):
        changes[run_id, "pending"] -= 1
        changes[run_id, now] += 1
    return changes


def count_moves(connection: Connection, changes: Changes) -> None:
    """Counts in the order in which everyone does: whoever does it locks the runs."""
    by_run: dict[int, dict[str, int]] = defaultdict(dict)
    for (run_id, counter), change in changes.items():
        by_run[run_id][counter] = change
    for run_id in sorted(by_run):
        count_changes(connection, run_id, by_run[run_id])


def _move_of_run(connection: Connection, run: Any, moving: Sequence[Moving]) -> Changes:
    facts = job_facts(run.job)
    general = {EVERYTHING, f"{JOB}{run.job_name}"}
    by_channel = {f"{CHANNEL}{channel}" for channel in facts.channels.values()}
    held: dict[str, set[str]] = defaultdict(set)
    keys: dict[str, None] = {}
    for each in moving:
        if each.scope in general or each.scope in by_channel:
            held[each.address].add(each.scope)
            keys.update((f"{prefix}{key}", None) for prefix in facts.prefixes for key in _spellings(each))
    ids = [
        item_id
        for item_id, recipient, action in _pending(connection, run.id, list(keys))
        if held.get(address_of(recipient), set()) & {*general, f"{CHANNEL}{facts.channels.get(action)}"}
    ]
    return end_items(connection, ids, status="pending") if ids else Counter()


def _spellings(moving: Moving) -> Iterator[str]:
    """As plans spell the address: as it is, as it was given, a phone number as E.164 or dialled abroad."""
    yield moving.address
    yield moving.spelling
    if moving.address.isdigit():
        yield f"+{moving.address}"
        yield f"00{moving.address}"


def _pending(connection: Connection, run_id: int, keys: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Id, recipient and action of the items that wait under one of the keys, or have fallen back to it.

    What somebody else has locked is being claimed: it leaves before it can be held back.
    """
    statements = _PENDING[connection.dialect.name]
    for start in range(0, len(keys), LOOKED_AT):
        some = as_parameter(connection, keys[start : start + LOOKED_AT])
        for statement in statements:
            yield from connection.execute(statement, {"run": run_id, "keys": some}).tuples()


def _waiting(dialect: str) -> tuple[sa.Select[Any], sa.Select[Any]]:
    fallen = sa.select(FALLBACK_RECIPIENT.c.run_item_id).where(
        FALLBACK_RECIPIENT.c.run_id == sa.bindparam("run"),
        is_among(FALLBACK_RECIPIENT.c.dedupe_key, "keys", dialect=dialect),
    )
    planned = is_among(RUN_ITEM.c.dedupe_key, "keys", dialect=dialect)
    first, second = (
        sa.select(RUN_ITEM.c.id, RUN_ITEM.c.recipient, RUN_ITEM.c.action)
        .where(RUN_ITEM.c.run_id == sa.bindparam("run"), which, RUN_ITEM.c.status == "pending")
        .with_for_update(skip_locked=True)
        for which in (planned, RUN_ITEM.c.id.in_(fallen))
    )
    return first, second


_PENDING = {dialect: _waiting(dialect) for dialect in ("sqlite", "postgresql")}
