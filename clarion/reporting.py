"""A run's report: what `--json` prints, what the artifacts show, what a person reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clarion.answer_report import (
    answer_head,
    answer_lines,
    answers_json,
    campaign_summaries,
    shown_answers,
    worth,
)
from clarion.errors import ClarionError
from clarion.ledger.answers import Answers, count_answers
from clarion.ledger.database import Database
from clarion.ledger.runs import REACTIONS, RunRecord
from clarion.ledger.summaries import WHOLE_RUN, Metrics, count_items, read_summary, top_errors
from clarion.ledger.tables import ITEM_COUNTS
from clarion.models.job import Job

COUNTS = ("total", *ITEM_COUNTS)
TIMES = ("start_at", "send_until", "end_at", "created_at", "started_at", "planned_at", "ended_at")

SHOWN_ERRORS = 5
"""How many different errors a report tells."""

TERMINATED = "SIGTERM"
"""What a KeyboardInterrupt carries that stands for this signal."""

_LEFT = {"KeyboardInterrupt": "left by Ctrl-C", "TerminationSignal": "told to leave (SIGTERM)"}


@dataclass(frozen=True)
class ReportLine:
    """The counts and metrics of one segment, of the items in no segment, or of the whole run."""

    segment: str
    action: str
    counts: Mapping[str, int]
    metrics: Mapping[str, float]


def build_report(database: Database, run: RunRecord) -> dict[str, Any]:
    """The report of a run as it stands; the counts always add up.

    Returns:
        `run_id`, `job`, `status`, `counts`, `skipped_by_reason`, `failed_by_reason`, `segments` (each with
        `name`, `action`, `counts`, `answers`, `metrics`), `metrics`, `errors` (the most frequent ones, each
        with `reason`, `error_code`, `error`, `count`), `answers` (what came back, empty where nothing did),
        `recipient_response` and `action_delivery_status` (the Campaign API's summaries), and the run's times
        in ISO format.
    """
    counted = count_items(database, run.id)
    answers = count_answers(database, run.id)
    stored = read_summary(database, run.id)
    job = Job.model_validate_json(run.job)
    segments = [
        {
            "name": segment.name,
            "action": segment.action,
            "counts": counts_of(counted, segment.name),
            "skipped_by_reason": reasons_of(counted, "skipped", segment.name),
            "failed_by_reason": reasons_of(counted, "failed", segment.name),
            "answers": answers_json(answers.get(segment.name, Answers())),
            "metrics": measures_of(stored, segment.name),
        }
        for segment in (job.segments if run.kind != REACTIONS else job.reactions)
    ]
    return {
        **run_report(run),
        "counts": counts_of(counted, WHOLE_RUN),
        "skipped_by_reason": reasons_of(counted, "skipped", WHOLE_RUN),
        "failed_by_reason": reasons_of(counted, "failed", WHOLE_RUN),
        "unknown_by_reason": reasons_of(counted, "unknown", WHOLE_RUN),
        "errors": _errors(database, run.id, reached=counted[WHOLE_RUN, "succeeded"] > 0),
        "segments": segments,
        "answers": answers_json(answers[WHOLE_RUN]),
        **campaign_summaries(answers[WHOLE_RUN]),
        "metrics": measures_of(stored, WHOLE_RUN),
    }


def _errors(database: Database, run_id: int, *, reached: bool) -> list[dict[str, Any]]:
    """What went wrong most often; where nobody was reached, also why items were skipped."""
    statuses = ("failed", "unknown") if reached else ("failed", "unknown", "skipped")
    return top_errors(database, run_id, statuses=statuses, most=SHOWN_ERRORS)


def told(error: BaseException) -> str:
    """Why work on a run broke off, in words for the person who reads the run's reason.

    The text of an error that is not Clarion's own is left out: it may hold anything.
    """
    if isinstance(error, ClarionError):
        return error.message
    if isinstance(error, KeyboardInterrupt) and error.args == (TERMINATED,):
        return _LEFT["TerminationSignal"]
    kind = type(error).__name__
    return _LEFT.get(kind) or f"broken off by an error inside Clarion ({kind}); the log has it"


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


_MEASURES = ("attempts", "fallback_timezone", "latency_ms_", "seconds", "plan_seconds", "throughput")


def measures_of(metrics: Metrics, segment: str) -> dict[str, float]:
    """What was measured, beside the counts."""
    return {
        metric: round(value, 3)
        for (of, metric), value in metrics.items()
        if of == segment and metric.startswith(_MEASURES)
    }


def shown_counts(report: Mapping[str, Any]) -> list[str]:
    """The counts to show of a run: pending and sending only while there are such."""
    return [name for name in COUNTS if name not in {"pending", "sending"} or report["counts"][name]]


def report_lines(report: Mapping[str, Any]) -> list[ReportLine]:
    """One line a segment, one for the items in no segment where there are such, one for all.

    Args:
        report: As `build_report` gives it; a preview has no metrics.
    """
    segments = [
        ReportLine(each["name"], each["action"], each["counts"], each.get("metrics", {}))
        for each in report["segments"]
    ]
    whole = report["counts"]
    outside = {name: whole[name] - sum(line.counts[name] for line in segments) for name in COUNTS}
    rest = [ReportLine("(no segment)", "", outside, {})] if outside["total"] else []
    return [*segments, *rest, ReportLine("all", "", whole, report.get("metrics", {}))]


def markdown_report(report: Mapping[str, Any]) -> str:
    """The report as Markdown, for the artifact of the flow run."""
    shown = shown_counts(report)
    counts = [
        (line.segment, line.action, *(line.counts[name] for name in shown)) for line in report_lines(report)
    ]
    reasons = [
        (status, reason, count)
        for status in ("skipped", "failed", "unknown")
        for reason, count in report[f"{status}_by_reason"].items()
    ]
    lines = [
        f"# {report['job']}: {report['status']}",
        "",
        _about(report),
        "",
        *_table(("segment", "action", *shown), counts),
    ]
    if reasons:
        lines += ["", "## Reasons", "", *_table(("status", "reason", "items"), reasons)]
    if report["errors"]:
        told_errors = [(error_text(each), each["reason"], each["count"]) for each in report["errors"]]
        lines += ["", "## Errors", "", *_table(("error", "reason", "items"), told_errors)]
    lines += _answers_told(report)
    if report["metrics"]:
        lines += ["", "## Measured", "", *_table(*_measured(report["metrics"]))]
    lines += [
        f"\n`clarion items {report['run_id']} --status {status}` lists the {status} items."
        for status in ("failed", "unknown")
        if report["counts"][status]
    ]
    return "\n".join(lines) + "\n"


def _answers_told(report: Mapping[str, Any]) -> list[str]:
    """What came back, as a table; nothing where nothing did."""
    shown = shown_answers(report)
    if not shown:
        return []
    heads = ("segment", *(answer_head(name) for name in shown))
    told_worth = worth(report["answers"])
    table = ["", "## Answers", "", *_table(heads, answer_lines(report))]
    return [*table, *(["", f"Conversions are worth {told_worth}."] if told_worth else [])]


def error_text(error: Mapping[str, Any]) -> str:
    """An entry of a report's `errors` without its count: the provider's code, and its words or ours."""
    code, text = error["error_code"], error["error"]
    return ": ".join(each for each in (code, text) if each)


def _about(report: Mapping[str, Any]) -> str:
    """Which run it is, in a sentence."""
    parts = [f"Run `{report['run_id']}`"]
    if report["name"]:
        parts.append(report["name"])
    if report["against"]:
        parts.append(f"a rehearsal against {report['against']}")
    if report["reason"]:
        parts.append(report["reason"])
    if report["bad_rows"]:
        parts.append(f"{report['bad_rows']:,} rows of the lists could not be read")
    return ", ".join(parts)


_LABELS = (
    ("attempts", "calls", "{:,.0f}"),
    ("plan_seconds", "planning", "{:,.1f} s"),
    ("seconds", "sending", "{:,.1f} s"),
    ("throughput", "items a second", "{:,.0f}"),
    ("latency_ms_p50", "latency p50", "{:,.0f} ms"),
    ("latency_ms_p90", "p90", "{:,.0f} ms"),
    ("latency_ms_p99", "p99", "{:,.0f} ms"),
    ("fallback_timezone", "in the fallback time zone", "{:,.0f}"),
)


def _measured(metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
    """Heads and the one row of what was measured, in words and units."""
    known = [(label, form.format(metrics[name])) for name, label, form in _LABELS if name in metrics]
    return [label for label, _ in known], [[value for _, value in known]]


def segment_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table artifact: the lines of the report with their calls and latency."""
    shown, came_back = shown_counts(report), shown_answers(report)
    *parts, whole = report_lines(report)
    of_segment = {segment["name"]: segment["answers"] for segment in report["segments"]}
    told = [*((line, of_segment.get(line.segment, {})) for line in parts), (whole, report["answers"])]
    return [
        {
            "segment": line.segment,
            "action": line.action,
            **{name: line.counts[name] for name in shown},
            **{answer_head(name): answers.get(name, 0) for name in came_back},
            "calls": round(line.metrics.get("attempts", 0)),
            "p90 ms": round(line.metrics["latency_ms_p90"]) if "latency_ms_p90" in line.metrics else None,
        }
        for line, answers in told
    ]


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    heads = list(heads)
    body = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads), *body]


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int | float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
