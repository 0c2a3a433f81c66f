"""A request as it arrived, an answer as it will leave, and who a request is for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from clarion.sandbox.masking import masked_path

_TO_KEYS = ("to", "To", "recipient")
_ADDRESS_KEYS = ("number", "email", "id", "uri", "user")


@dataclass(kw_only=True)
class Request:
    """One HTTP request. Header names are lower case; repeated headers are joined with a comma."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def path(self) -> str:
        """The path alone, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @cached_property
    def content(self) -> Any:
        """The body decoded: JSON, a form as a mapping, else text; None where there is none."""
        if not self.body:
            return None
        if "x-www-form-urlencoded" in self.headers.get("content-type", ""):
            return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self.body.decode("utf-8", "replace")

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """The body where it is a mapping, else the query."""
        return self.content if isinstance(self.content, dict) else self.query

    @cached_property
    def recipients(self) -> tuple[str, ...]:
        """Whom the request is for, exactly as written there, never empty.

        The first of these that names someone: the body's `to`, `To` or `recipient` (text, a number, a mapping
        with `number` or `email`, or a list of those), SendGrid's `personalizations`, the same names in the
        query, the header `X-Recipient`, the path (of a Slack webhook without its token).
        """
        body = self.content if isinstance(self.content, dict) else {}
        for found in (
            *(_addresses(body.get(key)) for key in _TO_KEYS),
            _personalized(body.get("personalizations")),
            *(_addresses(self.query.get(key)) for key in _TO_KEYS),
            _addresses(self.headers.get("x-recipient")),
        ):
            if recipients := tuple(found):
                return recipients
        return (masked_path(self.path),)


def _addresses(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for entry in value:
            yield from _addresses(entry)
    elif isinstance(value, dict):
        yield from _addresses(next((value[key] for key in _ADDRESS_KEYS if value.get(key)), None))
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        yield str(value)


def _personalized(value: Any) -> Iterator[str]:
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict):
            yield from _addresses(entry.get("to"))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One HTTP response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(
    status: int,
    content: Any,
    *,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An answer with a JSON body."""
    return Answer(status=status, body=orjson.dumps(content), content_type=content_type, headers=headers or {})
