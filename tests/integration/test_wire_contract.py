"""What every transport behind the httpx seam must do: the same tests on httpx's own and on Clarion's."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Callable, Generator

import httpx
import pytest

from clarion.sending.wire import Wire, left_unsent
from tests.integration.wire_server import (
    ACCEPTED,
    Answer,
    Seen,
    accept,
    failure,
    forget_proxies,
    post,
    raw,
    raw_then_close,
    raw_then_silence,
    reset,
    send,
    serving,
)

Open = Callable[[], httpx.AsyncBaseTransport]
HASTY = {"connect": 5.0, "read": 0.3, "write": 5.0, "pool": 5.0}
UNKNOWN_ENDS: dict[str, tuple[Answer, tuple[type[httpx.RequestError], ...]]] = {
    "closed-before-answer": (raw_then_close(), (httpx.RemoteProtocolError,)),
    "reset-before-answer": (reset, (httpx.ReadError, httpx.RemoteProtocolError)),
    "closed-in-head": (raw_then_close(b"HTTP/1.1 202 Acc"), (httpx.RemoteProtocolError,)),
    "closed-in-body": (raw_then_close(ACCEPTED[:-1]), (httpx.RemoteProtocolError,)),
    "closed-in-chunk": (
        raw_then_close(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        (httpx.RemoteProtocolError,),
    ),
    "no-answer": (raw_then_silence(), (httpx.ReadTimeout,)),
    "silent-in-head": (raw_then_silence(b"HTTP/1.1 202 Acc"), (httpx.ReadTimeout,)),
    "silent-in-body": (raw_then_silence(ACCEPTED[:-1]), (httpx.ReadTimeout,)),
    "garbage": (raw_then_close(b"no http at all\r\n\r\n"), (httpx.RemoteProtocolError,)),
    "broken-gzip": (
        raw(b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
        (httpx.DecodingError,),
    ),
}


@pytest.fixture(params=[httpx.AsyncHTTPTransport, Wire], ids=["httpx", "wire"])
def open_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """How to open the transport under test."""
    forget_proxies(monkeypatch)
    return request.param


def exchanged(
    open_transport: Open, *requests: Callable[[str], httpx.Request], answer: Answer = accept
) -> tuple[list[httpx.Response], list[Seen], int]:
    """Send requests one after the other: the answers, what the server saw, and over how many connections."""

    async def run() -> tuple[list[httpx.Response], list[Seen], int]:
        async with serving(answer) as server, open_transport() as transport:
            answers = [await send(transport, request(server.url(""))) for request in requests]
            return answers, server.seen, server.connections

    return asyncio.run(run())


@pytest.mark.parametrize("end", UNKNOWN_ENDS)
def test_wire_calls_a_request_that_left_unknown_and_sends_it_once(open_transport: Open, end: str):
    """Whatever happens after the request arrived, it arrived once, and nobody says that it never left."""
    answer, expected = UNKNOWN_ENDS[end]

    async def run() -> tuple[httpx.RequestError, int]:
        async with serving(answer) as server, open_transport() as transport:
            error = await failure(transport, post(server.url(), timeout=HASTY))
            return error, len(server.seen)

    error, count = asyncio.run(run())
    assert type(error) in expected
    assert not left_unsent(error)
    assert count == 1


def test_wire_does_not_resend_on_a_kept_connection_that_breaks(open_transport: Open):
    """A request read from a reused connection that then closes was perhaps acted on: it is not repeated."""
    answers = iter([accept, raw_then_close()])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(answers)(reader, writer)

    async def run() -> tuple[httpx.RequestError, list[str], int]:
        async with serving(answer) as server, open_transport() as transport:
            await send(transport, post(server.url("/1")))
            error = await failure(transport, post(server.url("/2")))
            return error, [seen.target for seen in server.seen], server.connections

    error, targets, connections = asyncio.run(run())
    assert isinstance(error, httpx.RemoteProtocolError)
    assert not left_unsent(error)
    assert targets == ["/1", "/2"]
    assert connections == 1


def test_wire_opens_a_new_connection_after_an_idle_one_was_closed(open_transport: Open):
    """A connection that the server closed while it was idle costs no message."""

    async def run() -> tuple[int, list[str], int]:
        async with serving(_answer_and_half_close) as server, open_transport() as transport:
            await send(transport, post(server.url("/1")))
            if isinstance(transport, Wire):  # it notices by itself; httpx looks before it writes
                await asyncio.wait_for(server.client_hung_up.wait(), 5)
            second = await send(transport, post(server.url("/2")))
            return second.status_code, [seen.target for seen in server.seen], server.connections

    assert asyncio.run(run()) == (202, ["/1", "/2"], 2)


async def _answer_and_half_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await accept(reader, writer)
    writer.write_eof()


def test_wire_reuses_its_connection(open_transport: Open):
    """Calls one after the other share a connection."""
    _, seen, connections = exchanged(open_transport, *[post] * 20)
    assert (len(seen), connections) == (20, 1)


def test_wire_says_that_a_refused_request_never_left(open_transport: Open):
    """Nobody listens: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]

    async def run() -> httpx.RequestError:
        async with open_transport() as transport:
            return await failure(transport, post(f"http://127.0.0.1:{port}/"))

    error = asyncio.run(run())
    assert type(error) is httpx.ConnectError
    assert left_unsent(error)


@pytest.mark.parametrize("read_seconds", [0.3, 5.0])
def test_wire_tells_no_connection_from_no_answer(open_transport: Open, read_seconds: float):
    """A host that does not take the connection got nothing, also where both time-outs are the same."""

    async def run() -> httpx.RequestError:
        with _full_backlog() as port:
            async with open_transport() as transport:
                timeout = {"connect": 0.3, "read": read_seconds, "write": 5.0, "pool": 5.0}
                return await failure(transport, post(f"http://127.0.0.1:{port}/", timeout=timeout))

    error = asyncio.run(run())
    assert type(error) is httpx.ConnectTimeout
    assert left_unsent(error)


@contextlib.contextmanager
def _full_backlog() -> Generator[int]:
    """A port that takes no further connection: the kernel drops what comes after the first ones."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1/", "/messages"])
def test_wire_refuses_what_is_no_http(open_transport: Open, url: str):
    """Only http:// and https:// are spoken."""

    async def run() -> httpx.RequestError:
        async with open_transport() as transport:
            return await failure(transport, post(url))

    error = asyncio.run(run())
    assert type(error) is httpx.UnsupportedProtocol
    assert left_unsent(error)


async def _chunks() -> AsyncIterator[bytes]:
    yield b"one,"
    yield b"two"


@pytest.mark.parametrize(
    ("method", "content", "length"),
    [
        ("POST", b'{"text":"\xc3\xa9"}', [b"13"]),
        ("POST", b"", [b"0"]),
        ("PUT", b"x", [b"1"]),
        ("PATCH", b"x" * 100_000, [b"100000"]),
        ("GET", None, []),
        ("DELETE", None, []),
        ("DELETE", b"x", [b"1"]),
        ("PURGE", None, []),
    ],
)
def test_wire_sends_method_and_body_as_given(
    open_transport: Open, method: str, content: bytes | None, length: list[bytes]
):
    """The body goes out byte for byte, framed once."""
    _, [seen], _ = exchanged(open_transport, lambda url: httpx.Request(method, url, content=content))
    assert (seen.method, seen.body, seen.values("content-length")) == (method, content or b"", length)
    assert seen.values("transfer-encoding") == []


def test_wire_sends_a_streamed_body(open_transport: Open):
    """A body of unknown length goes out in chunks."""
    _, [seen], _ = exchanged(open_transport, lambda url: post(url, content=_chunks()))
    assert (seen.body, seen.values("transfer-encoding")) == (b"one,two", [b"chunked"])


def test_wire_sends_headers_as_given(open_transport: Open):
    """Each header once per value, in UTF-8 where it was given so; Host as given or from the URL."""
    headers = [(b"X-Tag", b"1"), (b"x-tag", b"2"), (b"X-NAME", "Zoë".encode()), (b"Cookie", b"a=b")]
    _, [seen, named], _ = exchanged(
        open_transport,
        lambda url: post(url, headers=headers),
        lambda url: post(url, headers={"Host": "api.example"}),
    )
    assert seen.values("x-tag") == [b"1", b"2"]
    assert seen.values("x-name") == ["Zoë".encode()]
    assert seen.values("cookie") == [b"a=b"]
    assert [value.partition(b":")[0] for value in seen.values("host")] == [b"127.0.0.1"]
    assert named.values("host") == [b"api.example"]


@pytest.mark.parametrize(
    "path",
    [
        "/a b/é/%2F/%7Efoo~!$&()*+,;=:@-._",
        "/it's",
        '/a|^`{}"[]',
        "//double//slash",
        "/a/../b/./c",
        "/100%",
        "/%zz?q=%zz",
        "/?q=a+b%20c&d=%C3%A9&e=é&f[]={x}|^`\\",
        "/?",
        "/?to=447700900123#fragment",
        "",
    ],
)
def test_wire_sends_the_url_as_httpx_renders_it(open_transport: Open, path: str):
    """What httpx percent-encodes goes out so, and nothing else does."""
    _, [seen], _ = exchanged(open_transport, lambda url: httpx.Request("GET", url + path))
    assert seen.target == httpx.URL("http://127.0.0.1" + path).raw_path.decode()


def test_wire_does_not_turn_credentials_in_the_url_into_a_header(open_transport: Open):
    """Authorization is the business of httpx.Auth."""
    _, [seen], _ = exchanged(open_transport, lambda url: post(url.replace("//", "//user:secret@")))
    assert seen.values("authorization") == []


GZIPPED = gzip.compress(b'{"message_uuid": "1"}')
HEAD = b"HTTP/1.1 202 Accepted\r\n"
ANSWERS = {
    "length": (ACCEPTED, 202, b"{}"),
    "chunked": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 202, b"abc"),
    "empty": (HEAD + b"Content-Length: 0\r\n\r\n", 202, b""),
    "no content": (b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n", 204, b""),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ACCEPTED, 202, b"{}"),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", 302, b""),
    "refusal": (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno", 429, b"no"),
    "odd status": (b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", 599, b""),
    "gzip": (
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIPPED) + GZIPPED,
        202,
        b'{"message_uuid": "1"}',
    ),
    "unknown encoding": (HEAD + b"Content-Encoding: odd\r\nContent-Length: 2\r\n\r\nab", 202, b"ab"),
    "strange header": (HEAD + b"X-Place: caf\xe9\r\nX-Id: 7\r\nContent-Length: 2\r\n\r\nab", 202, b"ab"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_wire_hands_back_the_answer(open_transport: Open, kind: str):
    """Status and decoded body are the server's; redirects are not followed, interim answers not taken."""
    answer, status, body = ANSWERS[kind]
    [response], seen, _ = exchanged(open_transport, post, answer=raw(answer))
    assert (response.status_code, response.content) == (status, body)
    assert len(seen) == 1


def test_wire_hands_back_a_body_that_ends_with_the_connection(open_transport: Open):
    """An answer without a length lasts until the server closes."""
    [response], _, _ = exchanged(open_transport, post, answer=raw_then_close(HEAD, b"\r\n", b"abc"))
    assert response.content == b"abc"


def test_wire_hands_back_headers(open_transport: Open):
    """Every value of a header is there, whatever the case of its name."""
    lines = b"X-Id: 7\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    [response], _, _ = exchanged(open_transport, post, answer=raw(HEAD + lines))
    assert response.headers["x-id"] == "7"
    assert response.headers.get_list("Set-Cookie") == ["a=1", "b=2"]


def test_wire_keeps_no_cookies(open_transport: Open):
    """What one recipient's answer sets does not go out with the next message."""
    answer = raw(HEAD + b"Set-Cookie: session=secret; Path=/\r\nContent-Length: 0\r\n\r\n")
    _, seen, _ = exchanged(open_transport, post, post, answer=answer)
    assert [request.values("cookie") for request in seen] == [[], []]


def test_wire_answers_head_without_a_body(open_transport: Open):
    """The length of an answer to HEAD announces nothing, however large."""
    answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n")
    [response], _, _ = exchanged(open_transport, lambda url: httpx.Request("HEAD", url), answer=answer)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "1000000000000000"
