"""Commands that read the ledger: `clarion runs`, `report`, `items`."""

import csv
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.markup import escape
from rich.table import Table

from clarion.errors import SettingError, nearest
from clarion.ledger.database import Database
from clarion.ledger.items import ITEM_FIELDS, read_items
from clarion.ledger.runs import find_run, list_runs
from clarion.models.job import ITEM_STATUSES
from clarion.reporting import COUNTS, build_report, run_report
from cli.console import AsJson, RunReference, console, print_json, print_report

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
    found = [run_report(run) for run in list_runs(Database(), limit=limit, job_name=job)]
    if as_json:
        print_json([full_report(each["run_id"]) for each in found])
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


def full_report(reference: str) -> dict[str, Any]:
    """The report of the run that a reference names."""
    database = Database()
    return build_report(database, find_run(database, reference))


def report(run: RunReference, *, as_json: AsJson = False) -> None:
    """Show a report."""
    (print_json if as_json else print_report)(full_report(run))


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
    if format is Format.PARQUET and output is None:
        raise SettingError("Parquet is no text for a terminal", where="--output", expected="a file")
    database = Database()
    found = find_run(database, run)
    pages = read_items(database, found.id, statuses=status or (), reasons=reason or ())
    rows = ([flat_item(row) for row in page] for page in pages)
    {Format.TABLE: _table, Format.CSV: _csv, Format.JSON: _json, Format.PARQUET: _parquet}[format](
        rows, output
    )


def flat_item(row: dict[str, Any]) -> dict[str, Any]:
    """An item for an export: times as ISO text, the attributes as `item`."""
    flat = {name: row[name] for name in ITEM_FIELDS}
    for name in ("claimed_at", "settled_at", "due_at"):
        flat[name] = flat[name] and flat[name].isoformat()
    return {**flat, "item": row["item"]}


Pages = Iterator[list[dict[str, Any]]]


def _table(pages: Pages, output: Path | None) -> None:
    shown = (
        "row",
        "segment",
        "recipient",
        "status",
        "reason",
        "attempts",
        "status_code",
        "error_code",
        "error",
    )
    table = Table(show_edge=False, pad_edge=False)
    for head in shown:
        table.add_column(head)
    for page in pages:
        for row in page:
            table.add_row(*(escape(str(row[name])) if row[name] is not None else "" for name in shown))
    if output is None:
        console().print(table)
        return
    with output.open("w", encoding="utf-8") as file:
        from rich.console import Console  # noqa: PLC0415  # only for a table in a file

        Console(file=file, soft_wrap=True).print(table)


def _csv(pages: Pages, output: Path | None) -> None:
    stream = sys.stdout if output is None else output.open("w", encoding="utf-8", newline="")
    writer = csv.writer(stream)
    writer.writerow((*ITEM_FIELDS, "item"))
    for page in pages:
        for row in page:
            writer.writerow((*(row[name] for name in ITEM_FIELDS), orjson.dumps(row["item"]).decode()))
    if output is not None:
        stream.close()


def _json(pages: Pages, output: Path | None) -> None:
    """A JSON array, written as it is read: an export of a million items stays small in memory."""
    stream = sys.stdout if output is None else output.open("w", encoding="utf-8")
    before = "[\n"
    for page in pages:
        for row in page:
            stream.write(before + orjson.dumps(row).decode())
            before = ",\n"
    stream.write("[]\n" if before == "[\n" else "\n]\n")
    if output is not None:
        stream.close()


_PARQUET_TYPES = {
    "row": pa.int64(),
    "attempts": pa.int64(),
    "status_code": pa.int64(),
    "latency_ms": pa.float64(),
}


def _parquet(pages: Pages, output: Path | None) -> None:
    schema = pa.schema([(name, _PARQUET_TYPES.get(name, pa.string())) for name in (*ITEM_FIELDS, "item")])
    with pq.ParquetWriter(str(output), schema) as writer:
        for page in pages:
            rows = [{**row, "item": orjson.dumps(row["item"]).decode()} for row in page]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
