"""The application on a socket in a thread of its own, for a program that does something else beside it."""

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from clarion.errors import ClarionError

START_SECONDS = 30.0


class _Server(uvicorn.Server):
    """Tells that it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serves = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn."""
        await super().startup(sockets=sockets)
        self.serves.set()


@contextmanager
def serving(app: FastAPI, listening: socket.socket) -> Generator[None]:
    """Serves while the block runs; at its end what is on its way is answered.

    Args:
        app: The application.
        listening: As `clarion.receiving.server.listen` makes it; closed at the end.

    Raises:
        ClarionError: It does not start.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none"
    )
    server = _Server(config)

    def run() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listening]))

    thread = threading.Thread(target=run, name="clarion-receiver", daemon=True)
    thread.start()
    try:
        if not server.serves.wait(START_SECONDS):
            raise ClarionError("the receiver does not start")
        yield
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
