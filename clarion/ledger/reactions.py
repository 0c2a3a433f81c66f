"""Reactions in the ledger: at most one an event and handler, stored with the event as handled.

What a handler's action sends is an item of a run of its own beside the run whose events it answers: the run
of kind `reactions`, made with the first of them. It is planned from the start, running while something of it
is to be sent, completed after, and running again when more comes.

One transaction handles a batch of events: their reactions, the items of these, and the events' state. All who
handle do so one after the other, in the order of the events' ids.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.ledger.answer_tables import EVENT, REACTION
from clarion.ledger.database import Database, utc_now
from clarion.ledger.runs import REACTIONS, REACTIONS_KEY, RunRecord, count_changes, status_values
from clarion.ledger.tables import ITEM_COUNTS, RUN, RUN_ITEM
from clarion.planning import PlannedItem

STORED_AT_ONCE = 500

_HANDLING_LOCK = 0x72656163
"""Any number that is ours: who holds PostgreSQL's advisory lock of it handles events."""

STARTED = "reaction"
"""The kind of the runs that handlers have started, each of a job for one recipient."""

ITEM_FACTS = (
    "id", "run_id", "row", "segment", "recipient", "status", "reason", "action", "attempts", "delivery",
    "delivery_status", "delivery_code", "item",
)  # fmt: skip


def lock_handling(connection: Connection) -> None:
    """Waits until nobody else handles events, for the rest of the transaction.

    Who dies lets the next one go on at once: there is no lease to run out. On SQLite the write transaction is
    the lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_HANDLING_LOCK)))


def still_received(connection: Connection, event_ids: Sequence[int]) -> set[int]:
    """Those of the events that nobody has handled meanwhile; locks them."""
    query = (
        sa.select(EVENT.c.id)
        .where(EVENT.c.id.in_(event_ids), EVENT.c.state == "received")
        .order_by(EVENT.c.id)
        .with_for_update()
    )
    return set(connection.scalars(query))


def mark_handled(connection: Connection, event_ids: Iterable[int]) -> None:
    """Calls events handled."""
    handled = EVENT.update().where(EVENT.c.id.in_(list(event_ids)))
    connection.execute(handled.values(state="handled", handled_at=utc_now()))


def give_up(database: Database, event_id: int, *, error: str) -> int:
    """Calls an event handled that cannot be, and says so in its `error`; how many events that were."""
    with database.write() as connection:
        lock_handling(connection)
        if not still_received(connection, [event_id]):
            return 0
        note_unhandled(connection, event_id, error=error)
        mark_handled(connection, [event_id])
    return 1


def note_unhandled(connection: Connection, event_id: int, *, error: str) -> None:
    """Adds to an event's `error`, which people see, what of its handling went wrong."""
    this = EVENT.c.id == event_id
    told = connection.execute(sa.select(EVENT.c.error).where(this)).scalar_one()
    text = f"not handled: {error}"
    connection.execute(EVENT.update().where(this).values(error=f"{told}; {text}" if told else text))


def runs_by_id(connection: Connection, run_ids: Iterable[int]) -> dict[int, RunRecord]:
    """Runs by their keys."""
    rows = connection.execute(RUN.select().where(RUN.c.id.in_(sorted(set(run_ids)))))
    return {row.id: RunRecord(**row._asdict()) for row in rows}


def item_facts(connection: Connection, item_ids: Iterable[int]) -> dict[int, Mapping[str, Any]]:
    """What handlers' conditions see of run items, and the item as it was planned, by the item's key."""
    columns = [RUN_ITEM.c[name] for name in ITEM_FACTS]
    rows = connection.execute(sa.select(*columns).where(RUN_ITEM.c.id.in_(sorted(set(item_ids)))))
    return {row["id"]: dict(row) for row in rows.mappings()}


def stored_event(connection: Connection, event_id: int) -> SimpleNamespace:
    """An event as the ledger has it, its columns by name; `data` is read."""
    row = connection.execute(EVENT.select().where(EVENT.c.id == event_id)).one()
    return SimpleNamespace(**{**row._asdict(), "data": orjson.loads(row.data)})


def reacted(connection: Connection, event_ids: Sequence[int]) -> set[tuple[int, str]]:
    """Which handlers have reacted to the events by now: one that is handled again keeps its reactions."""
    query = sa.select(REACTION.c.event_id, REACTION.c.handler).where(REACTION.c.event_id.in_(event_ids))
    return {(event_id, handler) for event_id, handler in connection.execute(query)}


def reactions_run(connection: Connection, parent: RunRecord) -> tuple[int, str]:
    """The run of the reactions to a run's events, made where there is none yet: its key and its control."""
    of_parent = (RUN.c.job_name == parent.job_name) & (RUN.c.run_key == f"{REACTIONS_KEY}{parent.uid}")
    columns = sa.select(RUN.c.id, RUN.c.control, RUN.c.status).where(of_parent)
    found = connection.execute(columns).one_or_none()
    if found is None:
        connection.execute(RUN.insert().values(**_reactions_run(parent)))
        found = connection.execute(columns).one()
    return found.id, "stop" if found.status == "stopped" else found.control


def _reactions_run(parent: RunRecord) -> dict[str, Any]:
    same = ("job_name", "name", "job", "base", "against", "end_at")
    return {
        **{name: getattr(parent, name) for name in same},
        **dict.fromkeys(("total", "bad_rows", *ITEM_COUNTS), 0),
        **status_values("running"),
        "uid": secrets.token_hex(8),
        "run_key": f"{REACTIONS_KEY}{parent.uid}",
        "kind": REACTIONS,
        "parent_id": parent.id,
        "control": "run",
        "start_at": parent.start_at or parent.created_at,
        "created_at": utc_now(),
        "started_at": utc_now(),
        "planned_at": utc_now(),
    }


def started_run_key(event_uid: Any, handler: Any) -> Any:
    """The key of the run that a handler's `run_job` starts for an event; of texts, or of columns of them."""
    return "event:" + event_uid + ":" + handler


def add_items(
    connection: Connection, run_id: int, items: Sequence[PlannedItem]
) -> dict[tuple[int, str], int]:
    """Stores the items of reactions; the key of each by event and handler. The caller counts them."""
    insert = RUN_ITEM.insert().returning(RUN_ITEM.c.id, RUN_ITEM.c.row, RUN_ITEM.c.segment)
    fixed = {"run_id": run_id, "step": 0, "epoch": 0, "attempts": 0, "in_doubt": False}
    keys: dict[tuple[int, str], int] = {}
    for begin in range(0, len(items), STORED_AT_ONCE):
        rows = [{**fixed, **item._asdict()} for item in items[begin : begin + STORED_AT_ONCE]]
        keys.update({(row, handler): key for key, row, handler in connection.execute(insert, rows)})
    return keys


def add_reactions(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Notes what was done about events: mappings of the columns but for `created_at`."""
    if rows:
        connection.execute(REACTION.insert().values(created_at=utc_now()), list(rows))


def open_reactions_run(connection: Connection, run_id: int, changes: dict[str, int]) -> None:
    """Counts new items of a run of reactions, and has it go on where something is to be sent.

    A person's pause or stop of it stays.
    """
    count_changes(connection, run_id, changes)
    if changes.get("pending"):
        going_on = (RUN.c.id == run_id) & (RUN.c.control == "run") & (RUN.c.status != "stopped")
        connection.execute(RUN.update().where(going_on).values(**status_values("running")))
