"""Rendered requests before a judge that this project has not written: the providers' own OpenAPI files.

openapi-core copes with both: it tells the variants of the v0.1 message (`oneOf`) apart, and reads the form of
the SMS API in the types of its schema (`ttl` as an integer).
"""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
import yaml
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers

from clarion.ledger.database import Database
from clarion.rendering import FORM_TYPE
from tests.acceptance.rehearsals import EXAMPLES, rehearse

SPECS = Path(__file__).parents[1] / "data" / "specs"
MESSAGES, SMS = "vonage-messages-v0.1", "vonage-sms-legacy"

Body = dict[str, Any]
Requests = Callable[[str], list[httpx.Request]]


class AsRequest:
    """An httpx request as openapi-core wants to see one."""

    def __init__(self, request: httpx.Request) -> None:
        self.host_url = f"{request.url.scheme}://{request.url.host}"
        self.path = request.url.path
        self.method = request.method.lower()
        self.content_type = request.headers.get("content-type", "").lower()
        self.body = request.content
        self.parameters = RequestParameters(header=Headers(list(request.headers.items())))


@cache
def judge_of(name: str) -> OpenAPI:
    """The provider's OpenAPI file for an example."""
    if name == SMS:
        return OpenAPI.from_dict(_read("sms.yml"))
    spec = _read("messages-olympus.yml")
    # The file says `/` below `.../v0.1/messages`, read strictly a URL with a slash at its end; its own
    # documentation, and everybody, calls the URL without.
    spec["servers"] = [{"url": "https://api.nexmo.com/v0.1"}]
    spec["paths"] = {"/messages": spec["paths"]["/"]}
    return OpenAPI.from_dict(spec)


def _read(file: str) -> dict[str, Any]:
    return yaml.safe_load((SPECS / file).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def requests_of(tmp_path_factory: pytest.TempPathFactory) -> Requests:
    """The requests of an example just as they leave the sender, for the real address and with credentials."""

    @cache
    def requests(name: str) -> list[httpx.Request]:
        left: list[httpx.Request] = []

        def take(request: httpx.Request) -> httpx.Response:
            left.append(request)
            return httpx.Response(202, json={})

        database = Database(f"sqlite:///{tmp_path_factory.mktemp(name) / 'ledger.db'}")
        job = EXAMPLES / name / "job.yaml"
        rehearse(job, database=database, against=None, wire=lambda: httpx.MockTransport(take))
        database.close()
        return left

    return requests


def decoded(request: httpx.Request) -> Body:
    """The body of a request."""
    if request.headers["content-type"] == FORM_TYPE:
        return dict(parse_qsl(request.content.decode()))
    return json.loads(request.content)


def with_body(request: httpx.Request, body: Body) -> httpx.Request:
    """The request with another body."""
    is_form = request.headers["content-type"] == FORM_TYPE
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    content = urlencode(body).encode() if is_form else json.dumps(body).encode()
    return httpx.Request(request.method, request.url, headers=headers, content=content)


def without(*path: str) -> Callable[[Body], None]:
    """Takes away the field at a path."""

    def change(body: Body) -> None:
        for step in path[:-1]:
            body = body[step]
        del body[path[-1]]

    return change


def put(value: Any, *path: str) -> Callable[[Body], None]:
    """Sets the field at a path."""

    def change(body: Body) -> None:
        for step in path[:-1]:
            body = body[step]
        body[path[-1]] = value

    return change


BROKEN: list[tuple[str, str, Callable[[Body], None]]] = [
    (MESSAGES, "no to", without("to")),
    (MESSAGES, "no from", without("from")),
    (MESSAGES, "no message", without("message")),
    (MESSAGES, "no number", without("to", "number")),
    (MESSAGES, "no type", without("from", "type")),
    (MESSAGES, "no text", without("message", "content", "text")),
    (MESSAGES, "to is text", put("447700900301", "to")),
    (MESSAGES, "number is a number", put(447700900301, "to", "number")),
    (MESSAGES, "text is a number", put(7, "message", "content", "text")),
    (MESSAGES, "reference is a number", put(7, "client_ref")),
    (MESSAGES, "unknown channel", put("fax", "to", "type")),
    (MESSAGES, "two channels", put("mms", "to", "type")),
    (MESSAGES, "unknown content", put("poem", "message", "content", "type")),
    (SMS, "no to", without("to")),
    (SMS, "no from", without("from")),
    (SMS, "no credentials", without("api_key")),
    (SMS, "credentials too long", put("abcd12345", "api_key")),
    (SMS, "secret too short", put("short", "api_secret")),
    (SMS, "to is too short", put("4477", "to")),
    (SMS, "to is too long", put("4477009001010101", "to")),
    (SMS, "to is a word", put("nobody here", "to")),
    (SMS, "unknown type", put("poem", "type")),
    (SMS, "ttl is a word", put("soon", "ttl")),
    (SMS, "ttl is too short", put("19999", "ttl")),
    (SMS, "unknown class", put("4", "message-class")),
]


@pytest.mark.parametrize("name", [MESSAGES, SMS])
def test_rendered_requests_pass_the_providers_schema(name: str, requests_of: Requests):
    """Each request of the example is valid: address, credentials, content type and body."""
    requests = requests_of(name)
    assert requests
    for request in requests:
        judge_of(name).validate_request(AsRequest(request))


@pytest.mark.parametrize(
    ("name", "change"),
    [pytest.param(name, change, id=f"{name}: {case}") for name, case, change in BROKEN],
)
def test_broken_request_does_not_pass(name: str, change: Callable[[Body], None], requests_of: Requests):
    """One field broken in an otherwise valid request is enough: the judge does judge."""
    request = requests_of(name)[0]
    body = copy.deepcopy(decoded(request))
    judge_of(name).validate_request(AsRequest(with_body(request, body)))
    change(body)
    with pytest.raises(OpenAPIError):
        judge_of(name).validate_request(AsRequest(with_body(request, body)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (MESSAGES, {"url": "https://api.nexmo.com/v0.2/messages"}),
        (MESSAGES, {"method": "PUT"}),
        (MESSAGES, {"headers": {"content-type": FORM_TYPE, "authorization": "Basic eDp5"}}),
        (MESSAGES, {"headers": {"content-type": "application/json"}}),
        (SMS, {"url": "https://rest.nexmo.com/sms/pdf"}),
        (SMS, {"headers": {"content-type": "application/json"}}),
    ],
    ids=["another path", "another method", "no JSON", "no credentials", "another format", "no form"],
)
def test_request_to_elsewhere_does_not_pass(name: str, change: dict[str, Any], requests_of: Requests):
    """Address, method, content type and credentials are judged as well."""
    request = requests_of(name)[0]
    changed = httpx.Request(
        change.get("method", request.method),
        change.get("url", request.url),
        headers=change.get("headers", request.headers),
        content=request.content,
    )
    with pytest.raises(OpenAPIError):
        judge_of(name).validate_request(AsRequest(changed))
