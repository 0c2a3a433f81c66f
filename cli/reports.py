"""Commands that read the ledger: `clarion runs`, `report`, `items`."""

import csv
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TextIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console, RenderableType
from rich.live import Live

from clarion.errors import SettingError, nearest
from clarion.ledger.database import Database
from clarion.ledger.items import ITEM_FIELDS, item_reasons, read_items
from clarion.ledger.runs import RunRecord, job_names, list_runs
from clarion.models.job import ITEM_STATUSES
from clarion.reporting import build_report, run_report
from cli.choices import check_known, run_named
from cli.console import PIPE_WIDTH, AsJson, RunReference, console, print_json, print_report, print_sentence
from cli.tables import items_table, print_table, runs_table

RUNS_HELP = """
List runs, the newest first.

Examples:

    clarion runs --job renewals
    clarion runs --watch
"""

REPORT_HELP = """
Show what a run came to: counts by segment, reasons, calls, latencies.

Example:

    clarion report last
"""

ITEMS_HELP = """
List a run's recipients: who got it, who did not, and why.

Examples: everyone who was left out; everyone whose message failed, as CSV

    clarion items last --status skipped
    clarion items last --status failed --format csv --output failed.csv
"""

WATCH_SECONDS = 1.0


class Format(StrEnum):
    """How items are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("runs", help=RUNS_HELP)(runs)
    app.command("report", help=REPORT_HELP)(report)
    app.command("items", help=ITEMS_HELP)(items)


def runs(
    *,
    job: Annotated[str | None, typer.Option(metavar="NAME", help="Of this job only.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 20,
    children: Annotated[
        bool, typer.Option("--all", help="Also runs of reactions, and those that handlers have started.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw the list anew every second, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List runs."""
    if watch and as_json:
        raise SettingError("goes not with --json", where="--watch", expected="one of the two")
    with Database() as database:
        if job is not None:
            check_known(job, job_names(database), what="run of a job", option="--job")
        if watch:
            _watch(lambda out: _listed(_found(database, limit=limit, job=job, children=children), out=out))
            return
        found = _found(database, limit=limit, job=job, children=children)
        if as_json:
            print_json([build_report(database, run) for run in found])
            return
    out = console()
    print_table(out, _listed(found, out=out))


def _found(database: Database, *, limit: int, job: str | None, children: bool) -> list[RunRecord]:
    return list_runs(database, limit=limit, job_name=job, children=children)


def _listed(found: list[RunRecord], *, out: Console) -> RenderableType:
    return runs_table([run_report(run) for run in found], out=out)


def _watch(draw: Callable[[Console], RenderableType]) -> None:
    """Draws something anew every second until Ctrl-C; in a pipe, one drawing after the other."""
    out = console()
    try:
        if not out.is_terminal:
            while True:
                print_table(out, draw(out))
                sys.stdout.flush()
                time.sleep(WATCH_SECONDS)
        with Live(draw(out), console=out, auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(draw(out), refresh=True)
    except KeyboardInterrupt:
        return


def report(run: RunReference, *, as_json: AsJson = False) -> None:
    """Show a report."""
    with Database() as database:
        found = build_report(database, run_named(database, run))
    (print_json if as_json else print_report)(found)


def items(
    run: RunReference,
    *,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="Only this status; repeat for several.")
    ] = None,
    reason: Annotated[
        list[str] | None, typer.Option(metavar="REASON", help="Only this reason; repeat for several.")
    ] = None,
    format: Annotated[Format, typer.Option(help="How to write them.")] = Format.TABLE,  # noqa: A002
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write to; parquet needs one.")
    ] = None,
) -> None:
    """List items."""
    for each in status or ():
        if each not in ITEM_STATUSES:
            raise SettingError(
                f"there is no status {each!r}",
                where="--status",
                expected=f"one of {', '.join(ITEM_STATUSES)}",
                nearest=nearest(each, ITEM_STATUSES),
            )
    with Database() as database:
        found = run_named(database, run)
        for each in reason or ():
            known = item_reasons(database, found.id)
            check_known(each, known, what="item with the reason", option="--reason")
        pages = read_items(database, found.id, statuses=status or (), reasons=reason or ())
        first = next(pages, None)
        if first is None:
            print_sentence(_none_of(found, status or (), reason or ()))
        rows = ([flat_item(row) for row in page] for page in chain([first] if first else [], pages))
        _WRITERS[format](rows, output)


def _none_of(run: RunRecord, statuses: Sequence[str], reasons: Sequence[str]) -> str:
    """That a run has no items of these kinds, in a sentence."""
    kind = f"{' or '.join(statuses)} items" if statuses else "items"
    why = f" with the reason {' or '.join(reasons)}" if reasons else ""
    return f"No items: run {run.uid} has no {kind}{why}."


def flat_item(row: dict[str, Any]) -> dict[str, Any]:
    """An item for an export: times as ISO text, the attributes as `item`."""
    flat = {name: row[name] for name in ITEM_FIELDS}
    for name in ("claimed_at", "settled_at", "due_at", "delivered_at"):
        flat[name] = flat[name] and flat[name].isoformat()
    return {**flat, "item": row["item"]}


Pages = Iterator[list[dict[str, Any]]]


@contextmanager
def _writing(output: Path | None) -> Generator[TextIO]:
    """Standard output, or a file that is begun anew. Raises SettingError where it cannot be written."""
    if output is None:
        yield sys.stdout
        return
    with _opened(output) as file:
        yield file


def _opened(output: Path) -> TextIO:
    try:
        return output.open("w", encoding="utf-8", newline="")
    except OSError as exc:
        raise SettingError(f"cannot write {output}: {exc.strerror}", where="--output") from exc


def _table(pages: Pages, output: Path | None) -> None:
    rows = [row for page in pages for row in page]
    if not rows:
        return
    if output is None:
        print_table(console(), items_table(rows))
        return
    with _writing(output) as file:
        print_table(Console(file=file, width=PIPE_WIDTH), items_table(rows))


def _csv(pages: Pages, output: Path | None) -> None:
    with _writing(output) as file:
        writer = csv.writer(file)
        writer.writerow((*ITEM_FIELDS, "item"))
        for page in pages:
            for row in page:
                writer.writerow((*(row[name] for name in ITEM_FIELDS), orjson.dumps(row["item"]).decode()))


def _json(pages: Pages, output: Path | None) -> None:
    """A JSON array, written as it is read: an export of a million items stays small in memory."""
    with _writing(output) as file:
        before = "[\n"
        for page in pages:
            for row in page:
                file.write(before + orjson.dumps(row).decode())
                before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")


_PARQUET_TYPES = {
    "row": pa.int64(), "attempts": pa.int64(), "status_code": pa.int64(), "latency_ms": pa.float64(),
}  # fmt: skip


def _parquet(pages: Pages, output: Path | None) -> None:
    if output is None:
        raise SettingError("Parquet is no text for a terminal", where="--output", expected="a file")
    _opened(output).close()
    schema = pa.schema([(name, _PARQUET_TYPES.get(name, pa.string())) for name in (*ITEM_FIELDS, "item")])
    with pq.ParquetWriter(str(output), schema) as writer:
        for page in pages:
            rows = [{**row, "item": orjson.dumps(row["item"]).decode()} for row in page]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


_WRITERS = {Format.TABLE: _table, Format.CSV: _csv, Format.JSON: _json, Format.PARQUET: _parquet}
