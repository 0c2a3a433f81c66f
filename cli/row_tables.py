"""Rows of any attributes as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

LEAST_WIDTH = 6


def rows_table(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None) -> Table:
    """A table with one line a row; where the terminal is narrow, texts fold and nothing is cut.

    Args:
        rows: Attribute to value.
        columns: Which attributes, in this order; None means every one that a row has.
    """
    names = dict.fromkeys(name for row in rows for name in row) if columns is None else columns
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        widest = max((len(_cell(row.get(name))) for row in rows), default=0)
        table.add_column(
            escape(name.replace("_", " ")),
            overflow="fold",
            min_width=min(LEAST_WIDTH, max(widest, len(name))),
        )
    for row in rows:
        table.add_row(*(escape(_cell(row.get(name))) for name in names))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
