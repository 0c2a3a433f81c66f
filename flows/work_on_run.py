"""What the flows do with a run: bring it to its end, from wherever it stands."""

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import Task, unmapped
from prefect.exceptions import Pause
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from clarion.errors import ClarionError, RunConflictError
from clarion.ledger.claims import Slice, expire
from clarion.ledger.control import AT_WORK, end_stopped, mark_paused, request_control, take_up
from clarion.ledger.runs import RunRecord, find_run, get_run, set_status
from clarion.ledger.workers import claimed_by_others
from clarion.reporting import build_report
from clarion.sending.sender import SliceResult
from clarion.slices import WINDOW, SliceFeed, slice_size
from flows.watch_run import LOOK_SECONDS, Watch, may_suspend, suspend
from tasks.deliver import deliver_with
from tasks.plan import plan
from tasks.progress import Progress
from tasks.sessions import leave, ledger, open_session
from tasks.summarize import show_report, summarize

THREADS = WINDOW + 8
"""A slice that waits for Prefect's retry holds its thread: as many as slices, and some to spare."""

RUNNER: Any = ThreadPoolTaskRunner(max_workers=THREADS)  # its futures are invariant: typed it fits no flow


def work_on(run_uid: str, *, resumed: bool = False) -> Any:
    """Brings a run to its end: plans it if need be, sends, summarizes. A paused one it waits with, or leaves.

    Args:
        run_uid: The run.
        resumed: A person asks for it: where the run is paused, it goes on. So it does for the flow run that
            worked on it before, as only Resume and Retry bring that one back.

    Returns:
        The report; of a deployment's run that was stopped, Prefect's state for that.

    Raises:
        Pause: A deployment's run is paused: its process ends here, and Resume starts another.
    """
    database = ledger()
    run = find_run(database, run_uid)
    if run.ended and not (run.status == "failed" and run.planned_at is None):
        return build_report(database, run)
    go_on = resumed or (flow_run.id is not None and run.flow_run_id == flow_run.id)
    take_up(database, run.id, flow_run_id=flow_run.id, go_on=go_on)
    try:
        paused = _work_unless_paused(run)
    except BaseException as exc:
        leave(run_uid)
        if not _end_interrupted(run, exc):
            raise
    else:
        if paused:
            suspend()
    report = summarize(run_uid)
    show_report(report)
    stopped = report["status"] == "stopped" and may_suspend()
    return Cancelled(message="Stopped.") if stopped else report


def _work_unless_paused(run: RunRecord) -> bool:
    """Works on a run until it has its last status; True where it is paused and its worker has to be left."""
    try:
        with Watch(run):
            _work(run)
    except Pause:  # from `_pause`, or from Prefect itself, which heard the UI's Pause button first
        leave(run.uid, patiently=True)
        if not get_run(ledger(), run.id).ended:
            request_control(ledger(), run.id, "pause")
            mark_paused(ledger(), run.id)
        return True
    return False


def _end_interrupted(run: RunRecord, error: BaseException) -> bool:
    """Ends the work on a run after an error or a signal; whether a person's stop is behind it."""
    database = ledger()
    if get_run(database, run.id).control == "stop":
        end_stopped(database, run.id)
    reason = error.message if isinstance(error, ClarionError) else type(error).__name__
    set_status(database, run.id, "interrupted", reason=reason, only_from=AT_WORK)
    return isinstance(error, RunConflictError) and get_run(database, run.id).status == "stopped"


def _work(run: RunRecord) -> None:
    """Plans and sends, pauses and goes on, until the run has its last status."""
    progress = Progress(ledger(), run.id)
    progress.update()
    while not _advance(run, progress):
        leave(run.uid, patiently=True)
        control = get_run(ledger(), run.id).control
        if control == "pause":
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
    if get_run(database, run.id).planned_at is None:
        plan(run.uid)
    if get_run(database, run.id).control != "run":
        return False
    set_status(database, run.id, "running", only_from=("interrupted", "paused"))
    return _deliver(run, progress)


def _wait_for_start(run: RunRecord) -> bool:
    """Waits for the run's time. False where a person stopped or paused it meanwhile."""
    while get_run(ledger(), run.id).control == "run":
        left = (run.start_at - datetime.now(UTC)).total_seconds() if run.start_at else 0
        if left <= 0:
            return True
        time.sleep(min(left, LOOK_SECONDS))
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
    """
    session = open_session(run.uid)
    feed = SliceFeed(
        database=ledger(),
        run_id=run.id,
        actions=sorted(session.limits),
        size=slice_size(get_run(ledger(), run.id).pending),
    )
    tasks = {
        name: deliver_with(action.action.retry_policy) for name, action in session.campaign.actions.items()
    }
    finished: queue.SimpleQueue[PrefectFuture[SliceResult]] = queue.SimpleQueue()
    out: dict[PrefectFuture[SliceResult], Slice] = {}
    while session.control == "run":
        if session.may_send:
            out.update(_map(feed.take(WINDOW - len(out)), tasks, run.uid, finished))
        idle = not out and not (session.may_send and feed.open_work().pending)
        if idle and not claimed_by_others(ledger(), run.id, token=session.token):
            break
        for future in _finished(finished, LOOK_SECONDS if out or idle else feed.wait_seconds(LOOK_SECONDS)):
            part = out.pop(future)
            feed.done(part, held_seconds=future.result().held_seconds)
        progress.update()
    progress.update(at_once=True)
    return session.control == "run"


def _map(
    parts: Sequence[Slice],
    tasks: Mapping[str, Task[..., SliceResult]],
    run_uid: str,
    finished: "queue.SimpleQueue[PrefectFuture[SliceResult]]",
) -> dict[PrefectFuture[SliceResult], Slice]:
    """Maps each action's own task over its slices; a future that is done puts itself into `finished`."""
    mapped: dict[PrefectFuture[SliceResult], Slice] = {}
    for action in sorted({part.action for part in parts}):
        of_action = [part for part in parts if part.action == action]
        task = tasks[action]
        futures = task.map(of_action, run_uid=unmapped(run_uid), retries=unmapped(task.retries))
        mapped.update(zip(futures, of_action, strict=True))
    for future in mapped:
        future.add_done_callback(finished.put)
    return mapped


def _finished(
    finished: "queue.SimpleQueue[PrefectFuture[SliceResult]]", seconds: float
) -> Iterator[PrefectFuture[SliceResult]]:
    """The futures that are done, after waiting for the first of them for at most so long."""
    try:
        yield finished.get(timeout=seconds)
        while True:
            yield finished.get_nowait()
    except queue.Empty:
        return


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
