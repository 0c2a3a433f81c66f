"""Ready requests on real sockets: the same bytes as httpx's own, over each transport."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from clarion.exchange import Pairs, ReadyRequest, ReadyResponse, header_pairs, set_header
from clarion.models.credentials import ApiKey, BasicAuth, BearerToken
from clarion.sending.auth import RequestAuth
from clarion.sending.wire import Wire
from tests.integration.wire_server import PATIENT, Seen, raw, serving

TRANSPORTS: dict[str, Callable[[], httpx.AsyncBaseTransport]] = {
    "stock": lambda: httpx.AsyncHTTPTransport(trust_env=False),
    "wire": Wire,
}
AUTHS: dict[str, RequestAuth | None] = {
    "none": None,
    "bearer": BearerToken(token=SecretStr("abc")).auth(),
    "basic": BasicAuth(username="acme", password=SecretStr("pä:ss")).auth(),
    "header": ApiKey(fields={"X-Key": SecretStr("k 1")}).auth(),
    "query": ApiKey(fields={"api_key": SecretStr("k&1")}, location="query").auth(),
    "body": ApiKey(fields={"api_key": SecretStr("ü")}, location="body").auth(),
}
BODY = '{"text":"Grüße 🎉"}'.encode()
ANSWER = raw(
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    b'Content-Length: 7\r\n\r\n{"n":1}'
)


def parts(url: str) -> tuple[httpx.URL, Pairs]:
    """A parsed URL and complete headers for it; one of them is not ASCII, one comes twice."""
    parsed = httpx.URL(url)
    return parsed, [
        ("Host", parsed.netloc.decode()),
        ("X-Name", "Grüße"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(BODY))),
    ]


def ready(url: str) -> httpx.Request:
    """From ready parts."""
    parsed, pairs = parts(url)
    extensions: dict[str, Any] = {"timeout": PATIENT}
    return ReadyRequest("POST", parsed, pairs=pairs, content=BODY, extensions=extensions)


def asked(url: str) -> httpx.Request:
    """From ready parts, after somebody has looked at its headers."""
    request = ready(url)
    assert request.headers
    return request


def plain(url: str) -> httpx.Request:
    """As httpx makes it."""
    parsed, pairs = parts(url)
    headers = [(name.encode(), value.encode()) for name, value in pairs]
    return httpx.Request("POST", parsed, headers=headers, content=BODY, extensions={"timeout": PATIENT})


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ready_request_arrives_as_httpx_s_own_does(transport: str, auth: str):
    """Line, headers in their order, and body, with whatever credentials and whichever headers were set."""

    async def send() -> list[Seen]:
        async with serving(ANSWER) as server, TRANSPORTS[transport]() as sends:
            for make in (plain, ready, asked):
                request = make(server.url("/a%20b?x=1&y"))
                set_header(request, "X-Set", "later")
                credentials = AUTHS[auth]
                request = credentials.apply(request) if credentials else request
                response = await sends.handle_async_request(request)
                assert await response.aread() == b'{"n":1}'
            return server.seen

    own, *others = asyncio.run(send())
    assert [others[0], others[1]] == [own, own]
    assert own.values("x-name") == ["Grüße".encode()]
    assert own.values("x-twice") == [b"1", b"2"]
    assert own.values("x-set") == [b"later"]
    assert own.values("content-length") == [str(len(own.body)).encode()]


def test_answer_of_the_wire_reads_as_that_of_the_stock_transport():
    """Status, headers that come twice, cookies and body."""

    async def send() -> list[httpx.Response]:
        got = []
        async with serving(ANSWER) as server:
            for make in TRANSPORTS.values():
                async with make() as sends:
                    request = ready(server.url())
                    got.append(await sends.handle_async_request(request))
                    got[-1].request = request
                    await got[-1].aread()
        return got

    stock, wire = asyncio.run(send())
    assert isinstance(wire, ReadyResponse)
    assert (wire.status_code, wire.json(), wire.text) == (stock.status_code, stock.json(), stock.text)
    assert sorted(wire.headers.multi_items()) == sorted(stock.headers.multi_items())
    assert dict(wire.cookies) == dict(stock.cookies) == {"a": "1", "b": "2"}
    assert sorted(header_pairs(wire)) == sorted((name.lower(), value) for name, value in header_pairs(stock))
