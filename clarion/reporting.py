"""A run's report: what `--json` prints, what the artifacts show, what a person reads."""

from collections.abc import Iterable
from typing import Any

from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord
from clarion.ledger.summaries import WHOLE_RUN, Metrics, count_items, read_summary
from clarion.ledger.tables import ITEM_COUNTS
from clarion.models.job import Job

COUNTS = ("total", *ITEM_COUNTS)
TIMES = ("start_at", "send_until", "end_at", "created_at", "started_at", "planned_at", "ended_at")


def build_report(database: Database, run: RunRecord) -> dict[str, Any]:
    """The report of a run as it stands; the counts always add up.

    Returns:
        `run_id`, `job`, `status`, `counts`, `skipped_by_reason`, `failed_by_reason`, `segments` (each with
        `name`, `action`, `counts`, `metrics`), `metrics`, and the run's times in ISO format.
    """
    counted = count_items(database, run.id)
    stored = read_summary(database, run.id)
    job = Job.model_validate_json(run.job)
    segments = [
        {
            "name": segment.name,
            "action": segment.action,
            "counts": counts_of(counted, segment.name),
            "skipped_by_reason": reasons_of(counted, "skipped", segment.name),
            "failed_by_reason": reasons_of(counted, "failed", segment.name),
            "metrics": measures_of(stored, segment.name),
        }
        for segment in job.segments
    ]
    return {
        **run_report(run),
        "counts": counts_of(counted, WHOLE_RUN),
        "skipped_by_reason": reasons_of(counted, "skipped", WHOLE_RUN),
        "failed_by_reason": reasons_of(counted, "failed", WHOLE_RUN),
        "unknown_by_reason": reasons_of(counted, "unknown", WHOLE_RUN),
        "segments": segments,
        "metrics": measures_of(stored, WHOLE_RUN),
    }


def run_report(run: RunRecord) -> dict[str, Any]:
    """A run without its items: what `clarion runs` lists."""
    times = {name: getattr(run, name) for name in TIMES}
    return {
        "run_id": run.uid,
        "job": run.job_name,
        "name": run.name,
        "status": run.status,
        "reason": run.reason,
        "kind": run.kind,
        "against": run.against,
        "counts": run.counts,
        "bad_rows": run.bad_rows,
        **{name: moment and moment.isoformat() for name, moment in times.items()},
    }


def counts_of(metrics: Metrics, segment: str) -> dict[str, int]:
    """`total` and the count of each status of a segment."""
    return {name: int(metrics.get((segment, name), 0)) for name in COUNTS}


def reasons_of(metrics: Metrics, status: str, segment: str) -> dict[str, int]:
    """The counts of a status by its reason, the most frequent first."""
    prefix = f"{status}."
    found = {
        metric.removeprefix(prefix): int(value)
        for (of, metric), value in metrics.items()
        if of == segment and metric.startswith(prefix)
    }
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


_MEASURES = ("attempts", "latency_ms_", "seconds", "plan_seconds", "throughput")


def measures_of(metrics: Metrics, segment: str) -> dict[str, float]:
    """What was measured, beside the counts."""
    return {
        metric: round(value, 3)
        for (of, metric), value in metrics.items()
        if of == segment and metric.startswith(_MEASURES)
    }


def markdown_report(report: dict[str, Any]) -> str:
    """The report as Markdown, for the artifact of the flow run."""
    counts = report["counts"]
    lines = [
        f"# {report['job']}: {report['status']}",
        "",
        f"Run `{report['run_id']}`" + (f", {report['reason']}" if report["reason"] else ""),
        "",
        *_table(("", *COUNTS), [("items", *(counts[name] for name in COUNTS))]),
        "",
        "## Segments",
        "",
        *_table(
            ("segment", "action", *COUNTS),
            [
                (each["name"], each["action"], *(each["counts"][name] for name in COUNTS))
                for each in report["segments"]
            ],
        ),
    ]
    for title, key in (
        ("Skipped", "skipped_by_reason"),
        ("Failed", "failed_by_reason"),
        ("Unknown", "unknown_by_reason"),
    ):
        if report[key]:
            lines += ["", f"## {title}", "", *_table(("reason", "items"), list(report[key].items()))]
    if report["metrics"]:
        lines += ["", "## Measured", "", *_table(("metric", "value"), list(report["metrics"].items()))]
    return "\n".join(lines) + "\n"


def segment_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a segment, for the table artifact."""
    return [
        {"segment": each["name"], "action": each["action"], **each["counts"], **each["metrics"]}
        for each in report["segments"]
    ]


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    heads = list(heads)
    body = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads), *body]


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int | float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
