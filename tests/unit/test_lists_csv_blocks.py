"""CSV lists read in blocks of lines: where a block ends changes nothing."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.lists import ReadReport, csv_files, frame_items, read_frames
from clarion.models.lists import FileList


def read(folder: Path, content: str) -> tuple[list[dict[str, str]], ReadReport]:
    """The items of a CSV, and the report of its bad rows."""
    (folder / "blocks.csv").write_bytes(content.encode())
    source = FileList.model_validate({"file": "blocks.csv", "on_bad_row": "skip", "delimiter": ","})
    report = ReadReport()
    frames = read_frames(source, base=folder, report=report)
    return [item for frame in frames for item in frame_items(frame)], report


@settings(max_examples=200, deadline=None)
@given(
    noise=st.text('aé,"\n\r \0', max_size=60)
    | st.lists(st.sampled_from(["1,2", '"3\n3",4', "", '5,"'])).map("\n".join),
    lines=st.integers(1, 4),
)
def test_csv_read_in_blocks_is_what_it_is_record_by_record(
    tmp_path_factory: pytest.TempPathFactory, noise: str, lines: int
):
    """Wherever the blocks end, the same rows are good, and the same lines are bad for the same reasons."""
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "BLOCK_LINES", lines)
        in_blocks = read(folder, "a,b\n" + noise)
        patch.setattr(csv_files, "_clean_rows", lambda *_args, **_options: None)
        patch.setattr(csv_files, "BLOCK_LINES", 1_000)
        assert read(folder, "a,b\n" + noise) == in_blocks
