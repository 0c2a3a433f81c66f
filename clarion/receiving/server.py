"""The application on a socket, until somebody ends it."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from clarion.errors import SettingError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8085
LEAVE_SECONDS = 10
"""How long requests on their way are waited for at the end."""

_BACKLOG = 2048
_MAX_PORT = 65_535


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address to listen on.
        port: Port; 0 for any free one.

    Raises:
        SettingError: It cannot listen there.
    """
    if not 0 <= port <= _MAX_PORT:
        raise SettingError(f"{port} is no port", where="--port", expected=f"0 to {_MAX_PORT}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as exc:
        number = exc.errno if isinstance(exc, OSError) else None
        reason = os.strerror(number).lower() if number and number > 0 else str(exc)
        raise SettingError(
            f"cannot listen on {host}:{port}: {reason}", where="--port", expected="a free port, or 0 for any"
        ) from exc


def url_of(listening: socket.socket) -> str:
    """Where a socket listens, without a slash at the end."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(app: FastAPI, listening: socket.socket, *, on_start: Callable[[], None]) -> None:
    """Serves until SIGINT (Ctrl-C) or SIGTERM, in the main thread; then answers what is on its way.

    Args:
        app: The application.
        listening: As `listen` makes it.
        on_start: Called once it serves, and hears those signals.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=LEAVE_SECONDS,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_Server(config, on_start=on_start).serve(sockets=[listening]))


class _Server(uvicorn.Server):
    """Uvicorn raises the signal that ended it once more; here to be told to end is no failure."""

    def __init__(self, config: uvicorn.Config, *, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells that it serves."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_start()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Hears the signals while it serves."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self.handle_exit) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
