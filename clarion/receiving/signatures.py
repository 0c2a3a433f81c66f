"""Comparing signatures, in constant time and byte for byte.

A signature is compared in its spelled form, never decoded: the last character of a base64 text has bits that
a decoder drops, so a changed text would still be the same signature.
"""

import base64
import hmac
from collections.abc import Iterable


def hmac_base64url(secret: bytes, message: bytes) -> str:
    """HMAC-SHA-256 as a JWT writes it."""
    return base64.urlsafe_b64encode(hmac_digest(secret, message, "sha256")).rstrip(b"=").decode()


def hmac_digest(secret: bytes, message: bytes, algorithm: str) -> bytes:
    """An HMAC; `hmac.digest` lets the interpreter go, and the thread that stores then keeps it for 5 ms."""
    return hmac.new(secret, message, algorithm).digest()


def hmac_spellings(secret: bytes, message: bytes, algorithm: str) -> tuple[str, ...]:
    """An HMAC in the spellings that services use: hexadecimal in either case, base64."""
    digest = hmac_digest(secret, message, algorithm)
    return digest.hex(), digest.hex().upper(), base64.b64encode(digest).decode()


def matches(given: str, expected: Iterable[str]) -> bool:
    """Whether a text is one of those expected; every one of them is compared."""
    found = False
    for text in expected:
        found |= hmac.compare_digest(given.encode("utf-8", "surrogatepass"), text.encode())
    return found
