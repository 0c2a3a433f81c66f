"""The tables that commands print. Ids and statuses are never cut: names and texts fold instead."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from clarion.answer_report import answer_head, answer_lines, shown_answers
from clarion.reporting import COUNTS, ReportLine, report_lines

NO_RUN = "There are no runs."
LEAST_WIDTH = 6
"""Columns that a text folds into at least."""

RECIPIENT_WIDTH = 15
"""A phone number stays on one line."""

WORDS_WIDTH = len("succeeded,")
"""What counts in words need."""

_ITEM_COLUMNS = (
    "row", "segment", "recipient", "status", "reason", "attempts", "status_code", "error_code", "error",
)  # fmt: skip
_HEADS = {"status_code": "code", "error_code": "error code", "attempts": "tries"}


def print_table(out: Console, table: RenderableType) -> None:
    """Prints a table; on a terminal too narrow for its ids the terminal breaks the lines, nothing is cut."""
    least = least_width(table) if isinstance(table, Table) else 0
    narrow = out.width
    out.width = max(least, narrow)  # as an argument, Rich would not take more than the terminal has
    out.print(table, crop=False, soft_wrap=False)
    out.width = narrow


def least_width(table: Table) -> int:
    """How narrow a table may get: Rich's own measure takes no account of words that fold."""
    between = 2 if table.box is SIMPLE_HEAD else 3
    return sum(column.width or column.min_width or 0 for column in table.columns) + between * (
        len(table.columns) - 1
    )


def _keep_whole(table: Table) -> Table:
    """The table, its fixed columns as wide as what stands in them: Rich would narrow them with the others."""
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(len(str(cell)) for cell in (column.header, *column.cells))
    return table


def _plain_table() -> Table:
    """With two blanks between columns, to fit much on a line."""
    return Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _fixed(table: Table, head: str, *, numbers: bool = False) -> None:
    table.add_column(head, no_wrap=True, overflow="crop", justify="right" if numbers else "left")


def _folding(table: Table, head: str, *, values: Iterable[str], least: int = LEAST_WIDTH) -> None:
    """A column whose text folds where the terminal is narrow; it is no wider than it needs."""
    widest = max((len(value) for value in (head, *values)), default=0)
    table.add_column(head, overflow="fold", min_width=min(widest, least))


def segments_table(report: Mapping[str, Any]) -> Table:
    """Counts by segment, one row each and one for the whole, without counts that are nought everywhere."""
    *parts, whole = report_lines(report)
    shown = _shown_counts([whole.counts])
    table = Table(show_edge=False, pad_edge=False)
    _folding(table, "segment", values=[line.segment for line in (*parts, whole)])
    _folding(table, "action", values=[line.action for line in parts])
    for name in shown:
        _fixed(table, name, numbers=True)
    for line in parts:
        table.add_row(*_cells(line, shown))
    table.add_section()
    table.add_row(*_cells(whole, shown))
    return _keep_whole(table)


def answers_table(report: Mapping[str, Any]) -> Table:
    """What came back by segment, one row each of which anything did and one for the whole."""
    *parts, whole = answer_lines(report)
    table = Table(show_edge=False, pad_edge=False)
    _folding(table, "segment", values=[line[0] for line in (*parts, whole)])
    for name in shown_answers(report):
        table.add_column(answer_head(name), justify="right")
    for line in parts:
        table.add_row(*map(escape, line))
    table.add_section()
    table.add_row(*map(escape, whole))
    return table


def _shown_counts(counts: Sequence[Mapping[str, int]]) -> list[str]:
    return [name for name in COUNTS if name == "total" or any(each[name] for each in counts)]


def _cells(line: ReportLine, shown: Iterable[str]) -> list[str]:
    return [escape(line.segment), escape(line.action), *_numbers(line.counts, shown)]


def _numbers(counts: Mapping[str, int], shown: Iterable[str]) -> list[str]:
    return [f"{counts[name]:,}" if counts[name] else "-" for name in shown]


def runs_table(runs: Sequence[Mapping[str, Any]], *, out: Console) -> RenderableType:
    """Runs as a table, the counts in columns of their own, or in words where the terminal is too narrow."""
    if not runs:
        return NO_RUN
    wide = _runs(runs, counts_apart=True)
    if least_width(wide) <= out.width:
        return wide
    narrow = _runs(runs, counts_apart=False)
    words = narrow.columns[-1]
    # Rich would share what is too much between this column and the names, and so narrow the ids.
    words.width = max(WORDS_WIDTH, WORDS_WIDTH + out.width - least_width(narrow))
    return narrow


def _runs(runs: Sequence[Mapping[str, Any]], *, counts_apart: bool) -> Table:
    named = any(run["name"] for run in runs)
    kinds = any(run["kind"] != "run" for run in runs)
    shown = _shown_counts([run["counts"] for run in runs])
    table = _plain_table()
    _fixed(table, "run")
    _folding(table, "job", values=[run["job"] for run in runs])
    if named:
        _folding(table, "name", values=[run["name"] or "" for run in runs])
    if kinds:
        _fixed(table, "kind")
    _fixed(table, "status")
    table.add_column("started", width=len("2026-12-01 09:00:00" if counts_apart else "2026-12-01"))
    for head in shown if counts_apart else ():
        _fixed(table, head, numbers=True)
    if not counts_apart:
        table.add_column("items", overflow="fold", min_width=WORDS_WIDTH)
    for run in runs:
        cells = [run["run_id"], escape(run["job"])]
        cells += [escape(run["name"] or "")] if named else []
        cells += ["" if run["kind"] == "run" else run["kind"]] if kinds else []
        cells += [run["status"], _moment(run["started_at"] or run["created_at"])]
        cells += _numbers(run["counts"], shown) if counts_apart else [_in_words(run["counts"])]
        table.add_row(*cells)
    return _keep_whole(table)


def _moment(text: str | None) -> str:
    return (text or "")[:19].replace("T", " ")


def _in_words(counts: Mapping[str, int]) -> str:
    parts = [f"{counts[name]:,} {name}" for name in COUNTS if name != "total" and counts[name]]
    return ", ".join(parts) or "none"


def items_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Run items, one row each; columns that no item has anything in are left out."""
    shown = [name for name in _ITEM_COLUMNS if any(row[name] not in {None, ""} for row in rows)]
    table = _plain_table()
    for name in shown:
        head = _HEADS.get(name, name)
        if name in {"row", "status", "attempts", "status_code"}:
            _fixed(table, head, numbers=name != "status")
        else:
            least = RECIPIENT_WIDTH if name == "recipient" else LEAST_WIDTH
            _folding(table, head, values=[str(row[name] or "") for row in rows], least=least)
    for row in rows:
        table.add_row(*("" if row[name] is None else escape(str(row[name])) for name in shown))
    return _keep_whole(table)
