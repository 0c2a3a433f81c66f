"""What stands in a link: which message it was in and where it leads, signed.

A token is the base64url text of its fields and of the first 8 bytes of their HMAC. A link whose URL is the
same for everybody takes 19 to 24 characters: run (1 or 2 bytes), run item (2 to 4), code of the link (3),
signature (8). One in a fallback step's message takes 3 more.
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass

from clarion.links.stems import CODE_BYTES
from clarion.signing import SIGNATURE_BYTES, purpose_key, secret_key
from clarion.templating.links import UNSUBSCRIBE_SCOPES

MOST_CHARACTERS = 4_096
"""Far above what the longest URL takes; nothing longer is looked at."""

_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
# What makes a link of a text leaves a dash at its end out: then one letter follows, which no base64 text of
# that length has.
_DASHES, _FULL_STOP, _GROUP = "-_", "0", 4
_STEP = b"\xff"
"""Begins the step of a fallback: no text in UTF-8 has this byte, so that the first step needs none."""

_VARINT_BITS, _VARINT_MORE, _VARINT_BYTES = 7, 0x80, 9


class Signer:
    """Makes tokens for one purpose, and reads them.

    Args:
        purpose: A token for one purpose is none for another.
        key: What is signed with; None for the installation's secret key.

    Raises:
        SettingError: The installation has no secret key that can be used.
    """

    def __init__(self, purpose: str, *, key: bytes | None = None) -> None:
        self._key = purpose_key(secret_key() if key is None else key, purpose)

    def token(self, body: bytes) -> str:
        """The signed text of a body."""
        text = urlsafe_b64encode(body + self._signature(body)).decode().rstrip("=")
        return text + _FULL_STOP if text[-1] in _DASHES else text

    def body(self, token: str) -> bytes | None:
        """The body that was signed; None where anything about the token is not as it was made."""
        if len(token) > MOST_CHARACTERS or not _ALPHABET.fullmatch(token):
            return None
        text = token[:-1] if len(token) % _GROUP == 1 else token
        try:
            signed = urlsafe_b64decode(text + "=" * (-len(text) % _GROUP))
        except Error:
            return None
        body = signed[:-SIGNATURE_BYTES]
        genuine = hmac.compare_digest(self._signature(body), signed[-SIGNATURE_BYTES:])
        # Unused bits at the end may be anything: only the spelling that was given out is the token.
        return body if genuine and self.token(body) == token else None

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:SIGNATURE_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkToken:
    """A link of a message: run, run item and step, the code of its stem, and what its URL has after that."""

    run_id: int
    run_item_id: int
    code: bytes
    rest: str
    step: int = 0

    def packed(self) -> bytes:
        """The fields as bytes."""
        step = _STEP + varint(self.step) if self.step else b""
        return varint(self.run_id) + varint(self.run_item_id) + self.code + step + self.rest.encode()

    @classmethod
    def unpacked(cls, body: bytes) -> "LinkToken | None":
        """The fields of what `packed` made; None where it did not."""
        try:
            run_id, at = _number(body, 0)
            run_item_id, at = _number(body, at)
            code, at = body[at : at + CODE_BYTES], at + CODE_BYTES
            step, at = _number(body, at + 1) if body[at : at + 1] == _STEP else (0, at)
            rest = body[at:].decode()
        except (IndexError, ValueError):
            return None
        if len(code) != CODE_BYTES:
            return None
        return cls(run_id=run_id, run_item_id=run_item_id, code=code, rest=rest, step=step)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribeToken:
    """Whom an unsubscribe page is for, the recipient of a step of a run item, and from what they leave.

    `code` tells the run from those of other ledgers.
    """

    run_id: int
    run_item_id: int
    code: bytes
    step: int
    scope: str

    def packed(self) -> bytes:
        """The fields as bytes."""
        choice = UNSUBSCRIBE_SCOPES.index(self.scope)
        message = varint(self.run_id) + varint(self.run_item_id)
        return message + self.code + varint(self.step) + varint(choice)

    @classmethod
    def unpacked(cls, body: bytes) -> "UnsubscribeToken | None":
        """The fields of what `packed` made; None where it did not."""
        try:
            run_id, at = _number(body, 0)
            run_item_id, at = _number(body, at)
            code = body[at : at + CODE_BYTES]
            step, at = _number(body, at + CODE_BYTES)
            choice, _ = _number(body, at)
            scope = UNSUBSCRIBE_SCOPES[choice]
        except (IndexError, ValueError):
            return None
        return cls(run_id=run_id, run_item_id=run_item_id, code=code, step=step, scope=scope)


def varint(number: int) -> bytes:
    """A whole number from 0 in as few bytes as it takes, seven bits each, the lowest first."""
    found = bytearray()
    while number >= _VARINT_MORE:
        found.append(number % _VARINT_MORE | _VARINT_MORE)
        number >>= _VARINT_BITS
    return bytes(found) + bytes((number,))


def _number(body: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place after it. Raises IndexError or ValueError."""
    number = 0
    for length in range(_VARINT_BYTES):
        byte = body[at + length]
        number |= (byte & ~_VARINT_MORE) << (_VARINT_BITS * length)
        if byte < _VARINT_MORE:
            return number, at + length + 1
    raise ValueError("the number has no end")
