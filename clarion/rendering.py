"""From a run item to the HTTP request that is sent for it."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import orjson

from clarion.campaign import Campaign, CompiledAction, CompiledSegment
from clarion.errors import RenderError
from clarion.exchange import Pairs, ReadyRequest
from clarion.templating import check_header_value
from clarion.templating.links import LINKS_SCOPE, Links

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose body has a length even where it is empty."""


def job_scope(campaign: Campaign) -> dict[str, Any]:
    """What templates and conditions see as `job`."""
    job = campaign.job
    return {"name": job.name, "description": job.description, "tags": list(job.tags)}


def request_scope(
    campaign: Campaign,
    segment: CompiledSegment,
    *,
    item: Mapping[str, Any],
    recipient: str,
    run: Mapping[str, Any],
    run_item: Mapping[str, Any],
    links: Links | None = None,
    event: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that the action's templates see. Parameters render first, then the message texts.

    `links` makes those of the message; without it a template that asks for one does not render. `event` is
    what a reaction answers.

    Raises:
        RenderError: A parameter or a text does not render with this item.
    """
    scope: dict[str, Any] = {
        "item": item,
        "recipient": recipient,
        "job": job_scope(campaign),
        "run": run,
        "run_item": run_item,
        LINKS_SCOPE: links,
        "event": event,
    }
    scope["parameters"] = campaign.actions[segment.action].values(segment, scope)
    scope["template"] = {name: text.render_text(scope) for name, text in segment.texts.items()}
    return scope


def render_request(
    action: CompiledAction,
    scope: Mapping[str, Any],
    *,
    idempotency_key: str,
    against: httpx.URL | None = None,
) -> httpx.Request:
    """The request of an action for one item, without credentials.

    Args:
        action: The compiled action.
        scope: What `request_scope` made.
        idempotency_key: Value of the action's idempotency header.
        against: Send to this host instead, under its path; for rehearsals.

    Raises:
        RenderError: A template does not render, the URL is no http URL, or a header would break out.
    """
    url = _url(action, scope, against)
    content, content_type = _content(action, scope)
    present = action.header_names
    pairs = _own_headers(action, scope)
    if "host" not in present:
        pairs.insert(0, ("Host", url.netloc.decode()))
    if content_type and "content-type" not in present:
        pairs.append(("Content-Type", content_type))
    key_header = action.action.idempotency_header
    if key_header and key_header.lower() not in present:
        pairs.append((key_header, idempotency_key))
    method = action.action.command.method
    if (content or method in _WITH_BODY) and "content-length" not in present:
        pairs.append(("Content-Length", str(len(content))))
    return ReadyRequest(method, url, pairs=pairs, content=content, extensions=action.extensions)


def _own_headers(action: CompiledAction, scope: Mapping[str, Any]) -> Pairs:
    pairs: Pairs = []
    for name, template in action.headers.items():
        value = template.render_text(scope)
        check_header_value(value, where=f"actions.{action.name}.command.headers.{name}")
        pairs.append((name, value))
    return pairs


def _content(action: CompiledAction, scope: Mapping[str, Any]) -> tuple[bytes, str | None]:
    if action.body is None:
        return b"", None
    if action.body_kind == "body":
        return action.body.render_text(scope).encode(), None
    value = action.body.render(scope)
    if action.body_kind == "form":
        return urlencode({name: _form_text(each) for name, each in value.items()}).encode(), FORM_TYPE
    try:
        return orjson.dumps(value), JSON_TYPE
    except (TypeError, ValueError) as exc:
        raise RenderError(f"actions.{action.name}.command.payload: is no JSON: {exc}") from None


def _form_text(value: Any) -> str:
    """A value of a form: text and numbers as they are, none as nothing, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _url(action: CompiledAction, scope: Mapping[str, Any], against: httpx.URL | None) -> httpx.URL:
    text = action.url.render_text(scope).strip()
    where = f"actions.{action.name}.command.url"
    written = action.action.command.url
    if against is None:
        return _parsed(text, written, where=where)
    return _redirected(text, written, str(against), where=where)


@lru_cache(maxsize=1024)
def _redirected(text: str, written: str, against: str, *, where: str) -> httpx.URL:
    """The URL at another host. The user and password of the URL are for the host that it names."""
    base = httpx.URL(against)
    path = base.raw_path.partition(b"?")[0].rstrip(b"/") + _parsed(text, written, where=where).raw_path
    return base.copy_with(raw_path=path)


@lru_cache(maxsize=1024)
def _parsed(text: str, written: str, *, where: str) -> httpx.URL:
    """The URL, parsed once where it is the same for many items: that takes 10 us.

    Args:
        text: As it rendered.
        written: Its template.
        where: The template's path.
    """
    if text != written:
        _check_place(text, written, where=where)
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise RenderError(f"{where}: renders to no valid URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise RenderError(f"{where}: renders to no absolute http or https URL")
    return url


_DOTS = re.compile(r"[/\\](?:\.|%2e){1,2}(?:[/\\?#]|$)", re.IGNORECASE)


class _Written(NamedTuple):
    """What a URL's template writes itself. `queries` is None where values bring no path, or the whole URL."""

    fragment: bool
    dots: bool
    queries: int | None
    last: str
    """What stands between the last value of the path and its query."""


@lru_cache(maxsize=256)
def _written_in(template: str) -> _Written:
    path, query, _ = template.partition("?")
    fixed = "{" not in path or template[0] == "{"
    return _Written(
        "#" in template,
        _DOTS.search(template) is not None,
        None if fixed else template.count("?"),
        path.rpartition("}")[2] if query else "",
    )


def _check_place(text: str, template: str, *, where: str) -> None:
    """Refuses a value that would lead elsewhere: `urlencode` leaves dots and slashes as they are.

    What the template itself has of dots, `?` and `#` may stand.

    Raises:
        RenderError: A value brings a `.` or `..` of a path, a `#`, or a `?` that ends the path.
    """
    written = _written_in(template)
    if "#" in text and not written.fragment:
        raise _misplaced("#", where=where)
    odd = "/." in text or "%2" in text or "\\" in text
    if odd and not written.dots and _DOTS.search(text.partition("?")[0]):
        raise _misplaced("a path of dots", where=where)
    if written.queries is not None and text.count("?") > written.queries:
        path = text.partition("?")[0]
        if not written.last or not path.endswith(written.last):
            raise _misplaced("?", where=where)


def _misplaced(what: str, *, where: str) -> RenderError:
    return RenderError(f"{where}: a value brings {what} into the URL; `urlencode` it, or put it elsewhere")
