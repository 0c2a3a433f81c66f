"""The mapped step: one slice of run items, claimed, rendered, sent, judged, recorded."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import Task

from clarion.errors import ClarionError
from clarion.ledger.claims import Slice
from clarion.models.action import RetryPolicy
from clarion.sending.sender import LONG_WAIT_SECONDS, SliceResult
from tasks.sessions import deliver_slice, session_at_work


class ItemsLeftError(ClarionError):
    """Some items of the slice are to be tried again; Prefect's retry brings the slice back."""


def slice_name() -> str:
    """`deliver ACTION FIRST-LAST`: what a slice's task run is called, after the run items in it."""
    part: Slice = task_run.parameters["part"]
    items = str(part.first_id) if part.first_id == part.last_id else f"{part.first_id}-{part.last_id}"
    return f"deliver {part.action} {items}"


@task(name="deliver", task_run_name=slice_name, cache_policy=NO_CACHE, persist_result=False)
def deliver(part: Slice, run_uid: str, retries: int) -> SliceResult:
    """Sends what is due of a slice. What the ledger calls settled is not touched, on no try.

    Args:
        part: The slice.
        run_uid: The run.
        retries: How often Prefect may bring the slice back.

    Returns:
        What is left of the slice and due later than Prefect's retries reach: the flow maps it again.

    Raises:
        ItemsLeftError: Items are to be tried again within 5 s: Prefect's retry does.
    """
    with session_at_work(run_uid) as session:
        result = deliver_slice(session, part)
    soon = result.pending and max(result.due_in_seconds, result.held_seconds) <= LONG_WAIT_SECONDS
    if soon and session.may_send and (task_run.run_count or 1) <= retries:
        raise ItemsLeftError(f"items left to try again: {result.pending}")
    return result


def deliver_with(policy: RetryPolicy) -> Task[..., SliceResult]:
    """The task with Prefect's retries set to an action's back-off, as far as that stays within 5 s."""
    delays = [policy.delay_seconds(tries) for tries in range(1, policy.num_retries + 1)]
    near = [delay for delay in delays if delay <= LONG_WAIT_SECONDS]
    return deliver.with_options(retries=len(near), retry_delay_seconds=near or 0)
