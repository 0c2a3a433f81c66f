"""Telling people that a run needs them."""

import asyncio
import inspect
import logging

from prefect.blocks.abstract import NotificationBlock
from prefect.events import emit_event

from blocks.notifications import load_notifier
from clarion.ledger.runs import RunRecord
from clarion.models.job import Job

logger = logging.getLogger(__name__)


def tell_paused(run: RunRecord) -> None:
    """Tells of a run paused for its provider's errors: a Prefect event, and the job's notification block.

    A pause that a person asked for has no reason, and is told nobody. That a notification cannot be sent is
    logged, and holds up nothing.

    Args:
        run: The run as the ledger has it now.
    """
    if run.reason is None:
        return
    emit_event(
        event="clarion.run.paused",
        resource={"prefect.resource.id": f"clarion.run.{run.uid}", "prefect.resource.name": run.job_name},
        payload={"run_id": run.uid, "job": run.job_name, "reason": run.reason, "counts": run.counts},
    )
    notify = Job.model_validate_json(run.job).notify
    if notify is None:
        return
    body = f"Run {run.uid} of {run.job_name} is paused: {run.reason}. `clarion resume {run.uid}` goes on."
    try:
        notify_by(notify, body, subject=f"{run.job_name} is paused")
    except Exception:
        logger.exception("A notification could not be sent", extra={"run": run.uid, "block": notify})


def notify_by(reference: str, body: str, *, subject: str | None) -> None:
    """Tells people by a saved notification block; raises whatever keeps it from doing so."""
    notifier: NotificationBlock = load_notifier(reference)
    with notifier.raise_on_failure():
        told: object = notifier.notify(body, subject=subject)
        if inspect.iscoroutine(told):  # Prefect's own have told by now; others may be async only
            asyncio.run(told)
