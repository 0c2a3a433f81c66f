"""The wire: one HTTP/1.1 transport behind httpx's seam, for every call of a worker process.

What a failed call may be told as:

    httpx.RequestError
    ├── UnsendableError      the request cannot be written as it is; trying again will not help
    ├── UnsupportedProtocol  neither http:// nor https://
    ├── PoolTimeout          no connection became free in time
    ├── ConnectError         no connection: name, address, refusal, TLS, or the wire is closed
    ├── ConnectTimeout       no connection in time
    ├── ProxyError           the proxy made no tunnel
    │     ... up to here nothing was written: `left_unsent` is true; from here on nobody knows
    ├── ReadTimeout          no whole answer in time
    ├── ReadError            the connection broke
    ├── RemoteProtocolError  the answer ended too early, or is no HTTP
    └── DecodingError        the answer's Content-Encoding is broken
"""

import asyncio
from datetime import timedelta
from time import perf_counter
from urllib.request import getproxies

import httpx
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BodyDecodeError,
    BuilderError,
    DecodeError,
    DetailedPyreqwestError,
    PyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.http import Url
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from clarion import __version__
from clarion.errors import SettingError
from clarion.exchange import Pairs, ReadyResponse, header_pairs

CONNECT_SHARE = 0.8
"""Part of the whole wait that connecting may use up. Were the two equal, a host that does not answer
would end in a race between both clocks, and an unsent message might be held back as unknown."""

KEEP_ALIVE_SECONDS = 4.0
"""How long an idle connection is kept: less than the 5 s after which common servers close theirs, because
a request that crosses such a close on its way ends as unknown."""

MOST_TARGETS = 1_024

# The connector's own mark in the chain of causes. The binding's exception classes cannot be trusted here:
# it also reports as ConnectError a connection reset after the request, and as ConnectTimeoutError an
# answer that did not come.
_CONNECTING = "client error (Connect)"
_TUNNEL = "tunnel error: "
_BODY_BROKE_OFF = "error reading a body from connection"
_CLOSED_EARLY = "connection closed before message completed"

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


class UnsendableError(httpx.LocalProtocolError):
    """The request cannot be written as it is: nothing was sent, and trying again will not help."""


_UNSENT = (
    UnsendableError,
    httpx.UnsupportedProtocol,
    httpx.PoolTimeout,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ProxyError,
)


def left_unsent(error: httpx.RequestError) -> bool:
    """Whether it is certain that not one byte of the request was written.

    False means that nobody knows: the receiver may have acted on it. Holds for errors of `Wire` and of
    httpx's own transport.
    """
    return isinstance(error, _UNSENT)


class Wire(httpx.AsyncBaseTransport):
    """Sends requests one by one over kept connections; hands back answers with their body read.

    Certificates are verified against the system's (or `SSL_CERT_FILE`, `SSL_CERT_DIR`); proxies come from
    `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`; redirects are answers like any other; there are
    no cookies and nothing is ever sent twice. HTTP/1.1 only: one call on a connection at a time is what
    makes "before the first byte" a fact.

    The request's `timeout` extension is read as httpx defines it (seconds), with three differences: `read`
    bounds the whole call from the connection's first packet to the answer's last byte, so a server cannot
    stretch it byte by byte; connecting gets at most four fifths of it; and None means the default, for
    no call may wait for ever. Every distinct time-out for connecting has its own pool of connections.

    An answer whose body is longer than `max_body_bytes` (decoded) is cut there and marked with the
    extension `body_truncated`: its status is known, so an exception would turn a message known to be
    accepted into an unknown one. Its connection is dropped.

    A task cancelled while it waits in `handle_async_request` does not call its request back: unless it
    was still waiting for a free connection, the request may go out nevertheless.

    To be used from one event loop, in a process that was not forked from one that used a wire.

    Args:
        max_body_bytes: Longest body handed back.
        connect_timeout_seconds: For a request that names none: name, address, proxy and TLS together.
        timeout_seconds: For a request that names none: the whole call.
        max_connections: Calls under way at a time; further ones wait for `pool` seconds of their time-out.

    Raises:
        SettingError: No certificate authority could be loaded, or a proxy of the environment is no URL.
    """

    def __init__(
        self,
        *,
        max_body_bytes: int = 1024 * 1024,
        connect_timeout_seconds: float = 5.0,
        timeout_seconds: float = 30.0,
        max_connections: int = 256,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._connect_timeout_seconds = connect_timeout_seconds
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(max_connections)
        self._clients: dict[float, Client] = {}
        self._targets: dict[int, tuple[httpx.URL, Url]] = {}
        self._closed = False
        _check_proxies()
        self._client(connect_timeout_seconds)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its answer, body included.

        The response's `elapsed` leaves out the wait for a free connection.

        Raises:
            httpx.RequestError: There is no whole answer; `left_unsent` tells whether the request may have
                arrived. Its message names no URL, for that may hold a secret or an address.
        """
        # The usual body is at hand, read or not; only a stream has to be waited for.
        at_hand = isinstance(request.stream, httpx.ByteStream)
        call = self._call(request, request.read() if at_hand else await request.aread())
        await self._take_slot(request)
        try:
            if self._closed:
                raise httpx.ConnectError("the wire is closed", request=request)
            started = perf_counter()
            answer = await call.__aenter__()
            body = await answer.body_reader.read(self._max_body_bytes + 1) or b""
            if len(body) > self._max_body_bytes:
                await call.__aexit__(None, None, None)
        except PyreqwestError as error:
            # `from None`: the foreign error's text holds the whole URL.
            raise _translated(error, request=request) from None
        finally:
            self._slots.release()
        response = self._response(answer, body=bytes(body), request=request)
        response.elapsed = timedelta(seconds=perf_counter() - started)
        return response

    async def aclose(self) -> None:
        """Close all connections. A call under way ends as unknown, a later one as never sent."""
        self._closed = True
        for client in self._clients.values():
            await client.close()

    def _call(self, request: httpx.Request, content: bytes) -> StreamRequest:
        """The request as the engine takes it, checked to go out as httpx rendered it."""
        limits = request.extensions.get("timeout") or {}
        seconds = limits.get("read") or self._timeout_seconds
        connect_seconds = min(limits.get("connect") or self._connect_timeout_seconds, CONNECT_SHARE * seconds)
        url = self._target(request)
        try:
            builder = (
                self._client(connect_seconds)
                .request(request.method, url)
                .headers(header_pairs(request))
                .timeout(timedelta(seconds=seconds))
                # One byte more than handed back: enough to see that the body is too long, and everything
                # shorter is read in the same step as the head.
                .streamed_read_buffer_limit(self._max_body_bytes + 1)
            )
            return (builder.body_bytes(content) if content else builder).build_streamed()
        except ValueError:  # the engine's, and UnicodeDecodeError; their text holds the header's value
            message = (
                "the method, the time-out or a header cannot be sent (headers must be UTF-8, in one line)"
            )
            raise UnsendableError(message, request=request) from None

    def _target(self, request: httpx.Request) -> Url:
        """As `_parsed_target`, once where the same URL object is used again: that takes 15 us."""
        known = self._targets.get(id(request.url))
        if known is not None and known[0] is request.url:
            return known[1]
        target = _parsed_target(request)
        if len(self._targets) >= MOST_TARGETS:
            self._targets.clear()
        self._targets[id(request.url)] = request.url, target  # kept, so that no other object gets its id
        return target

    def _client(self, connect_seconds: float) -> Client:
        client = self._clients.get(connect_seconds)
        if client is None:
            client = self._clients[connect_seconds] = _open_client(connect_seconds)
        return client

    async def _take_slot(self, request: httpx.Request) -> None:
        # Waiting happens here and not in the engine: a call that is cancelled there is sent all the same.
        if not self._slots.locked():
            await self._slots.acquire()  # at once, without a timer
            return
        limits = request.extensions.get("timeout") or {}
        try:
            async with asyncio.timeout(limits.get("pool") or self._timeout_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no connection became free in time", request=request) from None

    def _response(self, answer: Response, *, body: bytes, request: httpx.Request) -> httpx.Response:
        truncated = len(body) > self._max_body_bytes
        return ReadyResponse(
            answer.status,
            pairs=_headers(answer),
            body=body[: self._max_body_bytes] if truncated else body,
            request=request,
            extensions={"body_truncated": True} if truncated else None,
        )


def _parsed_target(request: httpx.Request) -> Url:
    """The request's URL, if the engine would send it as httpx rendered it.

    It parses URLs as browsers do: it resolves `%2e%2e`, turns a backslash round, reads `127.1` as an address.
    A message to a path that nobody wrote is worse than none. Only `'` in a query may become `%27`, which
    every server reads as the same.
    """
    url = request.url
    if url.scheme not in ("http", "https") or not url.host:
        raise httpx.UnsupportedProtocol("the URL must start with http:// or https://", request=request)
    if url.userinfo:  # as httpx's transport does: credentials are the business of httpx.Auth
        url = url.copy_with(userinfo=b"")
    try:
        target = Url(str(url))
    except ValueError:
        raise UnsendableError("the URL cannot be sent", request=request) from None
    path, _, query = url.raw_path.decode().partition("?")
    rendered = (url.netloc.decode(), path, query.replace("'", "%27"))
    if (target.authority, target.path, target.query_string or "") != rendered:
        message = r"the URL would change on its way: look for dots (%2e), backslashes and odd hosts in it"
        raise UnsendableError(message, request=request)
    return target


def _headers(answer: Response) -> Pairs:
    """The answer's headers; a value that is not ASCII is left out with all values of its name.

    The engine refuses to show those, and a strange header must not make an answer unknown.
    """
    try:
        return list(answer.headers.items())
    except ValueError:
        pass
    readable: Pairs = []
    for name in dict.fromkeys(answer.headers.keys()):
        try:
            readable += [(name, value) for value in answer.headers.getall(name)]
        except ValueError:
            continue
    return readable


def _translated(error: PyreqwestError, *, request: httpx.Request) -> httpx.RequestError:
    """The same failure in httpx's words, sorted by what it says about the request: sent or not."""
    details = error.details if isinstance(error, DetailedPyreqwestError) else {"causes": None}
    causes = [cause["message"] for cause in details["causes"] or []]
    kind = _unsent_kind(error, causes) if _CONNECTING in causes else _unknown_kind(error, causes)
    if isinstance(error, RequestTimeoutError):
        message = "no connection in time" if kind is httpx.ConnectTimeout else "no whole answer in time"
    else:  # the first cause repeats the URL; the last one is what went wrong
        message = causes[-1] if len(causes) > 1 else error.message
    return kind(message, request=request)


def _unsent_kind(error: PyreqwestError, causes: list[str]) -> type[httpx.RequestError]:
    if isinstance(error, RequestTimeoutError):
        return httpx.ConnectTimeout
    if any(cause.startswith(_TUNNEL) for cause in causes):
        return httpx.ProxyError
    return httpx.ConnectError


def _unknown_kind(error: PyreqwestError, causes: list[str]) -> type[httpx.RequestError]:
    if isinstance(error, RequestTimeoutError):
        return httpx.ReadTimeout
    if _BODY_BROKE_OFF in causes or _CLOSED_EARLY in causes:
        return httpx.RemoteProtocolError
    if isinstance(error, BodyDecodeError):
        return httpx.DecodingError
    if isinstance(error, DecodeError):
        return httpx.RemoteProtocolError
    return httpx.ReadError


def _open_client(connect_seconds: float) -> Client:
    builder = (
        ClientBuilder()
        .user_agent(f"clarion/{__version__}")
        .http1_only()
        .follow_redirects(enable=False)
        .referer(enable=False)
        .default_cookie_store(enable=False)
        .connect_timeout(timedelta(seconds=connect_seconds))
        .pool_idle_timeout(timedelta(seconds=KEEP_ALIVE_SECONDS))
    )
    try:
        return builder.build()
    except BuilderError as error:
        raise SettingError(
            "no certificate authority could be loaded",
            where="SSL_CERT_FILE",
            expected="the system's certificates, or a PEM file or directory of them (SSL_CERT_DIR)",
        ) from error


def _check_proxies() -> None:
    """Refuse what the engine would silently pass over, and so send past the proxy."""
    proxies = getproxies()
    for kind in ("http", "https", "all"):
        address = proxies.get(kind)
        if address and not _is_proxy(address):
            raise SettingError(
                "not a proxy", where=f"{kind.upper()}_PROXY", expected="a URL like http://proxy:3128"
            )


def _is_proxy(address: str) -> bool:
    try:
        url = httpx.URL(address if "://" in address else f"http://{address}")
    except httpx.InvalidURL:
        return False
    return url.scheme in _PROXY_SCHEMES and bool(url.host)
