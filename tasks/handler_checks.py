"""Holding a job's handlers against what they need outside the job: saved jobs, blocks, lists, subscribers."""

from functools import partial

from blocks.job import load_job
from blocks.notifications import load_notifier
from clarion.campaign import Problems, located
from clarion.errors import JobError, nearest
from clarion.ledger.managed_lists import find_list
from clarion.models.handlers import Handler
from clarion.models.job import Job
from tasks.sessions import ledger
from tasks.webhooks import installed_subscribers


def check_handlers(job: Job, *, against: str | None) -> None:
    """Finds what a job's handlers name that is not there: an answer may come when nobody looks.

    Args:
        job: The job.
        against: Where a rehearsal would send to; it tells nobody, so that no notification block is needed.

    Raises:
        InputError: Something is not there; all of it at once.
    """
    problems = Problems()
    for index, handler in enumerate(job.events):
        where = f"events[{index}].{handler.kind}"
        problems.attempt(located, where, partial(_check, handler, job, against=against))
    problems.check()


def _check(handler: Handler, job: Job, *, against: str | None) -> None:
    changed = handler.add_to_list or handler.remove_from_list or handler.set_attribute
    if changed is not None:
        with ledger().read() as connection:
            find_list(connection, changed.list)
    elif handler.run_job is not None:
        load_job(handler.run_job.job)
    elif handler.notify is not None and against is None:
        load_notifier(handler.notify.block)
    elif handler.emit is not None:
        _check_subscriber(handler.emit.subscriber, job)


def _check_subscriber(name: str, job: Job) -> None:
    known = [each.name for each in job.webhooks]
    if name in known:
        return
    known += [each.name for each in installed_subscribers()]
    if name not in known:
        raise JobError(
            f"there is no subscriber {name!r}",
            expected=f"one of {', '.join(known)}" if known else "one of the job's webhooks, or a saved one",
            nearest=nearest(name, known),
        )
