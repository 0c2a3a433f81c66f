"""A receiver of webhooks on a real socket: keeps what it got, answers as a test says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    """One request. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What came, and how the next is answered: `answer` maps a request to a status code and headers."""

    answer: Callable[[Received], tuple[int, dict[str, str]]] = lambda _: (200, {})
    received: list[Received] = field(default_factory=list)
    url: str = ""

    def take(self, request: Received) -> tuple[int, dict[str, str]]:
        """Keeps a request, and says how it is answered."""
        self.received.append(request)
        return self.answer(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def receiving(answer: Callable[[Received], tuple[int, dict[str, str]]] | None = None) -> Iterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver() if answer is None else Receiver(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            code, told = receiver.take(Received(self.command, self.path, headers, body))
            self.send_response(code)
            for name, value in {"Content-Length": "0", **told}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST = _any  # noqa: N815  # the names of the standard library

        def log_message(self, *args: object) -> None:
            """Silent."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
