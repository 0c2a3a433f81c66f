"""The flow that takes up a run again, from where its ledger stands."""

from typing import Any

from prefect import flow

from flows.hooks import interrupt_crashed_run, stop_cancelled_run
from flows.work_on_run import RUNNER, work_on
from tasks.runners import chosen_runner


@flow(
    name="resume-run",
    flow_run_name="resume {run}",
    task_runner=RUNNER,
    persist_result=False,
    on_cancellation=[stop_cancelled_run],
    on_crashed=[interrupt_crashed_run],
)
def resume_run(run: str) -> dict[str, Any]:
    """Brings a run to its end: sends what is pending, touches nothing that is settled. A paused run goes on.

    Args:
        run: Id of the run, as `clarion runs` lists it.

    Returns:
        The report of the run, as `clarion report --json` prints it.
    """
    chosen_runner()  # a setting that is not valid interrupts nothing
    return work_on(run, resumed=True)
