"""What is left to be done about events: reactions to be sent, and those that happen outside the ledger."""

from dataclasses import dataclass, fields
from datetime import timedelta

import sqlalchemy as sa

from clarion.ledger.answer_tables import EVENT, REACTION
from clarion.ledger.claims import end_pending
from clarion.ledger.database import Database, utc_now
from clarion.ledger.deliveries import GOES_ON
from clarion.ledger.item_statements import PENDING
from clarion.ledger.runs import REACTIONS, RunRecord, status_values
from clarion.ledger.suppressed_items import job_facts
from clarion.ledger.suppressions import scopes_of
from clarion.ledger.tables import RUN, RUN_ITEM, UNFINISHED, UtcDateTime
from clarion.suppression import caused_by, held_by

LEASE_SECONDS = 120.0
"""After which another process takes up an outside reaction that was begun: longer than any may take."""

SOON_SECONDS = 30.0
"""What is due later than that is left to whoever looks next."""

MOST_TRIES = 5
FIRST_WAIT_SECONDS = 10.0
"""After the first failure; each further wait is four times as long: the last try comes after 14 minutes."""

STOPPED = "stopped"
DONE = "done"

_PARENT = RUN.alias("parent")


def is_any_received(database: Database) -> bool:
    """Whether there are events to be handled."""
    received = sa.select(EVENT.c.id).where(EVENT.c.state == sa.literal_column("'received'")).limit(1)
    with database.read() as connection:
        return connection.scalar(received) is not None


def runs_to_answer(database: Database) -> list[RunRecord]:
    """Runs of reactions, and runs that handlers have started, of which something is due or on its way.

    So are runs that had ended, where what was not delivered goes on with its next step.

    Nothing of a paused one is, nor of the reactions of a paused run: they wait until it goes on. Of a stopped
    run nothing is answered any more, but for what confirms an opt-out: what else waits is skipped here.
    """
    with database.read() as connection:
        now = connection.execute(sa.select(utc_now())).scalar_one()
        rows = connection.execute(_TO_ANSWER, {"soon": now + timedelta(seconds=SOON_SECONDS)}).all()
    for row in rows:
        if row.parent_stops and row.kind == REACTIONS:
            _end_unwanted(database, row.id)
    columns = RUN.c.keys()
    return [RunRecord(**{name: getattr(row, name) for name in columns}) for row in rows]


_GOING_ON = (
    sa.select(RUN, sa.or_(_PARENT.c.control == "stop", _PARENT.c.status == "stopped").label("parent_stops"))
    .outerjoin(_PARENT, _PARENT.c.id == RUN.c.parent_id)
    .where(
        sa.literal_column(f"run.{UNFINISHED}"),
        RUN.c.control == "run",
        sa.or_(RUN.c.parent_id.is_not(None), GOES_ON),
        sa.or_(RUN.c.kind != REACTIONS, _PARENT.c.control != "pause"),
    )
)

_WAITING = sa.exists().where(RUN_ITEM.c.run_id == RUN.c.id, RUN_ITEM.c.status == PENDING)
_DUE = sa.or_(
    RUN.c.sending > 0,
    _WAITING.where(RUN_ITEM.c.due_at.is_(None)),  # each of these has an index of its own
    _WAITING.where(RUN_ITEM.c.due_at <= sa.bindparam("soon", type_=UtcDateTime())),
)
_LEFT = RUN.c.pending + RUN.c.sending > 0
_TO_ANSWER = _GOING_ON.where(_LEFT, RUN.c.planned_at.is_not(None), _DUE).order_by(RUN.c.id)


def may_go_on(database: Database, run_id: int) -> bool:
    """Whether what is to be sent of such a run may still be: neither it nor the run behind it was paused."""
    with database.read() as connection:
        return connection.execute(_GOING_ON.where(RUN.c.id == run_id)).first() is not None


def _end_unwanted(database: Database, run_id: int) -> None:
    """Skips what waits to be sent for a stopped run, but for what confirms an opt-out."""
    columns = (RUN_ITEM.c.id, RUN_ITEM.c.recipient, RUN_ITEM.c.action, EVENT.c.uid)
    waiting = sa.select(*columns).join(EVENT, EVENT.c.id == RUN_ITEM.c.row).where(
        RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status == PENDING
    )  # fmt: skip
    with database.write() as connection:
        run = connection.execute(sa.select(RUN.c.job_name, RUN.c.job).where(RUN.c.id == run_id)).one()
        items = connection.execute(waiting).all()
        channels = job_facts(run.job).channels
        scopes = scopes_of(connection, [item.recipient for item in items])
        unwanted = [
            item.id
            for item in items
            if not (
                reasons := held_by(
                    scopes, item.recipient, job=run.job_name, channel=channels.get(item.action)
                )
            )
            or not all(caused_by(reason, item.uid) for reason in reasons)
        ]
        if unwanted:
            which = RUN_ITEM.c.id.in_(unwanted) & (RUN_ITEM.c.status == PENDING)
            end_pending(connection, run_id, which, reason=STOPPED)


def due_actions(database: Database, run_id: int) -> dict[str, float]:
    """The actions of which something is to be sent, each with the seconds until the first of it is due."""
    at_once = sa.func.count() > sa.func.count(RUN_ITEM.c.due_at)
    first = sa.case((at_once, None), else_=sa.func.min(RUN_ITEM.c.due_at))
    waiting = (
        sa.select(RUN_ITEM.c.action, sa.type_coerce(first, UtcDateTime()), utc_now())
        .where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status == PENDING)
        .group_by(RUN_ITEM.c.action)
    )
    with database.read() as connection:
        return {
            action: 0.0 if due_at is None else max(0.0, (due_at - now).total_seconds())
            for action, due_at, now in connection.execute(waiting)
        }


def finish(database: Database, run_id: int) -> bool:
    """Gives a run of which nothing is left to be sent its status; whether it has ended by this."""
    done = (RUN.c.id == run_id) & (RUN.c.pending == 0) & (RUN.c.sending == 0) & (RUN.c.control == "run")
    open_ = RUN.c.status.in_(("running", "interrupted", "paused"))
    values = status_values("completed")
    values["status"] = sa.case((RUN.c.unknown > 0, "unresolved"), else_="completed")
    with database.write() as connection:
        return bool(connection.execute(RUN.update().where(done, open_).values(**values)).rowcount)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideReaction:
    """A reaction that happens outside the ledger; `attempts` counts the one that is being made.

    `run_id` and `run_item_id` are the campaign's, behind its event.
    """

    event_id: int
    handler: str
    kind: str
    run_id: int
    run_item_id: int
    attempts: int


def claim_outside(database: Database, *, most: int) -> list[OutsideReaction]:
    """Outside reactions that are due, the oldest events first: this caller's for LEASE_SECONDS."""
    due = (
        sa.select(REACTION.c.event_id, REACTION.c.handler)
        .where(REACTION.c.status == PENDING, REACTION.c.due_at <= utc_now())
        .order_by(REACTION.c.event_id)
        .limit(most)
    )
    with database.read() as connection:
        if connection.execute(due.limit(1)).first() is None:
            return []
    with database.write() as connection:
        keys = [tuple(row) for row in connection.execute(due.with_for_update(skip_locked=True))]
        if not keys:
            return []
        now = connection.execute(sa.select(utc_now())).scalar_one()
        begun = (
            REACTION.update()
            .where(sa.tuple_(REACTION.c.event_id, REACTION.c.handler).in_(keys))
            .values(due_at=now + timedelta(seconds=LEASE_SECONDS), attempts=REACTION.c.attempts + 1)
            .returning(*(REACTION.c[each.name] for each in fields(OutsideReaction)))
        )
        claimed = [OutsideReaction(**row._asdict()) for row in connection.execute(begun)]
    return sorted(claimed, key=lambda each: each.event_id)


def begin_once(database: Database, reaction: OutsideReaction) -> bool:
    """Calls an outside reaction done before it is: whatever crashes from here on, nobody does it again.

    Returns:
        Whether it is the caller's to do; another process may have taken it up since it was claimed.
    """
    begun = REACTION.update().where(_as_claimed(reaction), REACTION.c.status == PENDING)
    with database.write() as connection:
        return bool(connection.execute(begun.values(status=DONE, due_at=None)).rowcount)


def settle_outside(
    database: Database, reaction: OutsideReaction, *, error: str | None, final: bool, begun: bool = False
) -> str:
    """Records what became of an outside reaction; its status: done, failed, or pending to be tried again.

    Args:
        database: The ledger.
        reaction: As it was claimed; one that another process has taken up since is left to that.
        error: What went wrong; None where nothing did.
        final: Whether another try would come to the same, or might do a second time what was done.
        begun: Whether `begin_once` has called it done.
    """
    again = error is not None and not final and reaction.attempts < MOST_TRIES
    status = "pending" if again else DONE if error is None else "failed"
    with database.write() as connection:
        now = connection.execute(sa.select(utc_now())).scalar_one()
        wait = timedelta(seconds=FIRST_WAIT_SECONDS * 4 ** (reaction.attempts - 1))
        settled = REACTION.update().where(
            _as_claimed(reaction), REACTION.c.status == (DONE if begun else PENDING)
        )
        connection.execute(settled.values(status=status, error=error, due_at=now + wait if again else None))
    return status


def _as_claimed(reaction: OutsideReaction) -> sa.ColumnElement[bool]:
    """Its row, as long as nobody has claimed it since."""
    return (
        (REACTION.c.event_id == reaction.event_id)
        & (REACTION.c.handler == reaction.handler)
        & (REACTION.c.attempts == reaction.attempts)
    )
