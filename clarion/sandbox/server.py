"""The sandbox on a socket: in a thread of its own, or until somebody ends it."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from clarion.errors import SettingError
from clarion.sandbox.answering import Answering
from clarion.sandbox.answers import Answers
from clarion.sandbox.app import App
from clarion.sandbox.behaviour import Behaviour
from clarion.sandbox.connection import Connection

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8099
_BACKLOG = 4096
_MAX_PORT = 65_535

Result = TypeVar("Result")


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop of uvloop where that exists: it does not on Windows."""
    try:
        import uvloop  # noqa: PLC0415  # optional there
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@dataclass(frozen=True, kw_only=True)
class _Listening:
    """What the sandbox's thread tells the one that started it."""

    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    port: int


class Sandbox:
    """A provider to rehearse against, listening while the `with` block runs.

    Args:
        behaviour: What it does to its clients; nothing bad by default.
        answers: What comes back for accepted messages; nothing by default.
        host: The address to listen on.
        port: The port; 0 for any free one.

    Raises:
        SettingError: On entering, when it cannot listen there.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        answers: Answers | None = None,
        host: str = DEFAULT_HOST,
        port: int = 0,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.answers = answers or Answers()
        self._host = host
        self._port = port
        self._answering = Answering(self.answers) if self.answers.any else None
        self._app = App(self.behaviour, answering=self._answering)
        self._listening: _Listening | None = None

    def __enter__(self) -> Self:
        if not 0 <= self._port <= _MAX_PORT:
            raise SettingError(f"{self._port} is no port", where="port", expected=f"0 to {_MAX_PORT}")
        started: Future[_Listening] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="sandbox", daemon=True)
        self._thread.start()
        try:
            self._listening = started.result()
        except (OSError, UnicodeError) as exc:
            self._thread.join()
            raise _cannot_listen(exc, host=self._host, port=self._port) from exc
        self._port = self._listening.port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening:
            self._listening.loop.call_soon_threadsafe(self._listening.stop.set)
            self._thread.join()
            self._listening = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def stats(self) -> dict[str, Any]:
        """What `GET /_sandbox/stats` shows; also after the sandbox was closed."""
        return self._call(self._app.stats)

    def requests(self, *, recipient: str | None = None) -> list[dict[str, Any]]:
        """The kept requests, oldest first; also after the sandbox was closed."""
        return self._call(lambda: self._app.tally.requests(recipient=recipient))

    def reset(self) -> None:
        """Forget everything."""
        self._call(self._app.reset)

    def wait_for_answers(self, *, seconds: float = 60.0) -> bool:
        """Waits until all that comes back was posted or given up; False where that takes longer."""
        if self._answering is None or not self._listening:
            return True
        waiting = self._answering.wait(seconds)
        return asyncio.run_coroutine_threadsafe(waiting, self._listening.loop).result()

    def _call(self, function: Callable[[], Result]) -> Result:
        """Run a function between two requests."""
        if not self._listening:
            return function()

        async def called() -> Result:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self._listening.loop).result()

    def _run(self, started: "Future[_Listening]") -> None:
        with asyncio.Runner(loop_factory=_new_event_loop) as runner:
            runner.run(self._serve(started))

    async def _serve(self, started: "Future[_Listening]") -> None:
        loop = asyncio.get_running_loop()
        connections: set[Connection] = set()
        try:
            server = await loop.create_server(
                lambda: Connection(self._app.handle, connections), self._host, self._port, backlog=_BACKLOG
            )
        except (OSError, UnicodeError) as exc:
            started.set_exception(exc)
            return
        stop = asyncio.Event()
        started.set_result(_Listening(loop=loop, stop=stop, port=server.sockets[0].getsockname()[1]))
        await (stop.wait() if self._answering is None else self._answering.run(stop))
        server.close()
        for connection in tuple(connections):
            connection.abort()
        await server.wait_closed()


def _cannot_listen(error: Exception, *, host: str, port: int) -> SettingError:
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number).lower() if number and number > 0 else str(error)
    return SettingError(
        f"cannot listen on {host}:{port}: {reason}", where="port", expected="a free port, or 0 for any"
    )


def serve(
    behaviour: Behaviour,
    *,
    answers: Answers | None = None,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    on_start: Callable[[Sandbox], None],
) -> dict[str, Any]:
    """Serve until SIGINT (Ctrl-C) or SIGTERM, in the main thread.

    Args:
        behaviour: What the sandbox does to its clients.
        answers: What comes back for accepted messages; nothing by default.
        host: The address to listen on.
        port: The port; 0 for any free one.
        on_start: Called once it listens.

    Returns:
        The statistics at the end.

    Raises:
        SettingError: It cannot listen there.
    """
    ended = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    with Sandbox(behaviour, answers=answers, host=host, port=port) as sandbox:
        before = [signal.signal(number, lambda *_: ended.set()) for number in signals]
        try:
            on_start(sandbox)
            ended.wait()
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)
    return sandbox.stats()
