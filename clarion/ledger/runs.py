"""Runs: creating them, finding them, and the states they go through."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from clarion.errors import InputError, RunConflictError
from clarion.ledger.database import Database, utc_now
from clarion.ledger.tables import ENDED_STATUSES, ITEM_COUNTS, RUN

LAST = "last"

REACTIONS = "reactions"
"""The kind of a run whose items answer the events of another one."""

REACTIONS_KEY = "reactions:"
"""Before the other run's uid: the key of that run."""

_JOB_LOCKS = 0x6A6F62  # any number that is ours: the first half of PostgreSQL's advisory locks
_UNFINISHED = RUN.c.status.not_in(ENDED_STATUSES)


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """What a run is created with.

    Times are aware UTC; `run_key` None means a new one. `kind` is run, rehearsal, test, or reaction for one
    that a handler has started: only a run counts as the job's last one. `parent_id` is the run whose event
    has started it.
    """

    job_name: str
    job: str
    base: str
    run_key: str | None = None
    name: str | None = None
    kind: str = "run"
    against: str | None = None
    item_limit: int | None = None
    start_at: datetime | None = None
    send_until: datetime | None = None
    end_at: datetime | None = None
    flow_run_id: str | None = None
    parent_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as the ledger has it.

    `parent_id` is the run whose events are answered by this one, or have started it; None of all others.
    """

    id: int
    uid: str
    job_name: str
    run_key: str
    name: str | None
    job: str
    base: str
    status: str
    reason: str | None
    control: str
    kind: str
    parent_id: int | None
    against: str | None
    item_limit: int | None
    flow_run_id: str | None
    start_at: datetime | None
    send_until: datetime | None
    end_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    planned_at: datetime | None
    ended_at: datetime | None
    bad_rows: int
    total: int
    skipped: int
    pending: int
    sending: int
    succeeded: int
    failed: int
    unknown: int

    @property
    def counts(self) -> dict[str, int]:
        """`total` and the count of each status; the counts add up to the total."""
        return {"total": self.total, **{status: getattr(self, status) for status in ITEM_COUNTS}}

    @property
    def ended(self) -> bool:
        """Whether the run has come to its end."""
        return self.status in ENDED_STATUSES

    def scope(self) -> dict[str, Any]:
        """What templates see as `run`; of a run of reactions that is the run that they answer for."""
        uid = self.run_key.removeprefix(REACTIONS_KEY) if self.kind == REACTIONS else self.uid
        return {"id": uid, "name": self.name, "start_at": _iso(self.start_at or self.created_at)}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def create_run(database: Database, new: NewRun, *, alongside: bool = False) -> RunRecord:
    """Creates a scheduled run. A run key that exists gives its run back: a scheduled time starts one run.

    Args:
        database: The ledger.
        new: What the run is made of.
        alongside: Start although the job has an unfinished run (`--new`).

    Raises:
        RunConflictError: The job has an unfinished run.
    """
    uid = secrets.token_hex(8)
    key = new.run_key or uid
    with database.write() as connection:
        _lock_job(connection, new.job_name)
        existing = _one(connection, RUN.c.job_name == new.job_name, RUN.c.run_key == key)
        if existing:
            return existing
        if not alongside:
            _refuse_unfinished(connection, new.job_name, kind=new.kind)
        values = {**vars(new), "run_key": key, "uid": uid, "status": "scheduled", "control": "run"}
        counters = dict.fromkeys(("total", "bad_rows", *ITEM_COUNTS), 0)
        connection.execute(RUN.insert().values(**values, **counters, created_at=utc_now()))
        created = _one(connection, RUN.c.uid == uid)
    assert created is not None  # noqa: S101  # just written
    return created


def _lock_job(connection: Connection, job_name: str) -> None:
    """Lets one process at a time create a run of a job; on SQLite the write transaction does."""
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(_JOB_LOCKS, sa.func.hashtext(job_name))
        connection.execute(sa.select(lock))


def refuse_unfinished(database: Database, job_name: str, *, kind: str = "run") -> None:
    """Raises RunConflictError where the job has an unfinished run of that kind."""
    with database.read() as connection:
        _refuse_unfinished(connection, job_name, kind=kind)


def _refuse_unfinished(connection: Connection, job_name: str, *, kind: str) -> None:
    unfinished = _one(connection, RUN.c.job_name == job_name, RUN.c.kind == kind, _UNFINISHED)
    if unfinished:
        raise RunConflictError(
            f"run {unfinished.uid} of the job {job_name!r} is {unfinished.status}",
            expected=f"`clarion resume {unfinished.uid}` to finish it, or --new to start another beside it",
        )


def find_run(database: Database, reference: str, *, job_name: str | None = None) -> RunRecord:
    """The run that `reference` names: an id, the beginning of one, or `last`.

    The last one is never one that only answers events, or was started by one.

    Args:
        database: The ledger.
        reference: What a person typed.
        job_name: Look among this job's runs only.

    Raises:
        InputError: No run, or several, are named so.
    """
    among = [] if job_name is None else [RUN.c.job_name == job_name]
    with database.read() as connection:
        if reference == LAST:
            found = _many(connection, *among, RUN.c.parent_id.is_(None), limit=1)
        else:
            found = _many(connection, RUN.c.uid.startswith(reference, autoescape=True), *among, limit=5)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"there is no run {reference!r}", where="RUN", expected="an id of `clarion runs`, or last"
        )
    names = ", ".join(run.uid for run in found)
    raise InputError(
        f"{reference!r} is the beginning of several runs", where="RUN", expected=f"one of {names}"
    )


def get_run(database: Database, run_id: int) -> RunRecord:
    """The run with that key, as it is now."""
    with database.read() as connection:
        run = _one(connection, RUN.c.id == run_id)
    assert run is not None  # noqa: S101  # runs are never deleted
    return run


def list_runs(
    database: Database,
    *,
    limit: int,
    job_name: str | None = None,
    kind: str | None = None,
    children: bool = False,
) -> list[RunRecord]:
    """Runs, the newest first, of one job or of one kind only where these are given.

    Args:
        database: The ledger.
        limit: So many at most.
        job_name: Of this job.
        kind: Of this kind.
        children: Also those that answer events, or were started by one.
    """
    among = [] if job_name is None else [RUN.c.job_name == job_name]
    if not children:
        among.append(RUN.c.parent_id.is_(None))
    if kind is not None:
        among.append(RUN.c.kind == kind)
    with database.read() as connection:
        return _many(connection, *among, limit=limit)


def job_names(database: Database) -> list[str]:
    """The names of all jobs that have runs, in the order of the alphabet."""
    with database.read() as connection:
        return list(connection.scalars(sa.select(RUN.c.job_name).distinct().order_by(RUN.c.job_name)))


def open_runs(database: Database) -> list[RunRecord]:
    """Runs that have not ended, and those that were stopped but have something left; the newest first."""
    left = (RUN.c.status == "stopped") & (RUN.c.pending + RUN.c.sending > 0)
    with database.read() as connection:
        return _many(connection, sa.or_(_UNFINISHED, left))


def run_with_key(database: Database, job_name: str, run_key: str | None) -> RunRecord | None:
    """The run of a job that was created under a key, or None."""
    with database.read() as connection:
        return _one(connection, RUN.c.job_name == job_name, RUN.c.run_key == run_key)


def run_of_flow_run(database: Database, flow_run_id: str) -> RunRecord | None:
    """The run that a Prefect flow run worked on last, or None."""
    with database.read() as connection:
        return _one(connection, RUN.c.flow_run_id == flow_run_id)


def set_status(
    database: Database, run_id: int, status: str, *, reason: str | None = None, only_from: Sequence[str] = ()
) -> bool:
    """Moves a run to a status; stamps `started_at` and `ended_at`. False where it is not in `only_from`."""
    query = RUN.update().where(RUN.c.id == run_id).values(**status_values(status, reason=reason))
    if only_from:
        query = query.where(RUN.c.status.in_(only_from))
    with database.write() as connection:
        return connection.execute(query).rowcount == 1


def status_values(status: str, *, reason: str | None = None) -> dict[str, Any]:
    """The columns of a run that change with its status."""
    values: dict[str, Any] = {"status": status, "reason": reason}
    if status == "planning":
        values["started_at"] = sa.func.coalesce(RUN.c.started_at, utc_now())
    values["ended_at"] = utc_now() if status in ENDED_STATUSES else None
    return values


def count_changes(connection: Connection, run_id: int, changes: dict[str, int]) -> None:
    """Adds to the run's counters, in the transaction that changes its items.

    Args:
        connection: The open transaction.
        run_id: The run.
        changes: Counter to difference, for example `{"pending": -3, "sending": 3}`.
    """
    if any(changes.values()):
        more = {f"more_{name}": changes.get(name, 0) for name in COUNTERS}
        connection.execute(_COUNT, {"run": run_id, **more})


COUNTERS = ("total", *ITEM_COUNTS)

_COUNT = (
    RUN.update()
    .where(RUN.c.id == sa.bindparam("run"))
    .values({name: RUN.c[name] + sa.bindparam(f"more_{name}") for name in COUNTERS})
)


def _one(connection: Connection, *criteria: sa.ColumnElement[bool]) -> RunRecord | None:
    found = _many(connection, *criteria, limit=1)
    return found[0] if found else None


def _many(
    connection: Connection, *criteria: sa.ColumnElement[bool], limit: int | None = None
) -> list[RunRecord]:
    rows = connection.execute(RUN.select().where(*criteria).order_by(RUN.c.id.desc()).limit(limit))
    return [_record(row) for row in rows]


def _record(row: Row[Any]) -> RunRecord:
    return RunRecord(**row._asdict())
