"""The reaction that starts another job for one recipient: a run of it, sent as reactions are."""

from blocks.job import load_job
from clarion.errors import ClarionError, RunConflictError
from clarion.handling import LoadedReaction
from clarion.ledger.plans import PlanWriter
from clarion.ledger.reactions import STARTED, started_run_key
from clarion.ledger.runs import RunRecord
from clarion.models.job import Job, Recipients
from clarion.models.lists import ItemsList
from flows.run_job import open_run
from tasks.plan import write_plan
from tasks.sessions import ledger


def start_job(reaction: LoadedReaction) -> None:
    """Starts the saved job of a reaction for the item of its event, once however often it is tried.

    The run's key is made of the event and the handler: whoever tries again finds the run, and plans it where
    that was cut off. Its exclude lists, suppressions, windows and limits hold as in any run of the job.

    Raises:
        InputError: There is no such job, or it is not valid.
        ClarionError: The run cannot be planned; it ends as failed, and stays so.
    """
    wanted = reaction.handler.handler.run_job
    assert wanted is not None  # noqa: S101  # of this kind
    run = open_run(
        _for_one(load_job(wanted.job), reaction),
        run_key=started_run_key(reaction.uid, reaction.handler.name),
        kind=STARTED,
        name=reaction.handler.name,
        against=reaction.run.against,
        parent_id=reaction.run.id,
        alongside=True,
    )
    if run.status == "failed":
        raise RunConflictError(f"run {run.uid} of the job {run.job_name!r} has failed: {run.reason}")
    if run.planned_at is None and not run.ended:
        _plan(run)


def _for_one(job: Job, reaction: LoadedReaction) -> Job:
    """The job with the one item in place of its own lists; who is excluded stays so."""
    item = dict(reaction.occurrence.item)
    keys = [source.key for source in job.recipients.include if source.key in item]
    one = ItemsList(items=[item], key=keys[0] if keys else None)
    recipients = Recipients(include=[one], exclude=job.recipients.exclude)
    return job.model_copy(update={"recipients": recipients})


def _plan(run: RunRecord) -> None:
    writer = PlanWriter(ledger(), run.id)
    try:
        write_plan(run, writer)
    except ClarionError as exc:
        writer.discard(exc.message)
        raise
