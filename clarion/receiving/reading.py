"""Reading what providers send: JSON and forms, numbers for texts, times of many spellings.

Nothing here raises for what a provider may send: what cannot be read is None.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from clarion.receiving.nesting import shallow
from clarion.receiving.requests import WebhookRequest

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 10_000
MOST_ENTRIES = 1_000
"""Entries of a JSON list, each an event: while they are read, nobody else is answered."""

MOST_ID_CHARACTERS = 255
"""What a name, an id or an address may have. Longer ones are cut: an entry of an index has an end."""

MILLISECONDS_FROM = 100_000_000_000
"""A time in seconds reaches this number in the year 5138."""

FIRST_YEAR, LAST_YEAR = 1970, 9000

_UNIX = re.compile(r"\d{9,13}(?:\.\d{1,9})?", re.ASCII)
_FORM_BEGINS = re.compile(rb"(?![\[{<\"])[^\s<>\"{}]*=")
"""A name without what JSON, XML and sentences have: the forms of careless senders are forms too."""

_HALF_CHARACTERS = re.compile("[\ud800-\udfff]")


def pairs(text: str) -> list[tuple[str, str]]:
    """The fields of a form or a query, in their order, empty ones too.

    Raises:
        ValueError: There are too many, or what is percent-encoded is no UTF-8.
    """
    return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")


class TooManyEntriesError(Exception):
    """A request has more entries than one may have."""


def objects(request: WebhookRequest, *, as_form: bool = False) -> list[dict[str, Any]]:
    """The JSON objects of a request, at least one: of a form its fields, of a list each of its entries.

    What is none of these stands under `body`. What is nested too deeply is text.

    Args:
        request: Any. Its Content-Type says nothing here: few signatures cover it, and a body that reads as
            one thing under one type and as another under another would be worth two messages.
        as_form: The body is a form, whatever it looks like: that is how it was verified.

    Raises:
        TooManyEntriesError: Of a list.
    """
    try:
        value = _value(request, as_form=as_form, cut=True)
        entries = value if isinstance(value, list) and value else [value]
        if len(entries) > MOST_ENTRIES:
            raise TooManyEntriesError
        return [entry if isinstance(entry, dict) else {"body": entry} for entry in map(_storable, entries)]
    except (ValueError, RecursionError):
        return [{"body": request.content.decode("utf-8", "replace")}]


def parameters(request: WebhookRequest) -> dict[str, str]:
    """The fields of a query, of a form, or of one JSON object that holds texts and whole numbers alone.

    Raises:
        ValueError: The request is anything else, or has a field more than once.
    """
    try:
        value = _value(request, as_form=False, cut=False)
    except RecursionError as exc:
        raise ValueError(str(exc)) from None
    found = _flat(_storable(_flat(value)))
    return {name: str(each) for name, each in found.items()}


def _flat(value: Any) -> dict[str, str | int]:
    if isinstance(value, dict) and all(type(each) in {str, int} for each in value.values()):
        return value
    raise ValueError("not one flat object")


def _value(request: WebhookRequest, *, as_form: bool, cut: bool) -> Any:
    """Raises ValueError or RecursionError where the request is neither JSON nor a form."""
    if request.method == "GET":
        return _form(request.query)
    if as_form:
        return _form(request.body.decode())
    try:
        return _json(shallow(request.body) if cut else request.body)
    except ValueError:
        if _FORM_BEGINS.match(request.body):
            return _form(request.body.decode())
        raise


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:  # half characters, say, which this takes
        return json.loads(body.decode("utf-8-sig", "surrogatepass"))


def _form(text: str) -> dict[str, Any]:
    """The fields by name; a name that stands there more than once has a list."""
    found: dict[str, Any] = {}
    for name, value in pairs(text):
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def _storable(value: Any) -> Any:
    """The value as JSON that every database takes."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        text = _HALF_CHARACTERS.sub("\ufffd", json.dumps(value, ensure_ascii=False, default=str))
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return {"body": text}
    return value


def inner(data: Mapping[str, Any], *path: str) -> Any:
    """What lies at a path of names; None where there is nothing."""
    value: Any = data
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def long_text(value: Any) -> str | None:
    """A text, or a number as text; None for anything else, and for nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    text = str(value)
    if not text.isascii():
        text = _HALF_CHARACTERS.sub("\ufffd", text)
    return text.replace("\x00", "") or None


def text_of(value: Any) -> str | None:
    """As `long_text`, without blanks at the ends, cut to what a name, an id or an address may have."""
    text = long_text(value)
    return (text.strip()[:MOST_ID_CHARACTERS] or None) if text else None


def first(*values: Any) -> str | None:
    """The first of the values that is a text."""
    return next((text for text in map(text_of, values) if text), None)


def number_of(value: Any) -> float | None:
    """A number, also one written as text; None for anything else."""
    try:
        number = (
            float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
        )
    except (ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def event_id(*parts: str | None) -> str:
    """The parts as one id; hashed where that is too long."""
    joined = ":".join(part or "" for part in parts)
    return joined if len(joined) <= MOST_ID_CHARACTERS else hashlib.sha256(joined.encode()).hexdigest()


def time_of(value: Any) -> datetime | None:
    """A time in UTC.

    Known spellings: ISO 8601, with a blank for the `T` and `UTC` for the `Z` too; seconds or milliseconds
    since 1970; RFC 2822. A time without a zone is UTC.
    """
    text = first(value)
    if text is None:
        return None
    try:
        time = _time(text)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return time if FIRST_YEAR <= time.year <= LAST_YEAR else None


def _time(text: str) -> datetime:
    if _UNIX.fullmatch(text):
        seconds = float(text)
        return datetime.fromtimestamp(seconds / 1_000 if seconds >= MILLISECONDS_FROM else seconds, UTC)
    for ending in (" UTC", " GMT"):
        text = f"{text[: -len(ending)]}Z" if text.endswith(ending) and text[:4].isdecimal() else text
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parsedate_to_datetime(text)
