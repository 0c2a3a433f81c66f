"""The last step of a run: its numbers, where a person finds them."""

from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from clarion.ledger.runs import find_run
from clarion.ledger.summaries import summarize as summarize_run
from clarion.reporting import build_report, markdown_report, segment_rows
from tasks.sessions import ledger


@task(name="summarize", cache_policy=NO_CACHE, persist_result=False)
def summarize(run_uid: str) -> dict[str, Any]:
    """Stores a run's metrics, shows them as artifacts of the flow run, and tells that the run ended.

    Args:
        run_uid: The run.

    Returns:
        The report, as `clarion report --json` prints it.
    """
    database = ledger()
    run = find_run(database, run_uid)
    summarize_run(database, run.id)
    report = build_report(database, run)
    create_markdown_artifact(markdown_report(report), key="run-report", description=f"Run {run.uid}")
    create_table_artifact(segment_rows(report), key="run-segments", description=f"Segments of run {run.uid}")
    emit_event(
        event=f"clarion.run.{run.status}",
        resource={"prefect.resource.id": f"clarion.run.{run.uid}", "prefect.resource.name": run.job_name},
        payload={"run_id": run.uid, "job": run.job_name, "status": run.status, "counts": report["counts"]},
    )
    return report
