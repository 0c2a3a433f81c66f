"""Where lists come from: paths, URLs, compression, and everything that can be wrong with them."""

import bz2
import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from clarion.errors import ListError
from clarion.lists import frame_items, read_frames
from clarion.models.lists import FileList

CONTENT = b"id,name\n1,Ann\n"
ITEMS = [{"id": "1", "name": "Ann"}]


def _items(base: Path, **options: object) -> list[dict[str, object]]:
    frames = read_frames(FileList.model_validate(options), base=base)
    return [item for frame in frames for item in frame_items(frame)]


def _error(base: Path, **options: object) -> str:
    with pytest.raises(ListError) as caught:
        _items(base, **options)
    return str(caught.value)


def _zstandard(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": _zstandard}


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """The in-memory file system, emptied afterwards."""
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def test_path_starts_from_the_base_folder(tmp_path: Path):
    """A relative path belongs to the job file's folder, an absolute one to nobody."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a::b.csv").write_bytes(CONTENT)
    assert _items(tmp_path, file="lists/a::b.csv") == ITEMS
    assert _items(tmp_path / "lists", file="../lists/a::b.csv") == ITEMS
    assert _items(Path("/nowhere"), file=str(tmp_path / "lists" / "a::b.csv")) == ITEMS


def test_url_is_read_through_fsspec(tmp_path: Path, memory: MemoryFileSystem):
    """`file://` and `memory://` work as `s3://` does where its package is installed."""
    (tmp_path / "list.csv").write_bytes(CONTENT)
    memory.pipe("/bucket/list.csv.gz", gzip.compress(CONTENT))
    assert _items(Path("/nowhere"), file=f"file://{tmp_path}/list.csv") == ITEMS
    assert _items(Path("/nowhere"), file="memory://bucket/list.csv.gz") == ITEMS


def test_format_is_told_by_extension_or_option(tmp_path: Path):
    """The extension's case does not matter, a given format goes before it."""
    (tmp_path / "LIST.CSV").write_bytes(CONTENT)
    (tmp_path / "list.export").write_bytes(CONTENT)
    assert _items(tmp_path, file="LIST.CSV") == ITEMS
    assert _items(tmp_path, file="list.export", format="csv") == ITEMS


def test_unknown_extension_is_refused_with_the_nearest(tmp_path: Path):
    """A format that nobody named is not guessed from the content."""
    assert _error(tmp_path, file="list.xls") == (
        "list.xls: the extension tells no format; "
        "expected one of .csv, .tsv, .json, .jsonl, .ndjson, .parquet, .xlsx, .xlsm, or format "
        "(did you mean '.xlsx'?)"
    )
    assert "the extension tells no format" in _error(tmp_path, file="list.gz")


@pytest.mark.parametrize("extension", COMPRESS)
def test_compressed_text_is_read(tmp_path: Path, extension: str):
    """The last extension tells the compression, the one before it the format."""
    (tmp_path / f"list.csv{extension}").write_bytes(COMPRESS[extension](CONTENT))
    (tmp_path / f"list.jsonl{extension}").write_bytes(COMPRESS[extension](b'{"id": "1", "name": "Ann"}'))
    assert _items(tmp_path, file=f"list.csv{extension}") == ITEMS
    assert _items(tmp_path, file=f"list.jsonl{extension}") == ITEMS


@pytest.mark.parametrize("extension", COMPRESS)
def test_damaged_compression_is_told(tmp_path: Path, extension: str):
    """A file cut short on its way, or not compressed at all, is no shorter list."""
    whole = COMPRESS[extension](CONTENT * 1000)
    for damaged in (whole[: len(whole) // 2], CONTENT):
        (tmp_path / f"list.csv{extension}").write_bytes(damaged)
        assert _error(tmp_path, file=f"list.csv{extension}") == f"list.csv{extension}: cannot be decompressed"


def test_formats_with_their_own_compression_are_not_compressed(tmp_path: Path):
    """Parquet and Excel need a file that one can jump in."""
    assert (
        _error(tmp_path, file="a.parquet.gz")
        == "a.parquet.gz: is compressed as .gz; expected the parquet file itself"
    )


def test_missing_file_names_its_folder_and_the_nearest(tmp_path: Path):
    """A slip of the finger in the name is told as it would stand in the job."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "customers.csv").write_bytes(CONTENT)
    folder = tmp_path / "lists"
    assert _error(tmp_path, file="lists/custmers.csv") == (
        f"lists/custmers.csv: there is no such file in {folder} (did you mean 'lists/customers.csv'?)"
    )
    assert _error(tmp_path, file=f"file://{folder}/custmers.csv").endswith("(did you mean 'customers.csv'?)")
    assert _error(tmp_path, file="nowhere/customers.csv").endswith(f"in {tmp_path / 'nowhere'}")


def test_missing_url_is_told(tmp_path: Path, memory: MemoryFileSystem):
    """Also where there is no folder to look around in."""
    assert (
        _error(tmp_path, file="memory://bucket/list.csv") == "memory://bucket/list.csv: there is no such file"
    )


def test_folder_is_no_list(tmp_path: Path):
    """A folder may be named like a file."""
    (tmp_path / "list.csv").mkdir()
    assert _error(tmp_path, file="list.csv") == "list.csv: is a folder; expected a file"
    (tmp_path / "plain.txt").write_bytes(b"")
    assert _error(tmp_path, file="plain.txt/list.csv").startswith("plain.txt/list.csv: cannot be opened: ")


class _Locked(MemoryFileSystem):
    """A storage that lets nobody in, and says so with a secret in its message."""

    protocol = "locked"
    refusal: type[Exception] = PermissionError

    def _open(self, path: str, *_args: object, **_kwargs: object) -> object:
        raise self.refusal(f"token=hunter2 may not read {path}")


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (PermissionError, "may not be read: permission denied"),
        (RuntimeError, "cannot be opened: RuntimeError"),
    ],
)
def test_refused_url_is_told_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: type[Exception], told: str
):
    """Neither the URL's user and query nor what the storage says of them is repeated."""
    fsspec.register_implementation("locked", _Locked, clobber=True)
    monkeypatch.setattr(_Locked, "refusal", refusal)
    message = _error(tmp_path, file="locked://ann:hunter2@bucket/list.csv?sig=hunter2")
    assert message == f"locked://bucket/list.csv: {told}"


def test_unknown_protocol_is_told(tmp_path: Path):
    """With the nearest one that there is."""
    message = _error(tmp_path, file="htps://example.com/list.csv")
    assert message.startswith("htps://example.com/list.csv: unknown protocol 'htps'")
    assert "did you mean 'https'?" in message


def test_protocol_without_its_package_tells_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Storage packages are extras; a person learns which one is wanted."""
    known = {"class": "no_such_package.Files", "err": "Install no-such-package to access it"}
    fsspec.register_implementation("lacking", known["class"], errtxt=known["err"], clobber=True)
    assert _error(tmp_path, file="lacking://bucket/list.csv") == (
        "lacking://bucket/list.csv: needs a package that is not installed: "
        "Install no-such-package to access it"
    )


def test_options_of_another_format_are_refused():
    """An option that would be ignored is a mistake."""
    with pytest.raises(ValueError, match="sheet goes with xlsx, not with csv"):
        FileList(file="list.csv", sheet="People")
    with pytest.raises(ValueError, match="delimiter goes with csv, not with parquet"):
        FileList(file="list.data", format="parquet", delimiter=";")
    with pytest.raises(ValueError, match="encoding goes with csv and json and jsonl, not with xlsx"):
        FileList(file="list.xlsx", encoding="utf-8")


@pytest.mark.parametrize("delimiter", ["", '"', "\n", ";;"])
def test_delimiter_must_be_one_character(delimiter: str):
    """What `csv` could not use is refused where it is written."""
    with pytest.raises(ValueError, match="delimiter"):
        FileList(file="list.csv", delimiter=delimiter)
