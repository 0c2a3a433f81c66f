"""The flow that brings runs right whose processes died, runner and all, so that nobody could say so."""

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from clarion.errors import RunConflictError
from clarion.ledger import control
from clarion.ledger.runs import RunRecord, get_run, open_runs
from flows.flow_runs import flow_run_of
from flows.wait_for_due import comes_back
from tasks.sessions import ledger


@flow(name="reconcile", persist_result=False)
def reconcile() -> dict[str, str]:
    """Interrupts the runs on which no process works any more, and does what a person asked of them.

    It sends nothing. An interrupted run waits for `clarion resume`, or for Retry in the Prefect UI: its flow
    run, which nobody could end, becomes Crashed.

    Returns:
        The status of each run that it changed, by the run's id.
    """
    stopped = [run for run in open_runs(ledger()) if _cancelled_while_away(run) and _stopped(run)]
    changed = control.reconcile(ledger(), comes_back=comes_back)
    for run in changed:
        get_run_logger().warning("Run %s is %s: %s", run.uid, run.status, control.WORKER_GONE)
        _end_flow_run(run)
    return {run.uid: get_run(ledger(), run.id).status for run in (*stopped, *changed)}


def _stopped(run: RunRecord) -> bool:
    """Stops a run whose flow run was cancelled; False where it has ended meanwhile."""
    try:
        control.request_control(ledger(), run.id, "stop")
    except RunConflictError:
        return False
    get_run_logger().warning("Run %s is stopped: its flow run was cancelled", run.uid)
    return True


def _end_flow_run(run: RunRecord) -> None:
    """Calls a flow run crashed that Prefect still believes to be at work."""
    with flow_run_of(run) as (client, flow_run):
        if client and flow_run and flow_run.state and flow_run.state.is_running():
            client.set_flow_run_state(flow_run.id, Crashed(message=control.WORKER_GONE.capitalize() + "."))


AWAY = {("paused", "pause"), ("scheduled", "run")}
"""Status and control of a run that is suspended, or waits to be due."""


def _cancelled_while_away(run: RunRecord) -> bool:
    """Whether a person has cancelled a flow run that has no process to notice it.

    With a message, Cancelled is Prefect's own doing, because a deployment's slot was lost on the way up.
    """
    if (run.status, run.control) not in AWAY:
        return False
    with flow_run_of(run) as (_, flow_run):
        state = flow_run.state if flow_run else None
        cancelled = state is not None and state.type == StateType.CANCELLED and not state.message
        return cancelled and get_run(ledger(), run.id).control == run.control
