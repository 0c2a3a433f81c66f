"""From a run item to the HTTP request that is sent for it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
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
    return _parsed(text, where=where) if against is None else _redirected(text, str(against), where=where)


@lru_cache(maxsize=1024)
def _redirected(text: str, against: str, *, where: str) -> httpx.URL:
    """The URL at another host. The user and password of the URL are for the host that it names."""
    base = httpx.URL(against)
    path = base.raw_path.partition(b"?")[0].rstrip(b"/") + _parsed(text, where=where).raw_path
    return base.copy_with(raw_path=path)


@lru_cache(maxsize=1024)
def _parsed(text: str, *, where: str) -> httpx.URL:
    """The URL, parsed once where it is the same for many items: that takes 10 us."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise RenderError(f"{where}: renders to no valid URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise RenderError(f"{where}: renders to no absolute http or https URL")
    return url
