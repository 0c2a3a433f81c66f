"""Pausing, resuming and stopping runs, from Python and for the command line."""

import logging
import time
from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import StateType

from clarion.errors import RunConflictError, SettingError
from clarion.ledger.control import Control, enforce_control, request_control
from clarion.ledger.runs import RunRecord, find_run, get_run
from clarion.ledger.workers import LEASE_SECONDS, live_workers, reap_workers
from clarion.reporting import build_report, run_report
from flows.flow_runs import flow_run_of
from flows.resume_run import resume_run as resume_run_flow
from flows.wait_for_due import cancel_waiting, suspend_waiting
from tasks.sessions import ledger

logger = logging.getLogger(__name__)

EFFECT_SECONDS = 20.0
"""How long a pause or a stop is waited for: answers on their way may take long, and so may a plan."""

LOOK_SECONDS = 0.25
ASK_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
"""After so long without a worker a person is told what is waited for."""

STARTING = {StateType.SCHEDULED, StateType.PENDING}
"""A flow run that a deployment's worker is about to take up."""

WAITS = "waits for a Prefect worker to take it up"

Tell = Callable[[str], None]


def pause_run(run: str) -> dict[str, Any]:
    """Pauses a run: nothing is sent any more, answers on their way are waited for.

    Args:
        run: Id of the run, the beginning of one, or `last`.

    Returns:
        The run as `clarion runs --json` lists it; its status is paused, unless it is being planned: then it
        pauses when the plan is made.

    Raises:
        InputError: There is no such run, it has ended, or it is being stopped.
    """
    paused = _ask(run, "pause")
    if paused.status == "paused":
        _tell_prefect(suspend_waiting, paused)
    return run_report(paused)


def stop_run(run: str) -> dict[str, Any]:
    """Stops a run for good: what is pending is skipped, or failed where something was sent before.

    Takes, returns and raises as `pause_run`; the status is stopped.
    """
    stopped = _ask(run, "stop")
    if stopped.status == "stopped":
        _tell_prefect(cancel_waiting, stopped)
    return run_report(stopped)


def resume_run(run: str, *, tell: Tell = logger.info) -> dict[str, Any]:
    """Lets a run go on and waits for its end: where it works, in its deployment, or here.

    Args:
        run: Id of the run, the beginning of one, or `last`.
        tell: Called with a sentence when it is not this process that works on the run.

    Returns:
        The report of the run, as `clarion report --json` prints it. It is paused where somebody pauses the
        run again meanwhile.

    Raises:
        InputError: There is no such run, or it was stopped.
    """
    found = find_run(ledger(), run)
    if found.status == "stopped" or found.control == "stop":
        raise RunConflictError(f"run {found.uid} is stopped", expected="a run that was not stopped for good")
    if not found.ended:
        if not request_control(ledger(), found.id, "run"):
            _resume_suspended(found)
        if _follow(found, tell):
            return build_report(ledger(), get_run(ledger(), found.id))
    return resume_run_flow(found.uid)


def _ask(reference: str, control: Control) -> RunRecord:
    """Asks, and waits until it has happened; the run as it is then."""
    database = ledger()
    run = find_run(database, reference)
    request_control(database, run.id, control)
    until = time.monotonic() + EFFECT_SECONDS
    done = {"pause": "paused", "stop": "stopped"}[control]
    while (run := get_run(database, run.id)).status != done and not run.ended:
        if time.monotonic() > until:
            break
        time.sleep(LOOK_SECONDS)
        enforce_control(database, run.id)
    return run


def _follow(run: RunRecord, tell: Tell) -> bool:
    """Waits for the end of a run on which others work, or will; False where nobody does."""
    alive_at = seen_at = ask_at = time.monotonic()
    told = False
    while True:
        now = get_run(ledger(), run.id)
        if now.ended or now.control != "run":
            return True
        reap_workers(ledger(), run.id)
        time_now = time.monotonic()
        if live_workers(ledger(), run.id):
            alive_at = seen_at = time_now
        elif time_now >= ask_at:
            ask_at = time_now + ASK_SECONDS
            state = _deployment_state(now)
            if state in STARTING:
                alive_at = time_now
            # Running without a lease: it is just coming up, or it died together with its runner.
            elif state is not StateType.RUNNING or time_now > alive_at + LEASE_SECONDS:
                return False
        if time_now > seen_at + PATIENCE_SECONDS and not told:
            told = True
            waits = now.reason if now.status == "scheduled" and now.reason else WAITS
            tell(f"The run {waits}. Ctrl-C ends only this waiting.")
        time.sleep(LOOK_SECONDS)


def _deployment_state(run: RunRecord) -> StateType | None:
    """In what state Prefect has the flow run of a deployment; None for any other run."""
    with flow_run_of(run) as (_, flow_run):
        if flow_run is None or flow_run.deployment_id is None or flow_run.state is None:
            return None
        return flow_run.state.type


def _resume_suspended(run: RunRecord) -> None:
    """Has Prefect schedule the suspended flow run of a deployment again."""
    with flow_run_of(run) as (client, flow_run):
        if client and flow_run and flow_run.state and flow_run.state.is_paused():
            client.resume_flow_run(flow_run.id)


def _tell_prefect(tell: Callable[[RunRecord], None], run: RunRecord) -> None:
    """Has Prefect's flow run follow the ledger, whose word counts: whoever comes up on it reads that."""
    try:
        tell(run)
    except SettingError as exc:
        logger.warning("The run is %s, but Prefect's flow run is not: %s", run.status, exc.message)
