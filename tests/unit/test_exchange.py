"""Requests and responses made from ready parts: httpx's own to whoever asks."""

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from clarion.exchange import Pairs, ReadyRequest, ReadyResponse, header_pairs, set_header
from clarion.models.credentials import ApiKey, BasicAuth, BearerToken, VonageApplication
from clarion.sending.auth import ApplicationTokenAuth, RequestAuth, load_private_key

URL = httpx.URL("https://api.test/messages?a=1")
TIMEOUT: dict[str, object] = {"timeout": {"read": 3.0}}

NAMES = st.sampled_from(["X-One", "x-one", "X-TWO", "Accept", "Authorization", "Content-Type", "x"])
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12).map(str.strip)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])
ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
"""For changes through httpx's headers: those keep the encoding of what was in them before."""
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("set_header"), NAMES, ASCII),
        st.tuples(st.just("item"), NAMES, ASCII),
        st.tuples(st.just("update"), NAMES, ASCII),
        st.tuples(st.just("delete"), NAMES, st.just("")),
    ),
    max_size=5,
)


def both(
    method: str = "POST", headers: Pairs | None = None, content: bytes = b"{}"
) -> tuple[ReadyRequest, httpx.Request]:
    """The same request from ready parts and as httpx makes it."""
    pairs = [("Host", URL.netloc.decode()), *(headers or []), ("Content-Length", str(len(content)))]
    plain = httpx.Request(
        method,
        URL,
        headers=[(name.encode(), value.encode()) for name, value in pairs],
        content=content,
        extensions=TIMEOUT,
    )
    return ReadyRequest(method, URL, pairs=list(pairs), content=content, extensions=TIMEOUT), plain


def seen(request: httpx.Request) -> dict[str, Any]:
    """All that a transport, an `httpx.Auth` or a hook can see of a request."""
    assert isinstance(request.stream, httpx.ByteStream)
    return {
        "line": (request.method, request.url),
        "pairs": header_pairs(request),
        "headers": request.headers.raw,
        "items": request.headers.multi_items(),
        "body": (request.content, request.read(), asyncio.run(request.aread()), b"".join(request.stream)),
        "extensions": request.extensions,
        "repr": repr(request).rpartition("(")[2],
    }


def change(request: httpx.Request, how: str, name: str, value: str) -> None:
    """Changes a header as a user of httpx may."""
    if how == "set_header":
        set_header(request, name, value)
    elif how == "item":
        request.headers[name] = value
    elif how == "update":
        request.headers.update([(name.encode(), value.encode())])
    elif name in request.headers:
        del request.headers[name]


@given(method=METHODS, headers=HEADERS, content=st.binary(max_size=50), changes=CHANGES)
def test_ready_request_equals_one_that_httpx_makes(
    method: str, headers: Pairs, content: bytes, changes: list[tuple[str, str, str]]
):
    """Whatever its headers and its body are, and however they are changed: the same in each respect."""
    ready, plain = both(method, headers, content)
    pairs = header_pairs(ready)
    assert pairs == header_pairs(plain)  # before anyone has asked for `headers`
    for how, name, value in changes:
        change(ready, how, name, value)
        change(plain, how, name, value)
    assert seen(ready) == seen(plain)


@given(headers=HEADERS, name=NAMES, value=VALUES)
def test_header_is_set_the_same_before_and_after_headers_are_asked_for(headers: Pairs, name: str, value: str):
    """One of the name, where the first of them was, else at the end: as httpx does it."""
    ready, plain = both(headers=headers)
    asked, _ = both(headers=headers)
    assert asked.headers
    for request in (ready, asked, plain):
        set_header(request, name, value)
    assert header_pairs(ready) == header_pairs(asked) == header_pairs(plain)


def test_headers_that_are_replaced_as_a_whole_count():
    """`request.headers = ...`, as some middleware does."""
    ready, plain = both(headers=[("X-One", "1")])
    for request in (ready, plain):
        request.headers = httpx.Headers({"X-Two": "2"})
    assert seen(ready) == seen(plain)
    assert header_pairs(ready) == [("X-Two", "2")]


def test_requests_share_no_headers():
    """A change of one leaves another from the same action alone."""
    first, _ = both(headers=[("X-One", "1")])
    second, _ = both(headers=[("X-One", "1")])
    first.headers["X-One"] = "changed"
    set_header(first, "X-Two", "2")
    assert ("X-One", "1") in header_pairs(second)
    assert "X-Two" not in second.headers


@given(headers=HEADERS, content=st.binary(max_size=50), asked=st.booleans())
def test_ready_request_is_pickled_as_httpx_does(headers: Pairs, content: bytes, asked: bool):
    """Headers and body survive, whether anyone has asked for the headers or not."""
    ready, plain = both(headers=headers, content=content)
    if asked:
        assert ready.headers
    copies = [pickle.loads(pickle.dumps(request)) for request in (ready, plain)]  # noqa: S301  # our own
    assert header_pairs(copies[0]) == header_pairs(copies[1])
    assert copies[0].content == copies[1].content == content


def _token_auth() -> RequestAuth:
    key = load_private_key(VonageApplication.dummy().private_key.get_secret_value())
    return ApplicationTokenAuth(
        application_id="app", private_key=key, lifetime_seconds=900, clock=lambda: 1_700_000_000.0
    )


def _key(place: Any) -> RequestAuth:
    return ApiKey(fields={"api_key": SecretStr("k 1"), "X-One": SecretStr("two")}, location=place).auth()


AUTHS: dict[str, Callable[[], RequestAuth]] = {
    "bearer": lambda: BearerToken(token=SecretStr("abc")).auth(),
    "basic": lambda: BasicAuth(username="acme", password=SecretStr("pä:ss")).auth(),
    "header": lambda: _key("header"),
    "query": lambda: _key("query"),
    "body": lambda: _key("body"),
    "token": _token_auth,
}


@pytest.mark.parametrize("kind", AUTHS)
@pytest.mark.parametrize("asked", [False, True])
def test_credentials_are_put_on_either_request(kind: str, asked: bool):
    """The same headers, URL and body come of it; what is replaced is gone."""
    auth = AUTHS[kind]()
    headers = [
        ("Content-Type", "application/json"),
        ("authorization", "theirs"),
        ("x-one", "1"),
        ("X-ONE", "2"),
    ]
    ready, plain = both(headers=headers, content=b'{"to":"1"}')
    if asked:
        assert ready.headers
    assert seen(auth.apply(ready)) == seen(auth.apply(plain))


@pytest.mark.parametrize("kind", AUTHS)
def test_clients_of_httpx_take_ready_requests(kind: str):
    """With credentials, hooks and a mock transport, sync and async: as with a request of its own."""
    hooked: list[httpx.Request] = []
    arrived: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(seen_by_transport(request))
        return ReadyResponse(200, pairs=[("X-Answer", "1")], body=b'{"ok":true}', request=request)

    async def send(request: httpx.Request) -> httpx.Response:
        async def hook(request: httpx.Request) -> None:
            hooked.append(request)
            request.headers["X-Hook"] = "1"

        transport = httpx.MockTransport(answer)
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [hook]}
        async with httpx.AsyncClient(transport=transport, auth=AUTHS[kind](), event_hooks=hooks) as client:
            return await client.send(request)

    headers = [("Content-Type", "application/json")]
    answers = [asyncio.run(send(request)) for request in both(headers=headers)]
    with httpx.Client(transport=httpx.MockTransport(answer), auth=AUTHS[kind]()) as client:
        answers += [client.send(request) for request in both(headers=headers)]
    assert [(each.json(), each.headers["x-answer"]) for each in answers] == [({"ok": True}, "1")] * 4
    assert len(hooked) == 2
    token = "token" if kind == "token" else ""  # signed anew by each client: its id differs
    for one, other in (arrived[:2], arrived[2:]):
        one["pairs"], other["pairs"] = _without(token, one["pairs"]), _without(token, other["pairs"])
        assert one == other


def _without(token: str, pairs: Pairs) -> Pairs:
    return [pair for pair in pairs if not (token and pair[0] == "Authorization")]


def seen_by_transport(request: httpx.Request) -> dict[str, Any]:
    """What a transport sends of a request."""
    return {
        "line": (request.method, request.url),
        "pairs": [(name.decode(), value.decode()) for name, value in request.headers.raw],
        "body": request.content,
        "extensions": request.extensions,
    }


def answers(
    headers: Pairs | None = None, body: bytes = b"{}", status_code: int = 200
) -> tuple[ReadyResponse, httpx.Response]:
    """The same answer from ready parts and as httpx makes it."""
    _, request = both()
    plain = httpx.Response(
        status_code,
        headers=[(name.encode(), value.encode()) for name, value in headers or []],
        stream=httpx.ByteStream(body),
        request=request,
    )
    plain.read()
    return ReadyResponse(status_code, pairs=list(headers or []), body=body, request=request), plain


@given(
    headers=st.lists(st.tuples(NAMES.filter("Content-Type".__ne__), VALUES), max_size=5),
    kind=st.sampled_from(["", "application/json", "text/plain; charset=latin-1", "text/plain; charset=x"]),
    body=st.binary(max_size=50),
    status_code=st.integers(200, 599),
)
def test_ready_response_equals_one_that_httpx_makes(headers: Pairs, kind: str, body: bytes, status_code: int):
    """Whatever came: status, headers, text and body are the same to whoever asks."""
    given_headers = [*headers, ("Content-Type", kind)] if kind else headers
    ready, plain = answers(given_headers, body, status_code)
    assert header_pairs(ready) == [(name, value) for name, value in given_headers]
    told = [
        (
            each.status_code, each.reason_phrase, each.headers.raw, each.headers.multi_items(), each.encoding,
            each.text, each.content, each.read(), asyncio.run(each.aread()), list(each.iter_bytes(7)),
            list(each.iter_text()), each.is_success, each.is_closed, each.is_stream_consumed, each.url,
            each.http_version, each.links, dict(each.cookies), each.history, each.has_redirect_location,
            repr(each).partition(" ")[2],
        )
        for each in (ready, plain)
    ]  # fmt: skip
    assert told[0] == told[1]
    assert header_pairs(ready) == [(name, value) for name, value in given_headers]  # asked for by now


def test_ready_response_raises_and_reads_as_httpx_s_own():
    """Cookies, errors and JSON."""
    ready, plain = answers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b'{"n": 1}', 422)
    for each in (ready, plain):
        assert (each.json(), dict(each.cookies)) == ({"n": 1}, {"a": "1", "b": "2"})
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            each.raise_for_status()
    fresh, _ = answers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b'{"n": 1}', 422)
    copy = pickle.loads(pickle.dumps(fresh))  # noqa: S301  # our own
    assert (copy.status_code, copy.json(), header_pairs(copy)) == (422, {"n": 1}, header_pairs(ready))


def test_body_that_is_decoded_is_not_decoded_again():
    """The server's Content-Encoding still stands in the headers of what the wire hands back."""
    _, request = both()
    ready = ReadyResponse(200, pairs=[("Content-Encoding", "gzip")], body=b'{"n":1}', request=request)
    assert (ready.json(), ready.headers["content-encoding"], ready.read()) == ({"n": 1}, "gzip", b'{"n":1}')


def test_header_pairs_of_what_came_off_a_socket():
    """Of a response of httpx's own any bytes are text; a request's are UTF-8, or it is refused."""
    response = httpx.Response(200, headers=[(b"X", b"caf\xe9")])
    assert header_pairs(response) == [("X", "café")]
    request = httpx.Request("GET", URL, headers=[(b"X", b"caf\xe9")])
    with pytest.raises(UnicodeDecodeError):
        header_pairs(request)
