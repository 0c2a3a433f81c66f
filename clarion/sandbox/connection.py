"""HTTP/1.1 on a socket: bytes to requests, answers to bytes.

An own protocol rather than an ASGI server, because an ASGI application cannot hang up without an answer;
measured besides, see docs/sandbox.md.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools

from clarion.sandbox.app import Reply
from clarion.sandbox.message import Answer, Request, json_answer

MAX_BODY_BYTES = 16 * 2**20

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}

Handler = Callable[[Request], Reply]


class Connection(asyncio.Protocol):
    """One client's connection: keep-alive, answers in the order of the requests, one at a time.

    Args:
        handler: Called with each complete request.
        connections: Where this connection registers itself while it is open.
    """

    def __init__(self, handler: Handler, connections: set["Connection"]) -> None:
        self._handler = handler
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # A cast, because uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the signature of asyncio
        """Called by the event loop: whatever was to be answered cannot be."""
        self._connections.discard(self)
        self._waiting.clear()
        self._transport = None
        if self._timer:
            self._timer.cancel()

    def abort(self) -> None:
        """Close at once."""
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError):
            self._refuse(json_answer(400, {"error": "this is no HTTP/1.1 request"}))

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Called by the parser, for a long one more than once."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self._transport and self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, chunk: bytes) -> None:
        """Called by the parser."""
        self._body_bytes += len(chunk)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse(json_answer(413, {"error": f"more than {MAX_BODY_BYTES} bytes"}))
        else:
            self._body.append(chunk)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            target=self._url.decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._body),
        )
        self._waiting.append((request, self._parser.should_keep_alive()))
        if not self._timer:
            self._work()

    def _work(self) -> None:
        """Handle what waits, until one of the answers has to take its time."""
        self._timer = None
        while self._waiting and self._transport and not self._transport.is_closing():
            request, keep_alive = self._waiting.popleft()
            reply = self._handler(request)
            if reply.delay_seconds:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(
                    reply.delay_seconds, self._finish, reply, request.method, keep_alive
                )
                return
            self._send(reply, request.method, keep_alive=keep_alive)

    def _finish(self, reply: Reply, method: str, keep_alive: bool) -> None:
        self._send(reply, method, keep_alive=keep_alive)
        self._work()

    def _send(self, reply: Reply, method: str, *, keep_alive: bool) -> None:
        if not self._transport or self._transport.is_closing():
            return
        if reply.answer:
            self._transport.write(_to_bytes(reply.answer, with_body=method != "HEAD", keep_alive=keep_alive))
        if not (reply.answer and keep_alive):
            self._transport.close()

    def _refuse(self, answer: Answer) -> None:
        """Answer what cannot be handled, and close."""
        self._send(Reply(answer=answer, delay_seconds=0), "", keep_alive=False)


def _to_bytes(answer: Answer, *, with_body: bool, keep_alive: bool) -> bytes:
    headers = answer.headers if keep_alive else {**answer.headers, "Connection": "close"}
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"{_STATUS_LINES[answer.status]}Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n{extra}\r\n"
    )
    return head.encode("latin-1") + (answer.body if with_body else b"")
