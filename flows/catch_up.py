"""Scheduled runs that were missed while nothing was up: which of them are made up for."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, State

from blocks.documents import prefect_client
from clarion.models.timing import Schedule

GRACE = timedelta(minutes=5)
"""A run that is taken up later than that was missed: a restart is no reason to leave a campaign out."""

QUEUED = "AwaitingConcurrencySlot"
"""Prefect's name for a run that a worker would have begun, had an earlier one of the job not still worked."""


def missed(schedule: Schedule | None) -> State[Any] | None:
    """Prefect's state for a scheduled run that was missed and is not made up for; None where it is to run.

    Only what the schedule itself has started is ever missed: what a person starts runs whenever it comes up.

    Args:
        schedule: The job's. Call it only where there is no run of this flow run yet.
    """
    if schedule is None or schedule.catch_up == "all" or not deployment.id:
        return None
    with prefect_client() as client:
        this = client.read_flow_run(UUID(flow_run.id))
        due_at = this.expected_start_time
        if not this.auto_scheduled or due_at is None or _taken_up_at(client, this) - due_at <= GRACE:
            return None
        if schedule.catch_up == "latest" and not _later_one_is_due(client, this, due_at):
            return None
    late = (
        f"Missed: nothing was up to run it when it was due, at {due_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC."
    )
    return Cancelled(name="Skipped", message=f"{late} The schedule's catch_up is {schedule.catch_up}.")


def _taken_up_at(client: SyncPrefectClient, this: FlowRun) -> datetime:
    """When a worker first asked to begin a flow run, whether or not it had to wait in a queue then."""
    states = client.read_flow_run_states(this.id)
    asked = [state.timestamp for state in states if state.name == QUEUED or not state.is_scheduled()]
    return min(asked, default=datetime.now(UTC))


def _later_one_is_due(client: SyncPrefectClient, this: FlowRun, due_at: datetime) -> bool:
    """Whether the schedule has a later run whose time has come as well."""
    since = FlowRunFilterExpectedStartTime(after_=due_at + timedelta(seconds=1), before_=datetime.now(UTC))
    later = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[UUID(deployment.id)])),
        flow_run_filter=FlowRunFilter(expected_start_time=since),
    )
    return any(found.auto_scheduled and found.id != this.id for found in later)
