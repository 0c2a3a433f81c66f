"""What the flows do with a run: bring it to its end, from wherever it stands."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from prefect.exceptions import Pause
from prefect.runtime import flow_run
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from clarion.errors import ClarionError, RunConflictError
from clarion.ledger.claims import expire
from clarion.ledger.control import AT_WORK, end_stopped, mark_paused, request_control, take_up
from clarion.ledger.runs import RunRecord, find_run, get_run, set_status
from clarion.ledger.workers import claimed_by_others
from clarion.reporting import build_report, told
from clarion.sending.session import RunSession
from clarion.slices import WINDOW, SliceFeed, slice_size
from flows.hand_out_slices import Handout, handing_out
from flows.shield import shield
from flows.wait_for_due import (
    HeldError,
    came_back_by_itself,
    give_way,
    leave_if_held,
    leave_until_start,
    schedule_again,
)
from flows.watch_run import LOOK_SECONDS, Watch, may_suspend, suspend
from tasks.notify import tell_paused
from tasks.plan import plan
from tasks.progress import Progress
from tasks.runners import Runner, chosen_runner
from tasks.sessions import halt, leave, ledger, open_session, start_processes
from tasks.summarize import show_report, summarize

THREADS = WINDOW + 8
"""A slice that waits for Prefect's retry holds its thread: as many as slices, and some to spare."""

RUNNER: Any = ThreadPoolTaskRunner(max_workers=THREADS)  # its futures are invariant: typed it fits no flow
"""Where the flow's tasks run; slices may go elsewhere, as `tasks.runners.chosen_runner` tells."""


class RunInterruptedError(ClarionError):
    """The run is interrupted."""


def work_on(run_uid: str, *, resumed: bool = False) -> Any:
    """Brings a run to its end: plans it if need be, sends, summarizes. A paused one it waits with, or leaves.

    Args:
        run_uid: The run.
        resumed: A person asks for it: where the run is paused, it goes on. So it does for the flow run that
            worked on it before, unless that has only waited: then Resume or Retry has brought it back.

    Returns:
        The report; of a deployment's run that was stopped, Prefect's state for that.

    Raises:
        Pause: A deployment's run is paused, or waits for long: its process ends here. Resume, or its time,
            starts another.
        RunInterruptedError: Something is left to be sent, and this process may not send it any more.
    """
    database = ledger()
    run = find_run(database, run_uid)
    if run.ended and not (run.status == "failed" and run.planned_at is None):
        return build_report(database, run)
    take_up(database, run.id, flow_run_id=flow_run.id, go_on=resumed or _brought_back(run))
    try:
        left = _work_unless_left(run)
    except BaseException as exc:
        with shield() as shielded:  # from another signal
            stopped = shielded(partial(_end_interrupted, run, exc))
        if not stopped:
            raise
    else:
        if left == "paused":
            suspend()
        if left == "held":
            give_way(run)
    report = summarize(run_uid)
    show_report(report)
    if report["status"] == "interrupted":
        raise RunInterruptedError(
            f"run {run_uid} is interrupted: {report['reason']}; `clarion resume {run_uid}` goes on"
        )
    stopped = report["status"] == "stopped" and may_suspend()
    return Cancelled(message="Stopped.") if stopped else report


def _brought_back(run: RunRecord) -> bool:
    """Whether a person has brought back the flow run that worked on a run before."""
    if flow_run.id is None or run.flow_run_id != flow_run.id:
        return False
    return run.control != "pause" or not came_back_by_itself()


def _work_unless_left(run: RunRecord) -> Literal["paused", "held"] | None:
    """Works on a run until it has its last status; else why its worker has to be left."""
    try:
        with Watch(run):
            try:
                _work(run)
            except HeldError as held:
                leave(run.uid, patiently=True)
                schedule_again(run, held)
                return "held"
    except Pause:  # from `_pause`, or from Prefect itself, which heard the UI's Pause button first
        halt(run.uid, "pause")
        leave(run.uid, patiently=True)
        if not get_run(ledger(), run.id).ended:
            request_control(ledger(), run.id, "pause")
            mark_paused(ledger(), run.id)
        return "paused"
    return None


def _end_interrupted(run: RunRecord, error: BaseException) -> bool:
    """Leaves a run after an error or a signal; whether a person's stop is behind it."""
    leave(run.uid)
    database = ledger()
    if get_run(database, run.id).control == "stop":
        end_stopped(database, run.id)
    set_status(database, run.id, "interrupted", reason=told(error), only_from=AT_WORK)
    return isinstance(error, RunConflictError) and get_run(database, run.id).status == "stopped"


def _work(run: RunRecord) -> None:
    """Plans and sends, pauses and goes on, until the run has its last status."""
    progress = Progress(ledger(), run.id)
    progress.update()
    while not _advance(run, progress):
        leave(run.uid, patiently=True)
        control = get_run(ledger(), run.id).control
        if control == "pause":
            tell_paused(get_run(ledger(), run.id))
            _pause(run)
        elif control == "stop":
            break
    leave(run.uid)
    _end(run)


def _advance(run: RunRecord, progress: Progress) -> bool:
    """Plans and sends until nothing is pending. False where a person's word came between."""
    database = ledger()
    if not _wait_for_start(run):
        return False
    runner = chosen_runner()
    if runner.kind == "process":  # they start while the run is planned
        start_processes(run.uid, runner.workers)
    if get_run(database, run.id).planned_at is None:
        plan(run.uid)
    if get_run(database, run.id).control != "run":
        return False
    set_status(database, run.id, "running", only_from=("scheduled", "interrupted", "paused"))
    return _deliver(run, progress)


def _wait_for_start(run: RunRecord) -> bool:
    """Waits for the run's time. False where a person stopped or paused it meanwhile.

    Raises:
        HeldError: That is long, and its worker has to be left.
    """
    while get_run(ledger(), run.id).control == "run":
        if run.start_at is None or run.start_at <= datetime.now(UTC):
            return True
        leave_until_start(run.start_at)
        left = (run.start_at - datetime.now(UTC)).total_seconds()
        time.sleep(max(0.0, min(left, LOOK_SECONDS)))
    return False


def _pause(run: RunRecord) -> None:
    """Pauses in place until a person lets the run go on or stops it; a deployment's run leaves its worker."""
    if may_suspend():
        raise Pause
    mark_paused(ledger(), run.id)
    while get_run(ledger(), run.id).control == "pause":
        time.sleep(LOOK_SECONDS)


def _deliver(run: RunRecord, progress: Progress) -> bool:
    """Maps the deliver task over slices of what is due, in a rolling window, until nothing is pending.

    What another worker has claimed is waited for: until its lease has run out, a dead one looks like one that
    is still at work, and one that leaves gives items back.

    Returns:
        False where a person's word ended it. Slices may then still wait for Prefect's retry: they find their
        session halted.

    Raises:
        HeldError: All that is left has to wait for long, and its worker has to be left.
    """
    session = open_session(run.uid)
    runner = chosen_runner()
    feed = SliceFeed(
        database=ledger(),
        run_id=run.id,
        actions=sorted(session.limits),
        size=slice_size(get_run(ledger(), run.id).pending, workers=runner.workers),
    )
    with handing_out(run, session.campaign, runner) as handout:
        try:
            with shield() as shielded:
                turn = partial(_turn, session, feed, handout, runner)
                while session.control == "run" and shielded(turn):
                    shielded(progress.update)
        except Pause:  # Prefect heard the UI's Pause button first
            _hear_pause(run)
        except HeldError:
            progress.update(at_once=True)
            raise
    progress.update(at_once=True)
    return session.control == "run"


def _turn(session: RunSession, feed: SliceFeed, handout: Handout, runner: Runner) -> bool:
    """Hands out what is due, and takes back what is done. False where nothing is left to be done.

    Raises:
        HeldError: All that is left has to wait for long, and its worker has to be left.
    """
    run_id = session.run.id
    if runner.on_cluster:  # whose processes leave a run that somebody took for dead
        set_status(ledger(), run_id, "running", only_from=("interrupted",))
    if session.may_send:
        handout.add(feed.take(runner.window - len(handout)))
    alone = not handout and not claimed_by_others(ledger(), run_id, token=session.token)
    work = feed.open_work() if session.may_send and not handout else None
    idle = not handout and not (work and work.pending)
    if alone and idle:
        return False
    if alone and work:
        leave_if_held(work, send_until=session.run.send_until)
    seconds = LOOK_SECONDS if handout or idle else feed.wait_seconds(LOOK_SECONDS)
    for part, result in handout.back(seconds):
        feed.done(part, held_seconds=result.held_seconds)
    return True


def _hear_pause(run: RunRecord) -> None:
    with suppress(RunConflictError):  # it is to stop, or has ended
        request_control(ledger(), run.id, "pause")
    halt(run.uid, get_run(ledger(), run.id).control)


def _end(run: RunRecord) -> None:
    """Gives the run the status that its items and its control say."""
    database = ledger()
    now = get_run(database, run.id)
    if now.control == "stop":
        end_stopped(database, run.id)
    elif run.send_until is not None and datetime.now(UTC) >= run.send_until:
        expire(database, run.id, reason="expired")
        set_status(database, run.id, _done_status(run))
    elif now.pending:
        set_status(database, run.id, "interrupted", reason="the lease of the worker ran out")
    else:
        set_status(database, run.id, _done_status(run))


def _done_status(run: RunRecord) -> str:
    return "unresolved" if get_run(ledger(), run.id).unknown else "completed"
