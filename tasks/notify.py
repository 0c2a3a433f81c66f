"""Telling people that a run needs them."""

import asyncio
import inspect
import logging

import httpx
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.events import emit_event

from blocks.notifications import load_notifier
from clarion.error_text import logged_error
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
        tell(load_notifier(notify), body, subject=f"{run.job_name} is paused")
    except Exception as exc:  # noqa: BLE001  # blocks raise what they like
        extra = {"run": run.uid, "block": notify}
        logger.error("A notification could not be sent: %s", logged_error(exc), extra=extra)  # noqa: TRY400


def tell(notifier: NotificationBlock, body: str, *, subject: str | None) -> None:
    """Tells people by a notification block; raises whatever keeps it from doing so."""
    with notifier.raise_on_failure():
        told: object = notifier.notify(body, subject=subject)
        if inspect.iscoroutine(told):  # Prefect's own have told by now; others may be async only
            asyncio.run(told)


def is_unsent(notifier: NotificationBlock, error: Exception) -> bool:
    """Whether a notification that failed has certainly not left.

    It is known of the webhook that makes one request with httpx, whose errors tell a connection that was
    never there; all other blocks may have reached somebody.
    """
    never_connected = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return never_connected and isinstance(notifier, CustomWebhookNotificationBlock)
