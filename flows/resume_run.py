"""The flow that takes up a run again, from where its ledger stands."""

from typing import Any

from prefect import flow

from flows.run_job import RUNNER, work_on


@flow(name="resume-run", flow_run_name="resume {run}", task_runner=RUNNER, persist_result=False)
def resume_run(run: str) -> dict[str, Any]:
    """Brings a run to its end: sends what is pending, touches nothing that is settled.

    Args:
        run: Id of the run, as `clarion runs` lists it.

    Returns:
        The report of the run, as `clarion report --json` prints it.
    """
    return work_on(run)
