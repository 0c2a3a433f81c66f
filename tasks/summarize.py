"""The last step of a run: its numbers, where a person finds them."""

from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from blocks.documents import document_name
from clarion.ledger.runs import find_run
from clarion.ledger.summaries import summarize as summarize_run
from clarion.reporting import build_report, markdown_report, segment_rows
from tasks.sessions import ledger


@task(name="summarize", task_run_name="summarize", cache_policy=NO_CACHE, persist_result=False)
def summarize(run_uid: str) -> dict[str, Any]:
    """Stores a run's metrics, and tells that the run ended: an event, a line in the log.

    Args:
        run_uid: The run.

    Returns:
        The report, as `clarion report --json` prints it.
    """
    database = ledger()
    run = find_run(database, run_uid)
    summarize_run(database, run.id)
    report = build_report(database, run)
    emit_event(
        event=f"clarion.run.{run.status}",
        resource={"prefect.resource.id": f"clarion.run.{run.uid}", "prefect.resource.name": run.job_name},
        payload={"run_id": run.uid, "job": run.job_name, "status": run.status, "counts": report["counts"]},
    )
    get_run_logger().info(in_a_line(report))
    return report


def show_report(report: dict[str, Any]) -> None:
    """Shows a report on the flow run: a Markdown artifact, and a table of the segments.

    Called from the flow, not from a task: the UI keeps the artifacts of task runs apart from the flow run's.
    Their keys are the job's, so that the UI keeps the reports of all its runs together.
    """
    told = in_a_line(report)
    key = document_name(report["job"]) or "run"
    create_markdown_artifact(markdown_report(report), key=f"{key}-report", description=told)
    create_table_artifact(segment_rows(report), key=f"{key}-segments", description=told)


def in_a_line(report: dict[str, Any]) -> str:
    """`Run ID is STATUS: TOTAL items`, and how many of each status there are."""
    counts = dict(report["counts"])
    parts = [f"{counts.pop('total'):,} items", *(f"{n:,} {status}" for status, n in counts.items() if n)]
    return f"Run {report['run_id']} is {report['status']}: {', '.join(parts)}"
