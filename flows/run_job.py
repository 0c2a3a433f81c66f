"""The flow that runs a job once: plan, deliver, summarize."""

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from prefect import Task, flow, unmapped
from prefect.futures import PrefectFuture
from prefect.runtime import deployment, flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import AwareDatetime, BeforeValidator, PositiveInt

from blocks.http_action import load_action
from blocks.job import Job, load_job
from clarion import jobfile
from clarion.campaign import resolve_actions
from clarion.errors import ClarionError
from clarion.ledger.claims import Slice, expire
from clarion.ledger.runs import NewRun, RunRecord, create_run, find_run, get_run, set_flow_run, set_status
from clarion.ledger.workers import claimed_by_others, reap_workers
from clarion.models import job as core
from clarion.reporting import build_report
from clarion.sending.sender import SliceResult
from clarion.slices import WINDOW, SliceFeed, slice_size
from tasks.deliver import deliver_with
from tasks.plan import plan
from tasks.progress import Progress
from tasks.sessions import check_job, leave, ledger, session_of
from tasks.summarize import show_report, summarize

THREADS = WINDOW + 8
"""A slice that waits for Prefect's retry holds its thread: as many as slices, and some to spare."""

RUNNER: Any = ThreadPoolTaskRunner(max_workers=THREADS)  # its futures are invariant: typed it fits no flow

LOOK_SECONDS = 1.0


def find_job(job: Any) -> Job:
    """The job that a caller means: a path, the name of a saved job, a `Job`, or what the UI sends for one.

    Raises:
        InputError: There is no such file or saved job, or it is not valid.
    """
    if isinstance(job, Path) or (isinstance(job, str) and _looks_like_a_file(job)):
        path = Path(job)
        loaded = jobfile.anchor_paths(jobfile.load_job(path), base=path.parent.resolve())
    elif isinstance(job, str):
        loaded = load_job(job)
    elif isinstance(job, core.Job):
        loaded = jobfile.inline_templates(job, base=Path.cwd())
    else:
        return job
    return loaded if isinstance(loaded, Job) else Job.model_validate(loaded.model_dump())


def _looks_like_a_file(text: str) -> bool:
    return Path(text).suffix.lower() in {".yaml", ".yml", ".json"} or Path(text).is_file()


def run_name() -> str:
    """`JOB NAME`; of a run without a name the job and its time; a rehearsal says so.

    Prefect calls it once the parameters are checked. What stood in "Run Name" of the form is lost by it:
    nobody can tell a name that was typed there from one that Prefect made up.
    """
    given = flow_run.parameters
    kind = " rehearsal" if given.get("against") else ""
    starts = flow_run.scheduled_start_time.astimezone(UTC)
    return f"{given['job'].name}{kind} {given.get('name') or f'{starts:%Y-%m-%d %H:%M} UTC'}"


@flow(
    name="run-job",
    flow_run_name=run_name,
    task_runner=RUNNER,
    persist_result=False,
)
def run_job(  # noqa: PLR0917  # a flow's parameters are given by position as well
    job: Annotated[Job, BeforeValidator(find_job)],
    name: str = "",
    start_at: AwareDatetime | None = None,
    send_until: AwareDatetime | None = None,
    end_at: AwareDatetime | None = None,
    limit: PositiveInt | None = None,
    against: str = "",
    new: bool = False,
) -> dict[str, Any]:
    """Applies a job once to each of its recipients.

    Args:
        job: The saved job to run. In Python also a path to a job file, or the name of a saved job.
        name: A name for this run, shown in the list of runs and in its report.
        start_at: Send nothing before this time.
        send_until: Send nothing after this time; what is left is skipped as expired.
        end_at: Answers are handled until this time.
        limit: Send to the first so many due recipients only, at least 1; all others are skipped.
        against: Rehearse: send to this URL instead of the real hosts, with made-up credentials.
        new: Start although an earlier run of the job is unfinished. Its open recipients may then get both.

    Returns:
        The report of the run, as `clarion report --json` prints it.
    """
    run = open_run(
        job,
        run_key=_run_key(),
        kind="rehearsal" if against else "run",
        name=name or None,
        start_at=start_at,
        send_until=send_until,
        end_at=end_at,
        item_limit=limit,
        against=against or None,
        alongside=new,
    )
    return work_on(run.uid)


def _run_key() -> str | None:
    """What makes this flow run the same run again when Prefect delivers or retries it.

    A deployment's run stands for its scheduled time, however often that is delivered; any other flow run
    stands for itself.
    """
    if deployment.id:
        return f"{deployment.id}/{flow_run.scheduled_start_time.isoformat()}"
    return flow_run.id


def open_run(job: core.Job, *, alongside: bool = False, **options: Any) -> RunRecord:
    """Checks a job as far as that goes without reading its lists to the end, and creates its run.

    Args:
        job: The job.
        alongside: Start although the job has an unfinished run.
        options: Fields of `NewRun`.

    Raises:
        InputError: The job is not valid, or has an unfinished run; then there is no new run.
    """
    whole = prepare(job, against=options.get("against"))
    snapshot = core.Job.model_validate(whole.model_dump(include=set(core.Job.model_fields)))
    new = NewRun(job_name=snapshot.name, job=snapshot.model_dump_json(), base=str(Path.cwd()), **options)
    return create_run(ledger(), new, alongside=alongside)


def prepare(job: core.Job, *, against: str | None = None) -> core.Job:
    """The job with its saved actions taken in, checked as far as that goes without judging its rows.

    Raises:
        InputError: The job is not valid.
    """
    whole = resolve_actions(job, load=load_action)
    check_job(whole, against=against)
    return whole


def work_on(run_uid: str) -> dict[str, Any]:
    """Brings a run to its end, from wherever it stands: plans it if need be, sends, summarizes.

    Returns:
        The report.
    """
    database = ledger()
    run = find_run(database, run_uid)
    if run.ended and not (run.status == "failed" and run.planned_at is None):
        return build_report(database, run)
    if flow_run.id:
        set_flow_run(database, run.id, flow_run.id)
    reap_workers(database, run.id)
    progress = Progress(database, run.id)
    progress.update()
    try:
        if _wait_for_start(run):
            if run.planned_at is None:
                plan(run_uid)
            set_status(database, run.id, "running", only_from=("interrupted", "paused"))
            _deliver(run, progress)
    except BaseException as exc:
        leave(run_uid)
        set_status(database, run.id, "interrupted", reason=_reason(exc), only_from=("planning", "running"))
        raise
    leave(run_uid)
    _end(run)
    report = summarize(run_uid)
    show_report(report)
    return report


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, ClarionError) else type(error).__name__


def _wait_for_start(run: RunRecord) -> bool:
    """Waits for the run's time. False where a person stopped or paused it meanwhile."""
    while get_run(ledger(), run.id).control == "run":
        left = (run.start_at - datetime.now(UTC)).total_seconds() if run.start_at else 0
        if left <= 0:
            return True
        time.sleep(min(left, LOOK_SECONDS))
    return False


def _deliver(run: RunRecord, progress: Progress) -> None:
    """Maps the deliver task over slices of what is due, in a rolling window, until nothing is pending.

    What another worker has claimed is waited for: until its lease has run out, a dead one looks like one that
    is still at work, and one that leaves gives items back.
    """
    session = session_of(run.uid)
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
    while True:
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
        expire(database, run.id, reason="stopped")
        set_status(database, run.id, "stopped")
    elif now.control == "pause":
        set_status(database, run.id, "paused")
    elif run.send_until is not None and datetime.now(UTC) >= run.send_until:
        expire(database, run.id, reason="expired")
        set_status(database, run.id, _done_status(run))
    elif now.pending:
        set_status(database, run.id, "interrupted", reason="the lease of the worker ran out")
    else:
        set_status(database, run.id, _done_status(run))


def _done_status(run: RunRecord) -> str:
    return "unresolved" if get_run(ledger(), run.id).unknown else "completed"
