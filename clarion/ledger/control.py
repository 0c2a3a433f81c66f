"""What a person asks of a run: to pause, to stop, to go on. Nobody has to be at work on it for that.

The processes that work on a run read its control at least once a second. Where there are none, whoever asks
does it, and `reconcile` does it for those that died after they were asked.
"""

from collections.abc import Callable
from typing import Literal

import sqlalchemy as sa

from clarion.errors import RunConflictError
from clarion.ledger.claims import expire
from clarion.ledger.database import Database
from clarion.ledger.runs import REACTIONS, RunRecord, get_run, open_runs, set_status, status_values
from clarion.ledger.summaries import summarize
from clarion.ledger.tables import ENDED_STATUSES, RUN, WORKER
from clarion.ledger.workers import live_workers, reap_workers

Control = Literal["run", "pause", "stop"]

AT_WORK = ("scheduled", "planning", "running")
"""What a run is called while a process works on it, or is to begin."""

WORKER_GONE = "no process works on it any more"


_OPEN = sa.or_(RUN.c.status.not_in(ENDED_STATUSES), (RUN.c.kind == REACTIONS) & (RUN.c.status != "stopped"))
"""What a person may pause or stop. A run of reactions that is done goes on with the next answer."""


def _never(run: RunRecord) -> bool:  # noqa: ARG001
    """No run without a process comes back by itself."""
    return False


def request_control(database: Database, run_id: int, control: Control) -> bool:
    """Asks a run to pause, to stop, or to go on.

    Returns:
        Whether processes work on the run. They do what they are asked within two seconds. Where none does,
        it is paused or stopped by now; to go on it must be taken up.

    Raises:
        RunConflictError: The run has ended, or is to stop: that is final.
    """
    with database.write() as connection:
        asked = connection.execute(
            RUN.update()
            .where(RUN.c.id == run_id, _OPEN)
            .where(sa.or_(RUN.c.control != "stop", sa.literal(control) == "stop"))
            .values(control=control)
        ).rowcount
    if not asked:
        run = get_run(database, run_id)
        state = run.status if run.ended else "being stopped"
        raise RunConflictError(f"run {run.uid} is {state}", expected="a run that has not ended")
    return not enforce_control(database, run_id)


def take_up(database: Database, run_id: int, *, flow_run_id: str | None, go_on: bool) -> None:
    """Begins to work on a run.

    Args:
        database: The ledger.
        run_id: The run.
        flow_run_id: The Prefect flow run that does.
        go_on: Whether a person wants a paused run to go on by that.
    """
    resumed = sa.case((RUN.c.control == "pause", "run"), else_=RUN.c.control) if go_on else RUN.c.control
    values = {"control": resumed, "flow_run_id": sa.func.coalesce(flow_run_id, RUN.c.flow_run_id)}
    with database.write() as connection:
        connection.execute(RUN.update().where(RUN.c.id == run_id).values(**values))
    reap_workers(database, run_id)


def enforce_control(database: Database, run_id: int) -> bool:
    """Pauses or stops a run as it was asked, unless a process works on it. False where one does.

    A run that is being planned is stopped at once all the same: its planner may write no more.
    """
    run = get_run(database, run_id)
    if run.control == "stop" and run.planned_at is None:
        with database.write() as connection:
            connection.execute(WORKER.delete().where(WORKER.c.run_id == run_id))
    reap_workers(database, run_id)
    if live_workers(database, run_id):
        return False
    if run.control == "stop":
        end_stopped(database, run_id)
        summarize(database, run_id)
    elif run.control == "pause":
        mark_paused(database, run_id)
    return True


def end_stopped(database: Database, run_id: int) -> None:
    """Ends a run that is to stop, and what of it is pending; what was stopped before keeps its time."""
    expire(database, run_id, reason="stopped")
    open_ = (RUN.c.id == run_id) & _OPEN
    with database.write() as connection:
        connection.execute(RUN.update().where(open_).values(**status_values("stopped")))


def mark_paused(database: Database, run_id: int) -> None:
    """Calls a run paused, unless it has ended or is to go on by now.

    A reason that it has while it is at work is the one of its pause: its provider fails.
    """
    wanted = (RUN.c.id == run_id) & (RUN.c.control == "pause") & _OPEN
    kept = sa.case((RUN.c.status.in_((*AT_WORK, "paused")), RUN.c.reason), else_=None)
    with database.write() as connection:
        connection.execute(RUN.update().where(wanted).values({**status_values("paused"), "reason": kept}))


def mark_waiting(database: Database, run_id: int, *, reason: str) -> None:
    """Calls a run scheduled that goes on by itself later, unless it has ended or a person asked for else."""
    wanted = (RUN.c.id == run_id) & (RUN.c.control == "run") & RUN.c.status.not_in(ENDED_STATUSES)
    with database.write() as connection:
        connection.execute(RUN.update().where(wanted).values(**status_values("scheduled", reason=reason)))


def reconcile(database: Database, *, comes_back: Callable[[RunRecord], bool] = _never) -> list[RunRecord]:
    """Brings the runs right on which no process works any more, because it died; those that it changed.

    What was claimed becomes unknown, what a person asked for is done, and a run that was at work is
    interrupted: `clarion resume` takes it up.

    Args:
        database: The ledger.
        comes_back: Tells whether a run without a process only waits, and goes on by itself.
    """
    runs = open_runs(database)
    return [changed for run in runs if (changed := _reconciled(database, run, comes_back)) != run]


def _reconciled(database: Database, run: RunRecord, comes_back: Callable[[RunRecord], bool]) -> RunRecord:
    # What answers events goes on with whoever handles them next.
    idle = enforce_control(database, run.id) and run.control == "run" and run.parent_id is None
    if idle and not comes_back(run):
        set_status(database, run.id, "interrupted", reason=WORKER_GONE, only_from=AT_WORK)
    return get_run(database, run.id)


def note_crash(database: Database, run_id: int) -> None:
    """Calls a run interrupted whose process has crashed; its claims become unknown with its lease."""
    reap_workers(database, run_id)
    set_status(database, run_id, "interrupted", reason=WORKER_GONE, only_from=AT_WORK)
