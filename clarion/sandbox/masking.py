"""Takes secrets out of what the sandbox keeps: a rehearsal may well be run with real credentials."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

MASK = "***"

_HEADERS = frozenset({"proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"})
_FIELDS = frozenset({"api_secret", "sig", "password", "secret", "token", "access_token", "apikey", "api_key"})
_SLACK_PATH = re.compile(r"^(/services/[^/]+/[^/]+/).+")


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without their secrets; of `Authorization` the scheme stays (`Bearer ***`)."""
    return {name: _masked_header(name, value) for name, value in headers.items()}


def _masked_header(name: str, value: str) -> str:
    if name == "authorization":
        scheme, _, rest = value.partition(" ")
        return f"{scheme} {MASK}" if rest else MASK
    return MASK if name in _HEADERS else value


def masked_fields(content: Any) -> Any:
    """A decoded body or query without the values of its top-level secrets."""
    if not isinstance(content, Mapping):
        return content
    return {key: MASK if str(key).lower() in _FIELDS else value for key, value in content.items()}


def masked_path(path: str) -> str:
    """A path without the token of a Slack webhook."""
    return _SLACK_PATH.sub(rf"\g<1>{MASK}", path)


def quoted_query(query: Mapping[str, str]) -> str:
    """A query without its secrets, as text."""
    return "&".join(
        f"{quote(key)}={quote(str(value), safe='*')}" for key, value in masked_fields(query).items()
    )
