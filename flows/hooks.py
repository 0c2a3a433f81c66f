"""What the ledger is told when Prefect ends a flow run from outside."""

from contextlib import suppress
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from clarion.errors import RunConflictError
from clarion.ledger.control import note_crash, request_control
from clarion.ledger.runs import run_of_flow_run
from tasks.sessions import ledger

# Prefect gives a hook its arguments by these names.


def stop_cancelled_run(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Cancel means stop: that is final."""
    run = run_of_flow_run(ledger(), str(flow_run.id))
    if run is not None:
        with suppress(RunConflictError):
            request_control(ledger(), run.id, "stop")


def interrupt_crashed_run(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """What a crash leaves behind can be resumed."""
    run = run_of_flow_run(ledger(), str(flow_run.id))
    if run is not None:
        note_crash(ledger(), run.id)
