"""The secret key of an installation, and what is signed with it.

The setting CLARION_SECRET_KEY, else the file `secret.key` in Clarion's home, made when it is first needed.
Whoever makes links and whoever serves them need the same key: several machines share the setting or the file.
"""

import hmac
import os
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from clarion.errors import SettingError
from clarion.ledger.database import HOME_SETTING, clarion_home

SECRET_KEY_SETTING = "CLARION_SECRET_KEY"  # noqa: S105  # the setting's name
KEY_FILE = "secret.key"
KEY_BYTES = 32
LEAST_CHARACTERS = 32
"""Whoever guesses the key signs links to anywhere; 32 characters are 128 bits even in hexadecimal."""

SIGNATURE_BYTES = 8
"""64 bits: a guess can only be tried against a server, one request each, and a link has to stay short."""


def secret_key() -> bytes:
    """The key of this installation.

    Raises:
        SettingError: The setting is too short, or the file cannot be read, made, or holds no key.
    """
    return _key(os.environ.get(SECRET_KEY_SETTING), clarion_home() / KEY_FILE)


def key_place() -> str:
    """Where the key of this installation is from: the setting's name, or the file."""
    return SECRET_KEY_SETTING if os.environ.get(SECRET_KEY_SETTING) else str(clarion_home() / KEY_FILE)


def sign(message: bytes, *, purpose: str, size: int = SIGNATURE_BYTES) -> bytes:
    """The first `size` bytes of the HMAC-SHA-256 of a message, with a key of its own for each purpose."""
    return hmac.digest(purpose_key(secret_key(), purpose), message, "sha256")[:size]


def verify(message: bytes, signature: bytes, *, purpose: str, size: int = SIGNATURE_BYTES) -> bool:
    """Whether `sign` gave this signature; compared in constant time."""
    return hmac.compare_digest(sign(message, purpose=purpose, size=size), signature)


def keyed_hash(address: str) -> str:
    """64 hexadecimal digits that an address is known again by; without the key they tell nobody whose."""
    return sign(address.encode(), purpose="address", size=32).hex()


def key_fingerprint() -> str:
    """16 hexadecimal digits that tell this installation's key from others, and nothing of the key."""
    return sign(b"", purpose="fingerprint").hex()


@lru_cache(maxsize=64)
def purpose_key(key: bytes, purpose: str) -> bytes:
    """The key for one purpose: what is signed for it is no signature for another."""
    return hmac.digest(key, purpose.encode(), "sha256")


@lru_cache(maxsize=8)
def _key(given: str | None, file: Path) -> bytes:
    if given:
        return _checked(given, where=SECRET_KEY_SETTING)
    try:
        if not file.exists():
            _make(file)
        return _checked(file.read_text(encoding="ascii").strip(), where=str(file))
    except OSError as exc:
        raise SettingError(
            f"the secret key {file} cannot be used: {exc.strerror}",
            where=HOME_SETTING,
            expected=f"a folder that can be written to, or {SECRET_KEY_SETTING}",
        ) from exc
    except UnicodeDecodeError:
        return _checked("", where=str(file))


def _checked(text: str, *, where: str) -> bytes:
    """The key. Its text is never told."""
    if len(text) >= LEAST_CHARACTERS:
        return text.encode()
    expected = f"at least {LEAST_CHARACTERS} characters"
    raise SettingError("is too short for a secret key", where=where, expected=expected)


def _make(file: Path) -> None:
    """Makes the file once and whole: of several processes that try at once, one's key is everybody's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{KEY_FILE}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as writer:
            writer.write(f"{secrets.token_urlsafe(KEY_BYTES)}\n")
            writer.flush()
            os.fsync(writer.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)  # unlike a rename it never takes the place of a key that is there
    finally:
        draft.unlink(missing_ok=True)
