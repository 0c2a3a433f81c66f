"""The flow that runs a job once: plan, deliver, summarize."""

from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import deployment, flow_run
from pydantic import AwareDatetime, BeforeValidator, PositiveInt

from blocks.http_action import load_action
from blocks.job import Job, load_job
from clarion import jobfile
from clarion.compiling import resolve_actions
from clarion.ledger.runs import NewRun, RunRecord, create_run, run_with_key
from clarion.models import job as core
from flows.catch_up import missed
from flows.hooks import interrupt_crashed_run, stop_cancelled_run
from flows.work_on_run import RUNNER, work_on
from tasks.handler_checks import check_handlers
from tasks.runners import chosen_runner
from tasks.sessions import check_job, ledger


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
    on_cancellation=[stop_cancelled_run],
    on_crashed=[interrupt_crashed_run],
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
        The report of the run, as `clarion report --json` prints it. Of a deployment's run that was stopped,
        or missed and is not made up for, Prefect's state for that.
    """
    key = _run_key()
    left_out: Any = None if run_with_key(ledger(), job.name, key) else missed(job.schedule)
    if left_out is not None:
        return left_out
    run = open_run(
        job,
        run_key=key,
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

    A run key that exists gives its run back, whatever has become of the job since: it has a snapshot.

    Args:
        job: The job.
        alongside: Start although the job has an unfinished run.
        options: Fields of `NewRun`.

    Raises:
        InputError: The job is not valid, or has an unfinished run; then there is no new run.
    """
    known = run_with_key(ledger(), job.name, options.get("run_key"))
    if known is not None:
        return known
    whole = prepare(job, against=options.get("against"))
    snapshot = core.Job.model_validate(whole.model_dump(include=set(core.Job.model_fields)))
    new = NewRun(job_name=snapshot.name, job=snapshot.model_dump_json(), base=str(Path.cwd()), **options)
    return create_run(ledger(), new, alongside=alongside)


def prepare(job: core.Job, *, against: str | None = None) -> core.Job:
    """The job with its saved actions taken in, checked as far as that goes without judging its rows.

    Raises:
        InputError: The job is not valid, or the setting of the runner is not.
    """
    chosen_runner()
    whole = resolve_actions(job, load=load_action)
    check_job(whole, against=against)
    check_handlers(whole, against=against)
    return whole
