"""Which encoding a text is in, and how bytes that do not belong there are told from text.

A decoder that stops at a bad byte cannot say on which line it stopped, and one that replaces it hides it.
Here a bad byte becomes a character that no decoder yields, so that the row that holds it is found where rows
are read.
"""

import codecs
import logging
from encodings.aliases import aliases
from functools import cache

from charset_normalizer import from_bytes

from clarion.errors import ListError, nearest

logger = logging.getLogger(__name__)

UNDECODABLE = "\udcff"
"""Stands for bytes that are no text: half of a surrogate pair, which the encodings of files do not yield."""

UNDECODABLE_REASON = "bytes that do not belong to the encoding"

MARK_UNDECODABLE = "clarion.undecodable"
"""The `errors` argument for decoders."""

GUESS_BYTES = 64 * 1024
"""What a guess looks at, of lines that are not plain ASCII: more takes seconds and tells no more."""

_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7"}
"""Codecs that Python counts as encodings, but no file is written in; some yield half surrogate pairs."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_LEGACY = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949", "koi8_r", "mac_roman"),
)
"""What programs wrote before UTF-8; a guess among all encodings finds exotic ones in short texts."""


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


codecs.register_error(MARK_UNDECODABLE, _mark)


def choose_encoding(sample: bytes, *, given: str | None, where: str) -> str:
    """The codec to read with: the given one, else by byte order mark, else UTF-8, else a guess.

    A sample counts as UTF-8 while it has as many UTF-8 characters beyond ASCII as bytes that are none: a
    damaged byte in a UTF-8 file is a bad row, no reason to read the whole file as something else.

    Args:
        sample: The first bytes of the file.
        given: What the list says.
        where: The file, for messages.

    Raises:
        ListError: There is no such encoding; the nearest one is named.
    """
    marked = next((codec for mark, codec in _BOMS if sample.startswith(mark)), None)
    if given is None:
        return marked or _unmarked(sample, where=where)
    name = _known(given, where=where)
    if marked and name.startswith(marked.removesuffix("-sig")):
        return marked
    return name


def _known(encoding: str, *, where: str) -> str:
    try:
        "".encode(encoding)  # unlike codecs.lookup, this also refuses codecs that are no text encodings
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        name = None
    if name is None or name in _NO_CHARSETS:
        names = [name.replace("_", "-") for name in {*aliases, *aliases.values()}]
        raise ListError(
            f"unknown encoding {encoding!r}",
            where=where,
            expected="utf-8, for example",
            nearest=nearest(encoding, names),
        )
    return name


def _unmarked(sample: bytes, *, where: str) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")(MARK_UNDECODABLE)
    text = decoder.decode(sample)  # not final: the sample may end inside a character
    bad = text.count(UNDECODABLE)
    if bad == 0 or sum(not character.isascii() for character in text) >= 2 * bad:
        return "utf-8"
    guessed = _guess(sample)
    if guessed is None:
        return "utf-8"
    _tell_guess(where, guessed)
    return guessed


@cache
def _tell_guess(file: str, encoding: str) -> None:
    """Says it once a process: a list is opened when it is checked, and again when it is planned."""
    logger.warning(
        "%s is not UTF-8 and names no encoding: it is read as %s, a guess (`encoding` names another)",
        file,
        encoding,
        extra={"file": file, "encoding": encoding},
    )


def _guess(sample: bytes) -> str | None:
    """The likeliest legacy encoding: windows-1252 (the most frequent) where it fits as well as the best."""
    telling = b"\n".join(line for line in sample.splitlines() if not line.isascii())[:GUESS_BYTES]
    matches = list(from_bytes(telling, cp_isolation=list(_LEGACY)))
    if not matches:
        return None
    best = matches[0]
    as_good = (
        match for match in matches if match.chaos <= best.chaos and match.coherence >= best.coherence - 0.1
    )
    if any("cp1252" in match.could_be_from_charset for match in as_good):
        return "cp1252"
    return best.encoding
