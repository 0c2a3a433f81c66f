"""A server on loopback that remembers what it was sent and misbehaves as told, and calls to send it."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

PATIENT = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived: the request line's parts, header lines in their order, the body's bytes."""

    method: str
    target: str
    headers: list[tuple[str, bytes]]
    body: bytes

    def values(self, name: str) -> list[bytes]:
        return [value for key, value in self.headers if key == name.lower()]


@dataclass
class Server:
    """What arrived so far; `client_hung_up` is set when a client closed a connection between two requests."""

    port: int = 0
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    client_hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/messages", *, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> Seen:
    """One request off the stream. Raises `asyncio.IncompleteReadError` at its end."""
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    method, target, _ = lines[0].decode().split(" ")
    headers = [
        (name.decode().lower(), value.strip()) for name, _, value in (x.partition(b":") for x in lines[1:])
    ]
    fields = dict(headers)
    if fields.get("transfer-encoding") == b"chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(fields.get("content-length", b"0")))
    return Seen(method, target, headers, body)


def raw(*parts: bytes) -> Answer:
    """Write these bytes and keep the connection."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(parts)
        await writer.drain()

    return answer


def raw_then_close(*parts: bytes) -> Answer:
    """Write these bytes and close the connection."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(parts)
        await writer.drain()
        writer.close()

    return answer


def raw_then_silence(*parts: bytes) -> Answer:
    """Write these bytes and then nothing, ever."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(parts)
        await writer.drain()
        await asyncio.Event().wait()

    return answer


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break the connection without a word."""
    writer.transport.abort()


accept = raw(ACCEPTED)


@contextlib.asynccontextmanager
async def serving(answer: Answer = accept, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Server]:
    """Listen on a free port of loopback; every request is remembered, then answered by `answer`."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            while not writer.is_closing():
                server.seen.append(await read_request(reader))
                server.arrived.set()
                await answer(reader, writer)
        except asyncio.IncompleteReadError:
            server.client_hung_up.set()
        except ConnectionError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in (pending := list(tasks)):
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def forget_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without proxies."""
    for name in [name for name in os.environ if name.upper().endswith("_PROXY")]:
        monkeypatch.delenv(name)


def post(
    url: str,
    *,
    timeout: dict[str, float] = PATIENT,
    headers: dict[str, str] | list[tuple[bytes, bytes]] | None = None,
    content: bytes | AsyncIterator[bytes] = b'{"to":"447700900123"}',
) -> httpx.Request:
    """A message on its way."""
    return httpx.Request("POST", url, headers=headers, content=content, extensions={"timeout": timeout})


async def send(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> httpx.Response:
    """One call through the seam, with its body."""
    response = await transport.handle_async_request(request)
    await response.aread()
    await response.aclose()
    return response


async def failure(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> httpx.RequestError:
    """The error that one call ends with."""
    with pytest.raises(httpx.RequestError) as caught:
        await send(transport, request)
    return caught.value
