"""What Clarion's wire promises beyond the contract it shares with httpx's own transport."""

import asyncio
import gzip
import traceback

import httpx
import pytest

from clarion import __version__
from clarion.sending.wire import UnsendableError, Wire, left_unsent
from tests.integration.wire_server import (
    ACCEPTED,
    PATIENT,
    Answer,
    accept,
    failure,
    forget_proxies,
    post,
    raw,
    raw_then_close,
    raw_then_silence,
    serving,
)

HEAD = b"HTTP/1.1 202 Accepted\r\n"
LIMIT = 1000


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_proxies(monkeypatch)


def _call(answer: Answer) -> tuple[httpx.Response, int]:
    """One call over a wire with a limit of 1,000 bytes; the answer, and how many requests arrived."""

    async def run() -> tuple[httpx.Response, int]:
        async with serving(answer) as server, Wire(max_body_bytes=LIMIT) as wire:
            response = await wire.handle_async_request(post(server.url()))
            return response, len(server.seen)

    return asyncio.run(run())


GZIPPED = gzip.compress(b"x" * 100_000)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5000\r\n\r\n", b"x" * 5000],
        [b"Content-Length: 1001\r\n\r\n", b"x" * 1001],
        [b"Content-Length: 1000000000000000\r\n\r\n", b"x" * 5000],
        [b"Transfer-Encoding: chunked\r\n\r\n", *[b"3e8\r\n" + b"x" * 1000 + b"\r\n"] * 5],
        [b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIPPED), GZIPPED],
    ],
    ids=["long", "by one", "endless", "chunked", "compressed"],
)
def test_wire_cuts_a_body_that_is_too_long_and_keeps_the_status(lines: list[bytes]):
    """The provider's 202 is known, so the answer is handed back, marked, and not made an unknown one."""
    response, count = _call(raw_then_silence(HEAD, *lines))
    assert (response.status_code, response.content) == (202, b"x" * LIMIT)
    assert response.extensions["body_truncated"] is True
    assert count == 1


def test_wire_hands_back_a_body_just_long_enough_whole():
    """A body of exactly the limit is not marked."""
    response, _ = _call(raw(HEAD, b"Content-Length: 1000\r\n\r\n", b"x" * 1000))
    assert response.content == b"x" * LIMIT
    assert "body_truncated" not in response.extensions


def test_wire_hangs_up_on_a_body_that_was_too_long():
    """The rest of a long answer is neither waited for nor taken for the next one's beginning."""
    answers = iter([raw(HEAD, b"Content-Length: 9999\r\n\r\n", ACCEPTED * 50), accept])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(answers)(reader, writer)

    async def run() -> tuple[bytes, int]:
        async with serving(answer) as server, Wire(max_body_bytes=LIMIT) as wire:
            await wire.handle_async_request(post(server.url(), timeout={**PATIENT, "read": 60.0}))
            await asyncio.wait_for(server.client_hung_up.wait(), 5)
            second = await wire.handle_async_request(post(server.url()))
            return second.content, server.connections

    assert asyncio.run(run()) == (b"{}", 2)


@pytest.mark.parametrize("start", [b"", HEAD + b"Content-Length: 9999\r\n\r\n"], ids=["head", "body"])
def test_wire_bounds_the_whole_answer(start: bytes):
    """A server that sends a byte now and then does not hold a message for ever."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start or HEAD + b"X-Long: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)  # the server's manner, not a synchronisation

    async def run() -> httpx.RequestError:
        async with serving(drip) as server, Wire() as wire:
            return await failure(wire, post(server.url(), timeout={**PATIENT, "read": 0.3}))

    error = asyncio.run(run())
    assert type(error) is httpx.ReadTimeout
    assert not left_unsent(error)


@pytest.mark.parametrize("timeout", [None, {}, dict.fromkeys(PATIENT)], ids=["none", "empty", "unlimited"])
def test_wire_bounds_a_request_that_names_no_time_out(timeout: dict[str, None] | None):
    """No call waits for ever, also not one that asks for it."""

    async def run() -> httpx.RequestError:
        async with serving(raw_then_silence()) as server, Wire(timeout_seconds=0.3) as wire:
            extensions = {} if timeout is None else {"timeout": timeout}
            return await failure(wire, httpx.Request("POST", server.url(), extensions=extensions))

    assert type(asyncio.run(run())) is httpx.ReadTimeout


def test_wire_names_itself():
    """A request without a User-Agent goes out under Clarion's name; its own is kept."""

    async def run() -> list[list[bytes]]:
        async with serving() as server, Wire() as wire:
            await wire.handle_async_request(post(server.url()))
            await wire.handle_async_request(post(server.url(), headers={"User-Agent": "acme"}))
            return [seen.values("user-agent") for seen in server.seen]

    assert asyncio.run(run()) == [[f"clarion/{__version__}".encode()], [b"acme"]]


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/%2e%2e/admin", None),
        ("/a/%2E/b", None),
        ("/back\\slash", None),
        ("/", (b"X-Name", b"caf\xe9")),
        ("/", (b"X-Name", b"two\r\nX-Lines: 1")),
        ("/", (b"X-Name", b"nul\x00")),
        ("/", (b"X Name", b"a")),
    ],
    ids=["dots", "dot", "backslash", "latin-1", "lines", "nul", "name"],
)
def test_wire_refuses_what_would_go_out_otherwise(path: str, header: tuple[bytes, bytes] | None):
    """What cannot leave exactly as rendered does not leave at all, and is known not to have."""

    async def run() -> tuple[httpx.RequestError, int]:
        async with serving() as server, Wire() as wire:
            request = post(server.url(path), headers=[header] if header else None)
            return await failure(wire, request), server.connections

    error, connections = asyncio.run(run())
    assert type(error) is UnsendableError
    assert left_unsent(error)
    assert connections == 0


def test_wire_refuses_a_host_that_would_be_read_otherwise():
    """`127.1` would become an address that nobody wrote."""

    async def run() -> httpx.RequestError:
        async with Wire() as wire:
            return await failure(wire, post("http://127.1/"))

    assert type(asyncio.run(run())) is UnsendableError


def test_wire_encodes_an_apostrophe_in_a_query():
    """The one liberty: `'` leaves as `%27`, which every server reads as the same."""

    async def run() -> list[str]:
        async with serving() as server, Wire() as wire:
            await wire.handle_async_request(post(server.url("/it's?name=O'Brien")))
            return [seen.target for seen in server.seen]

    assert asyncio.run(run()) == ["/it's?name=O%27Brien"]


@pytest.mark.parametrize("end", ["refused", "closed", "silent", "broken", "unsendable"])
def test_wire_errors_do_not_repeat_the_url(end: str):
    """URLs and headers hold tokens and telephone numbers: no message and no traceback shows them."""
    answers = {"closed": raw_then_close(), "broken": raw_then_close(b"no http\r\n\r\n")}
    headers = {"X-Secret": "secret\nsecret"} if end == "unsendable" else {}

    async def run() -> httpx.RequestError:
        async with serving(answers.get(end, raw_then_silence())) as server, Wire() as wire:
            url = "http://127.0.0.1:9" if end == "refused" else server.url("")
            timeout = {**PATIENT, "read": 0.3}
            return await failure(wire, post(f"{url}/secret?secret=1", timeout=timeout, headers=headers))

    error = asyncio.run(run())
    assert str(error)
    assert "secret" not in "".join(traceback.format_exception(error))


def test_wire_does_not_send_what_waited_too_long_for_a_connection():
    """With all connections taken, a call gives up after its pool time-out, and nothing of it leaves."""

    async def run() -> tuple[httpx.RequestError, int]:
        async with serving(raw_then_silence()) as server, Wire(max_connections=1) as wire:
            first = asyncio.create_task(failure(wire, post(server.url())))
            await server.arrived.wait()
            error = await failure(wire, post(server.url(), timeout={**PATIENT, "pool": 0.2}))
            await wire.aclose()
            await first
            return error, len(server.seen)

    error, count = asyncio.run(run())
    assert type(error) is httpx.PoolTimeout
    assert left_unsent(error)
    assert count == 1


def test_wire_does_not_send_what_was_cancelled_while_it_waited():
    """A call cancelled in the queue never leaves, also not when a connection becomes free."""

    async def run() -> list[str]:
        release = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await accept(reader, writer)

        async with serving(answer) as server, Wire(max_connections=1) as wire:
            calls = [asyncio.create_task(wire.handle_async_request(post(server.url("/1"))))]
            await server.arrived.wait()
            calls += [
                asyncio.create_task(wire.handle_async_request(post(server.url(path))))
                for path in ("/2", "/3")
            ]
            await asyncio.sleep(0)  # both stand in the queue
            calls[1].cancel()
            release.set()
            await asyncio.gather(*calls, return_exceptions=True)
            return [seen.target for seen in server.seen]

    assert asyncio.run(run()) == ["/1", "/3"]


def test_wire_frees_its_connection_when_a_call_fails():
    """Failed calls do not use up the places."""

    async def run() -> int:
        async with serving(raw_then_close()) as server, Wire(max_connections=1) as wire:
            for _ in range(3):
                await failure(wire, post(server.url(), timeout={**PATIENT, "pool": 0.2}))
                await failure(wire, post("ftp://127.0.0.1/"))
            return len(server.seen)

    assert asyncio.run(run()) == 3


def test_wire_closed_during_a_call_leaves_it_unknown():
    """Who was waiting for an answer does not get one, and cannot say what became of the message."""

    async def run() -> httpx.RequestError:
        async with serving(raw_then_silence()) as server, Wire() as wire:
            call = asyncio.create_task(failure(wire, post(server.url())))
            await server.arrived.wait()
            await wire.aclose()
            return await call

    error = asyncio.run(run())
    assert type(error) is httpx.ReadError
    assert not left_unsent(error)


def test_wire_closed_sends_nothing():
    """A call after the end is known not to have left."""

    async def run() -> tuple[httpx.RequestError, int]:
        async with serving() as server:
            async with Wire() as wire:
                pass
            return await failure(wire, post(server.url())), server.connections

    error, connections = asyncio.run(run())
    assert type(error) is httpx.ConnectError
    assert left_unsent(error)
    assert connections == 0


def test_wire_works_under_a_client():
    """Behind httpx.AsyncClient an answer is what it is behind httpx's own transport."""

    async def run() -> httpx.Response:
        answer = raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIPPED) + GZIPPED)
        async with serving(answer) as server, httpx.AsyncClient(transport=Wire()) as client:
            return await client.post(server.url(), json={"to": "447700900123"})

    response = asyncio.run(run())
    assert response.text == "x" * 100_000
    assert response.is_closed
    assert response.elapsed.total_seconds() > 0


def _kinds(root: type[httpx.RequestError]) -> set[type[httpx.RequestError]]:
    return {root}.union(*(_kinds(kind) for kind in root.__subclasses__()))


def test_left_unsent_holds_for_nothing_but_failures_before_the_first_byte():
    """Every kind of failure that httpx knows is decided, and in doubt it is unknown."""
    unsent = {
        kind for kind in _kinds(httpx.RequestError) if left_unsent(kind("", request=post("http://127.0.0.1")))
    }
    assert {kind.__name__ for kind in unsent} == {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsendableError",
        "UnsupportedProtocol",
    }
