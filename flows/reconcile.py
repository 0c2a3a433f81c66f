"""The flow that brings runs right whose processes died, runner and all, so that nobody could say so."""

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from clarion.ledger import control
from clarion.ledger.runs import RunRecord, get_run, open_runs
from flows.control import flow_run_of
from tasks.sessions import ledger


@flow(name="reconcile", persist_result=False)
def reconcile() -> dict[str, str]:
    """Interrupts the runs on which no process works any more, and does what a person asked of them.

    It sends nothing. An interrupted run waits for `clarion resume`, or for Retry in the Prefect UI: its flow
    run, which nobody could end, becomes Crashed.

    Returns:
        The status of each run that it changed, by the run's id.
    """
    for run in open_runs(ledger()):
        if _cancelled_while_paused(run):
            control.request_control(ledger(), run.id, "stop")
    changed = control.reconcile(ledger())
    for run in changed:
        get_run_logger().warning("Run %s is %s: %s", run.uid, run.status, control.WORKER_GONE)
        _end_flow_run(run)
    return {run.uid: run.status for run in changed}


def _end_flow_run(run: RunRecord) -> None:
    """Calls a flow run crashed that Prefect still believes to be at work."""
    with flow_run_of(run) as (client, flow_run):
        if client and flow_run and flow_run.state and flow_run.state.is_running():
            client.set_flow_run_state(flow_run.id, Crashed(message=control.WORKER_GONE.capitalize() + "."))


def _cancelled_while_paused(run: RunRecord) -> bool:
    """Whether a person has cancelled a suspended flow run: no process is there to notice.

    With a message, Cancelled is Prefect's own doing, because a deployment's slot was lost on the way up.
    """
    if run.status != "paused" or run.control != "pause":
        return False
    with flow_run_of(run) as (_, flow_run):
        state = flow_run.state if flow_run else None
        cancelled = state is not None and state.type == StateType.CANCELLED and not state.message
        return cancelled and get_run(ledger(), run.id).control == "pause"
