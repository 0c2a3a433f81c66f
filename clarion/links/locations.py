"""URLs as a redirect's `Location` has them: all ASCII."""

import re
from functools import lru_cache
from urllib.parse import urlsplit

import httpx

from clarion.errors import RenderError

_HOST = re.compile(r"[^/]*//[^/?#]*")
"""Scheme and host of a URL."""


def location_of(url: str) -> str:
    """The URL in ASCII: its host as the DNS has it, all else percent-encoded.

    Raises:
        ValueError: Nobody can be sent there: its host or port is none.
    """
    try:
        located = url if url.isascii() else str(httpx.URL(url))
    except httpx.InvalidURL as exc:
        raise ValueError(str(exc)) from None
    return located


def check_destination(url: str) -> None:
    """Whether a link may be made to a URL; looked at while the message is made, not when somebody follows it.

    Raises:
        RenderError: Nobody can be sent there.
    """
    found = _HOST.match(url)
    try:
        _check_host(found[0] if found else url)
        location_of(url)
    except ValueError:
        raise RenderError("a link's URL has no valid host or port") from None


@lru_cache(maxsize=1_024)
def _check_host(url: str) -> None:
    """The hosts of a run are few, and to look at one takes longer than to make its link."""
    try:
        parts = urlsplit(str(httpx.URL(url)))
    except httpx.InvalidURL as exc:
        raise ValueError(str(exc)) from None
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host, or no port")
    urlsplit(url)
