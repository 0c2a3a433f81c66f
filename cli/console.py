"""What the commands share: printing reports and JSON."""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from clarion.answer_report import shown_answers, worth
from clarion.lists.report import BadRow
from clarion.reporting import error_text
from cli.tables import answers_table, print_table, segments_table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
RunReference = Annotated[
    str, typer.Argument(metavar="RUN", help="Id of a run, the beginning of one, or last.")
]

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_UNKNOWN = 3

PIPE_WIDTH = 240
SHOWN_BAD_ROWS = 3


def console() -> Console:
    """Standard output. Only tables fold; in a pipe they may be wide, unless COLUMNS says otherwise."""
    given = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if given else PIPE_WIDTH, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints JSON with two spaces of indent, UTF-8."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def exit_code(report: Mapping[str, Any]) -> int:
    """0 done, 1 the run failed or was stopped or interrupted, 3 done but some items are unknown."""
    return {"completed": EXIT_DONE, "unresolved": EXIT_UNKNOWN}.get(report["status"], EXIT_FAILED)


def print_report(report: Mapping[str, Any]) -> None:
    """Prints a report for a person."""
    out = console()
    reason = f" ({escape(report['reason'])})" if report["reason"] else ""
    against = f", a rehearsal against {report['against']}" if report["against"] else ""
    out.print(
        f"\n[bold]{escape(report['job'])}[/bold]  run {report['run_id']}{against}: "
        f"[bold]{report['status']}[/bold]{reason}"
    )
    print_table(out, segments_table(report))
    print_answers(out, report)
    print_reasons(out, report)
    _print_errors(out, report["errors"])
    _print_measures(out, report.get("metrics") or {})


def print_answers(out: Console, report: Mapping[str, Any]) -> None:
    """Prints what came back, and what conversions are worth; nothing where nothing did."""
    if not shown_answers(report):
        return
    out.print()
    print_table(out, answers_table(report))
    if told := worth(report["answers"]):
        out.print(f"conversions are worth {escape(told)}")


def print_message(out: Console, message: Mapping[str, Any]) -> None:
    """Prints what was sent for an item, and what the provider answered."""
    request, answer = message["request"], message["answer"]
    if request is not None and answer["status"] != "skipped":
        out.print(f"\n[bold]sent[/bold] to {escape(message['recipient'])} ({escape(message['segment'])})")
        print_request(out, request)
    code = f"{answer['status_code']} " if answer["status_code"] is not None else ""
    parts = [f"{name} {answer[key]}" for name, key in _ANSWER if answer[key]]
    told = f"{code}{error_text(answer)}".strip() or "nothing to report"
    out.print(f"[bold]answer[/bold] {answer['status']}: {escape(', '.join([told, *parts]))}")


_ANSWER = (("reason", "reason"), ("invocation id", "invocation_id"))


def print_request(out: Console, request: Mapping[str, Any]) -> None:
    """Prints a request: method and URL, headers, body."""
    out.print(f"{request['method']} {escape(request['url'])}")
    for name, value in request["headers"].items():
        out.print(f"  {name}: {escape(value)}")
    body = request["body"]
    text = body if isinstance(body, str) else orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()
    out.print(escape(text), style="dim")


def print_sentence(sentence: str) -> None:
    """Prints a remark beside the output, so that a script's JSON stays JSON."""
    sys.stderr.write(sentence + "\n")


def _print_errors(out: Console, errors: Iterable[Mapping[str, Any]]) -> None:
    for each in errors:
        out.print(f"  {each['count']:,} x {escape(each['reason'] or '')}: {escape(error_text(each))}")


def print_bad_rows(out: Console, examples: Iterable[BadRow], *, count: int) -> None:
    """Prints the first rows of lists that could not be read, and how many more there are."""
    shown = list(examples)[:SHOWN_BAD_ROWS]
    for row in shown:
        out.print(f"  {escape(row.file)}:{row.line}: {escape(row.reason)}")
    if shown and count > len(shown):
        out.print(f"  ... and {count - len(shown):,} more")


def print_reasons(out: Console, report: Mapping[str, Any]) -> None:
    """Prints why items were skipped, failed or are unknown, and what of the lists could not be read."""
    for status in ("skipped", "failed", "unknown"):
        reasons = report.get(f"{status}_by_reason")
        if reasons:
            parts = ", ".join(f"{escape(reason)} {count:,}" for reason, count in reasons.items())
            out.print(f"{status}: {parts}")
    if report["bad_rows"]:
        out.print(f"rows of the lists that could not be read and were left out: {report['bad_rows']:,}")


def _print_measures(out: Console, metrics: Mapping[str, float]) -> None:
    parts: list[str] = []
    if "attempts" in metrics:
        parts.append(f"{metrics['attempts']:,.0f} calls")
    if "throughput" in metrics:
        parts.append(f"{metrics['seconds']:,.1f} s, {metrics['throughput']:,.0f} items a second")
    if "latency_ms_p50" in metrics:
        latencies = " / ".join(f"{metrics[f'latency_ms_p{p}']:,.0f}" for p in (50, 90, 99))
        parts.append(f"latency p50 / p90 / p99 {latencies} ms")
    if parts:
        out.print("; ".join(parts))
