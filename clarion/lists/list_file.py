"""A list's file: where it is, how it is opened and decoded, and what becomes of a row that cannot be read."""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, Literal

import fsspec
import pyarrow as pa
from fsspec.core import url_to_fs

from clarion.errors import ListError, RowError, nearest
from clarion.lists.encodings import MARK_UNDECODABLE, choose_encoding
from clarion.lists.report import BadRow, ReadReport
from clarion.models.lists import FORMAT_BY_EXTENSION, FileList, ListFormat, extensions

SAMPLE_BYTES = 1024 * 1024
"""What the encoding is detected on."""

_DECOMPRESS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream, mode="rb"),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": lambda stream: pa.CompressedInputStream(stream, "zstd"),
}


@dataclass(frozen=True, kw_only=True)
class ListFile:
    """A file and the way it is read.

    Args:
        source: What the job says of it.
        base: Folder that a relative path starts from.
        frame_rows: Most rows in a frame.
        report: Counts what is read and what is skipped.
    """

    source: FileList
    base: Path
    frame_rows: int
    report: ReadReport

    @property
    def name(self) -> str:
        """The file as the job names it, without what a URL may hold of secrets: user, password, query."""
        file = self.source.file
        return re.sub(r"//[^/@]*@", "//", re.sub(r"[?#].*", "", file)) if "://" in file else file

    @property
    def format(self) -> ListFormat:
        """How the file is to be read.

        Raises:
            ListError: Neither `format` nor the extension tells, or a format that has its own compression is
                compressed.
        """
        found = self.source.known_format
        extension, compression = extensions(self.source.file)
        if found is None:
            raise ListError(
                "the extension tells no format",
                where=self.name,
                expected=f"one of {', '.join(FORMAT_BY_EXTENSION)}, or format",
                nearest=nearest(extension, FORMAT_BY_EXTENSION),
            )
        if compression and found in {"parquet", "xlsx"}:
            raise ListError(
                f"is compressed as {compression}", where=self.name, expected=f"the {found} file itself"
            )
        return found

    def at(self, line: int) -> str:
        """The place of a row in messages."""
        return f"{self.name}:{line}"

    def bad_row(self, line: int, reason: str, *, expected: str | None = None) -> None:
        """Counts a row that cannot be read, or stops at it, as the list says.

        Raises:
            RowError: `on_bad_row` is error.
        """
        if self.source.on_bad_row == "error":
            raise RowError(reason, where=self.at(line), expected=expected)
        told = f"{reason}, expected {expected}" if expected else reason
        self.report.skip(BadRow(file=self.name, line=line, reason=told))

    @contextmanager
    def open_binary(self) -> Generator[IO[bytes], None, None]:
        """The file's bytes, decompressed.

        Raises:
            ListError: It is missing, a folder, forbidden, damaged, or out of reach.
        """
        with self._open() as stream:
            decompress = _DECOMPRESS.get(extensions(self.source.file)[1])
            try:
                with decompress(stream) if decompress else nullcontext(stream) as content:
                    yield content
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as exc:
                reason = "cannot be decompressed" if decompress else f"cannot be read: {_told(exc)}"
                raise ListError(reason, where=self.name) from exc

    def encoding(self) -> str:
        """The codec to read the text with; reads the first bytes of the file.

        Raises:
            ListError: The file is empty, or names an encoding that does not exist.
        """
        with self.open_binary() as stream:
            sample = stream.read(SAMPLE_BYTES)
        if not sample:
            raise ListError("the file is empty", where=self.name)
        return choose_encoding(sample, given=self.source.encoding, where=self.name)

    @contextmanager
    def open_text(
        self, encoding: str, *, newline: Literal["", "\n"]
    ) -> Generator[io.TextIOWrapper, None, None]:
        """The file's text; bytes that are none become `UNDECODABLE`, line ends stay as they are.

        Args:
            encoding: From `encoding`.
            newline: What ends a line: "" for CR, LF and CRLF, or LF alone.
        """
        with (
            self.open_binary() as stream,
            io.TextIOWrapper(stream, encoding=encoding, errors=MARK_UNDECODABLE, newline=newline) as text,
        ):
            yield text

    def _open(self) -> IO[bytes]:
        file = self.source.file
        try:
            if "://" not in file:
                return (self.base / file).open("rb")
            files, path = url_to_fs(file)
            return files.open(path, "rb")
        except FileNotFoundError:
            raise self._missing() from None
        except IsADirectoryError:
            raise ListError("is a folder", where=self.name, expected="a file") from None
        except PermissionError:
            raise ListError("may not be read: permission denied", where=self.name) from None
        except ImportError as exc:
            raise ListError(f"needs a package that is not installed: {exc}", where=self.name) from exc
        except Exception as exc:
            if not isinstance(exc, OSError) and "Protocol not known" in str(exc):
                raise self._unknown_protocol() from None
            # Each protocol has its own errors; their texts may hold a URL's secrets: only the kind is told.
            raise ListError(f"cannot be opened: {_told(exc)}", where=self.name) from exc

    def _missing(self) -> ListError:
        file = self.source.file
        if "://" in file and not file.startswith(("file://", "local://")):
            return ListError("there is no such file", where=self.name)
        path = Path(url_to_fs(file)[1]) if "://" in file else self.base / file
        close = None
        with suppress(OSError):
            close = nearest(path.name, [each.name for each in path.parent.iterdir()])
        return ListError(
            f"there is no such file in {path.parent}",
            where=self.name,
            nearest=close if close is None or "://" in file else str(PurePath(file).with_name(close)),
        )

    def _unknown_protocol(self) -> ListError:
        protocol = self.source.file.split("://", maxsplit=1)[0].split("::")[-1]
        return ListError(
            f"unknown protocol {protocol!r}",
            where=self.name,
            expected="a path, or a URL such as s3://bucket/customers.csv",
            nearest=nearest(protocol, fsspec.available_protocols()),
        )


def _told(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
