"""Commands that read the ledger: `clarion runs`, `report`, `items`."""

import csv
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clarion.errors import SettingError, nearest
from clarion.ledger.database import Database
from clarion.ledger.items import ITEM_FIELDS, read_items
from clarion.ledger.runs import find_run, list_runs
from clarion.models.job import ITEM_STATUSES
from clarion.reporting import COUNTS, build_report, run_report
from cli.console import PIPE_WIDTH, AsJson, RunReference, console, print_json, print_report

RUNS_HELP = """
List runs, the newest first.

Example: clarion runs --job renewals
"""

REPORT_HELP = """
Show what a run came to: counts by segment, reasons, calls, latencies.

Example: clarion report last
"""

ITEMS_HELP = """
List a run's recipients: who got it, who did not, and why.

Example: everyone whose message failed, as CSV

    clarion items last --status failed --format csv --output failed.csv
"""


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
    job: Annotated[str | None, typer.Option(help="Of this job only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs."""
    with Database() as database:
        listed = list_runs(database, limit=limit, job_name=job)
        found = [build_report(database, run) if as_json else run_report(run) for run in listed]
    if as_json:
        print_json(found)
        return
    table = Table(show_edge=False, pad_edge=False)
    for head in ("run", "job", "name", "status", "started"):
        table.add_column(head)
    for head in COUNTS:
        table.add_column(head, justify="right")
    for each in found:
        table.add_row(
            each["run_id"],
            escape(each["job"]),
            escape(each["name"] or ""),
            each["status"],
            (each["started_at"] or "")[:19].replace("T", " "),
            *(f"{each['counts'][name]:,}" for name in COUNTS),
        )
    console().print(table if found else "There are no runs.")


def report(run: RunReference, *, as_json: AsJson = False) -> None:
    """Show a report."""
    with Database() as database:
        found = build_report(database, find_run(database, run))
    (print_json if as_json else print_report)(found)


def items(
    run: RunReference,
    *,
    status: Annotated[list[str] | None, typer.Option(help="Only this status; repeat for several.")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="Only this reason; repeat for several.")] = None,
    format: Annotated[Format, typer.Option(help="How to write them.")] = Format.TABLE,  # noqa: A002
    output: Annotated[Path | None, typer.Option(help="File to write to; parquet needs one.")] = None,
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
        found = find_run(database, run)
        pages = read_items(database, found.id, statuses=status or (), reasons=reason or ())
        rows = ([flat_item(row) for row in page] for page in pages)
        _WRITERS[format](rows, output)


def flat_item(row: dict[str, Any]) -> dict[str, Any]:
    """An item for an export: times as ISO text, the attributes as `item`."""
    flat = {name: row[name] for name in ITEM_FIELDS}
    for name in ("claimed_at", "settled_at", "due_at"):
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


_SHOWN = (
    "row", "segment", "recipient", "status", "reason", "attempts", "status_code", "error_code", "error",
)  # fmt: skip


def _table(pages: Pages, output: Path | None) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for head in _SHOWN:
        table.add_column(head)
    for page in pages:
        for row in page:
            table.add_row(*(escape(str(row[name])) if row[name] is not None else "" for name in _SHOWN))
    if output is None:
        console().print(table)
        return
    with _writing(output) as file:
        Console(file=file, width=PIPE_WIDTH).print(table)


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
