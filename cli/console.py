"""What the commands share: printing reports and JSON, and following a run."""

import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from clarion.reporting import COUNTS, ReportLine, report_lines

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
RunReference = Annotated[
    str, typer.Argument(metavar="RUN", help="Id of a run, the beginning of one, or last.")
]

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_UNKNOWN = 3

LOOK_SECONDS = 0.25
PIPE_WIDTH = 240


def console() -> Console:
    """Standard output; in a pipe or a file, wide enough that nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


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
    out.print(segments_table(report))
    print_reasons(out, report)
    _print_measures(out, report.get("metrics") or {})


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


def segments_table(report: Mapping[str, Any]) -> Table:
    """Counts by segment, one row each and one for the whole."""
    shown = [name for name in COUNTS if name != "sending" or report["counts"][name]]
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("segment")
    table.add_column("action")
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    *parts, whole = report_lines(report)
    for line in parts:
        table.add_row(*_cells(line, shown))
    table.add_section()
    table.add_row(*_cells(whole, shown))
    return table


def _cells(line: ReportLine, shown: Iterable[str]) -> list[str]:
    numbers = (f"{line.counts[name]:,}" if line.counts[name] else "-" for name in shown)
    return [escape(line.segment), escape(line.action), *numbers]


@contextmanager
def following(look: Callable[[], Mapping[str, Any] | None]) -> Generator[None]:
    """Shows a run's progress on a terminal while the body works on it.

    Args:
        look: Gives the run's `status` and `counts`, or None while there is no run yet.
    """
    if not sys.stderr.isatty():
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[outcomes]}"),
        TimeElapsedColumn(),
    )
    done = threading.Event()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None, outcomes="")
        watcher = threading.Thread(target=_watch, args=(bar, task, look, done), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _watch(
    bar: Progress, task: TaskID, look: Callable[[], Mapping[str, Any] | None], done: threading.Event
) -> None:
    while not done.wait(LOOK_SECONDS):
        seen = look()
        if seen is None:
            continue
        counts = seen["counts"]
        settled = counts["total"] - counts["pending"] - counts["sending"]
        total = counts["total"] if seen["status"] != "planning" else None
        outcomes = f"{counts['succeeded']:,} ok, {counts['failed']:,} failed, {counts['unknown']:,} unknown"
        bar.update(task, description=seen["status"], completed=settled, total=total, outcomes=outcomes)
