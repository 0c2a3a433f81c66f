"""Leaving a worker while all that is left of a run has to wait, and coming back by itself when it is due.

The flow run goes back to Scheduled, at the time when the first item is due: its process ends, its place in
the worker and on the deployment is free, and a worker takes it up again then, as any scheduled run. It keeps
its id and its expected start, so it stands for the same run. Measured on 3.8.8: it is back some seconds
after the time. Whoever pauses a run meanwhile suspends its flow run; Cancel ends it.
"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.exceptions import Pause
from prefect.runtime import flow_run
from prefect.states import Cancelled, Scheduled

from blocks.documents import prefect_client
from clarion.errors import ClarionError, RunConflictError, SettingError
from clarion.ledger.claims import OpenWork
from clarion.ledger.control import enforce_control, mark_waiting, request_control
from clarion.ledger.runs import RunRecord, get_run
from flows.flow_runs import flow_run_of
from flows.watch_run import asked_by, may_suspend, suspend, suspension
from tasks.sessions import ledger

LONG_SECONDS = 120.0
"""A shorter wait is waited for in place: to start a process anew takes some ten seconds."""

RESUMING = "Resuming"
"""Prefect's own name for a run without a process that is to start again. By any other, Cancel would look for
the process that has long ended."""

RETRYING = "AwaitingRetry"
"""Prefect's name for a run that its button Retry starts again."""


class HeldError(ClarionError):
    """All that is left of the run has to wait.

    Args:
        until: When the first of it is due.
    """

    def __init__(self, until: datetime) -> None:
        self.until = until
        super().__init__(f"waits until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC")


def leave_if_held(work: OpenWork, *, send_until: datetime | None = None) -> None:
    """Leaves the worker where nothing of a deployment's run is due for long. Nothing may be handed out.

    Args:
        work: What is left of the run.
        send_until: It is to come back by then, to end what is left.

    Raises:
        HeldError: Whoever works on the run is to leave its session, then `schedule_again` and `give_way`.
    """
    if not work.pending or work.due_at is None:
        return
    until = work.due_at if send_until is None else min(work.due_at, send_until)
    if (until - work.now).total_seconds() > LONG_SECONDS and may_suspend():
        raise HeldError(until)


def leave_until_start(start_at: datetime) -> None:
    """As `leave_if_held`, for a run whose own time has not come."""
    if (start_at - datetime.now(UTC)).total_seconds() > LONG_SECONDS and may_suspend():
        raise HeldError(start_at)


def schedule_again(run: RunRecord, held: HeldError) -> None:
    """Has Prefect start this flow run again when the run is due; it is called scheduled meanwhile.

    This process must still stand at the run: nobody may take it for dead before Prefect knows. A flow run
    that is no longer running stays as a person has made it.
    """
    mark_waiting(ledger(), run.id, reason=held.message)
    flow_run_id = UUID(flow_run.id)
    with prefect_client() as client:
        state = client.read_flow_run(flow_run_id).state
        if state is not None and state.type == StateType.RUNNING:
            message = f"{held.message[0].upper()}{held.message[1:]}."
            again = Scheduled(scheduled_time=held.until, name=RESUMING, message=message)
            client.set_flow_run_state(flow_run_id, again)


def give_way(run: RunRecord) -> NoReturn:
    """Ends the process of a flow run that is scheduled again.

    What a person has asked since this process stands no more at the run is done here: whoever asks later
    finds the flow run scheduled.

    Raises:
        Pause: Always; Prefect's engine ends the process on it.
    """
    with prefect_client() as client:
        state = client.read_flow_run(UUID(flow_run.id)).state
    asked = None if state is None else asked_by(state, None)
    with suppress(RunConflictError):
        if asked is not None:
            request_control(ledger(), run.id, asked)
    enforce_control(ledger(), run.id)
    control = get_run(ledger(), run.id).control
    if control == "pause":
        suspend()
    elif control == "stop":
        cancel_waiting(get_run(ledger(), run.id))
    raise Pause(state=state)


def came_back_by_itself() -> bool:
    """Whether its time has brought this flow run back, and no person by Resume or Retry."""
    with prefect_client() as client:
        states = client.read_flow_run_states(UUID(flow_run.id))
    begun = [state for state in states if state.name in {RESUMING, RETRYING}]
    last = max(begun, key=lambda state: state.timestamp, default=None)
    # Prefect's own Resuming, after a pause, says nothing.
    return last is not None and last.name == RESUMING and bool(last.message)


def comes_back(run: RunRecord) -> bool:
    """Whether a run that no process works on is about to be taken up by Prefect, now or when it is due."""
    if run.status != "scheduled":
        return False
    with suppress(SettingError), flow_run_of(run) as (_, found):
        state = found.state if found else None
        return state is not None and state.type in {StateType.SCHEDULED, StateType.PENDING}
    return False


def suspend_waiting(run: RunRecord) -> None:
    """Suspends the flow run of a run that was paused while it waited: it would else come up when it is due.

    Raises:
        SettingError: Prefect's API cannot be used. The run will be found paused when it comes up.
    """
    with flow_run_of(run) as (client, found):
        if client and found and found.deployment_id and found.state and found.state.is_scheduled():
            # Forced: by its rules Prefect suspends only what is running.
            client.set_flow_run_state(found.id, suspension(), force=True)


def cancel_waiting(run: RunRecord) -> None:
    """Ends the flow run of a run that was stopped while it was suspended or waited; nobody works on it.

    Raises:
        SettingError: Prefect's API cannot be used.
    """
    with flow_run_of(run) as (client, found):
        if client and found and found.state and (found.state.is_paused() or found.state.is_scheduled()):
            client.set_flow_run_state(found.id, Cancelled(message="Stopped."))
