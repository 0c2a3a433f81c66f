"""CSV lists of tests: written, and read as the package reads them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clarion.errors import ListError
from clarion.lists import read_frames
from clarion.models.lists import FileList


def csv_frames(folder: Path, content: bytes | str, **options: Any) -> list[pd.DataFrame]:
    """The frames of a list with this content; `file` and `frame_rows` are taken from the options."""
    name = options.pop("file", "list.csv")
    frame_rows = options.pop("frame_rows", 10_000)
    report = options.pop("report", None)
    data = content.encode() if isinstance(content, str) else content
    (folder / str(name)).write_bytes(data)
    source = FileList.model_validate({"file": name, **options})
    return list(read_frames(source, base=folder, frame_rows=frame_rows, report=report))


def csv_table(folder: Path, content: bytes | str, **options: Any) -> list[list[str | None]]:
    """Header and rows, a missing cell as None."""
    frame = pd.concat(csv_frames(folder, content, **options))
    return [list(frame.columns), *frame.astype(object).where(frame.notna(), None).to_numpy().tolist()]


def csv_error(folder: Path, content: bytes | str, **options: Any) -> str:
    """The message of the error that reading it ends with."""
    with pytest.raises(ListError) as caught:
        csv_frames(folder, content, **options)
    return str(caught.value)
