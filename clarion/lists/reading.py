"""From what a job says of a list to its frames."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from clarion.errors import ListError
from clarion.lists.csv_files import read_csv
from clarion.lists.json_files import read_json, read_jsonl
from clarion.lists.list_file import ListFile
from clarion.lists.parquet_files import read_parquet
from clarion.lists.report import ReadReport
from clarion.lists.tables import attributes_of, batches, value_frame
from clarion.lists.values import spoilt_text
from clarion.lists.workbooks import read_workbook
from clarion.models.lists import FileList, ItemsList, ListFormat

_READERS: dict[ListFormat, Callable[[ListFile], Iterator[pd.DataFrame]]] = {
    "csv": read_csv,
    "json": read_json,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "xlsx": read_workbook,
}


def read_frames(
    source: FileList | ItemsList, *, base: Path, frame_rows: int = 10_000, report: ReadReport | None = None
) -> Iterator[pd.DataFrame]:
    """A list in frames, one row per item, in order; never the whole of it in memory.

    Every frame has the same columns, the attributes of the whole list. Columns of text have pandas' `str`
    dtype, where a missing value is NaN; all others are of `object` with plain Python values (text, int,
    float, bool, list, dict), where it is None. The index is a RangeIndex: the position of the item in the
    list, from 0, bad rows not counted. A list without items is one frame without rows. Nothing is opened
    before the first frame is asked for.

    Args:
        source: The list.
        base: Folder that a relative path starts from: the job file's.
        frame_rows: Most rows in a frame, at least 1. Parquet may give fewer in any frame, the others in the
            last.
        report: Counts rows and skipped bad rows; may be shared by lists.

    Raises:
        ListError: The list cannot be read; the message names file and line, never what stands there.
    """
    if frame_rows < 1:
        raise ValueError("frame_rows must be at least 1")
    counted = ReadReport() if report is None else report
    for frame in _frames(source, base=base, frame_rows=frame_rows, report=counted):
        counted.rows += len(frame)
        yield frame


def _frames(
    source: FileList | ItemsList, *, base: Path, frame_rows: int, report: ReadReport
) -> Iterator[pd.DataFrame]:
    if isinstance(source, ItemsList):
        return _inline(source, frame_rows=frame_rows)
    file = ListFile(source=source, base=base, frame_rows=frame_rows, report=report)
    return _READERS[file.format](file)


def _inline(source: ItemsList, *, frame_rows: int) -> Iterator[pd.DataFrame]:
    for position, item in enumerate(source.items):
        problem = spoilt_text(item)
        if problem:
            raise ListError(problem, where=f"items[{position}]")
    columns = attributes_of(source.items)
    for start, batch in batches(source.items, size=frame_rows):
        yield value_frame(batch, columns=columns, start=start)
