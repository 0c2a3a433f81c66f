"""The receiver as an application: verify, store, acknowledge."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import sqlalchemy as sa
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from clarion import __version__
from clarion.errors import LedgerError, UnverifiedError
from clarion.ledger.database import Database
from clarion.receiving.access_log import AccessLog
from clarion.receiving.endpoints import PREFIX, Endpoint, by_path
from clarion.receiving.incoming import IncomingEvent
from clarion.receiving.reading import MOST_ENTRIES, TooManyEntriesError
from clarion.receiving.requests import Proof, WebhookRequest, delivery_id
from clarion.receiving.writer import Delivery, EventWriter

MAX_BODY_BYTES = 1_048_576
RETRY_AFTER_SECONDS = 30
"""What a provider is told whose event could not be stored."""

_log = logging.getLogger(__name__)


class _BodyTooLargeError(Exception):
    """The body is longer than allowed."""


def create_app(
    database: Database,
    endpoints: Sequence[Endpoint],
    *,
    routers: Sequence[APIRouter] = (),
    on_stored: Callable[[], None] | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    public_url: str | None = None,
) -> FastAPI:
    """The application: `/webhooks/{kind}/{name}`, `/health`, and what the routers add.

    Args:
        database: The ledger; the caller closes it afterwards.
        endpoints: Where providers may post.
        routers: More pages, served beside them.
        on_stored: Called after each commit of new events, in another thread; must not block nor raise.
        max_body_bytes: Longest body of a webhook; a longer one is refused with 413.
        public_url: What the world calls this server, without a slash at the end; None where that is what
            requests say themselves. Twilio signs it.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        receiver.writer = EventWriter(database, on_stored=on_stored)
        yield
        await asyncio.to_thread(receiver.writer.close)

    receiver = Receiver(endpoints, max_body_bytes=max_body_bytes, public_url=public_url)
    app = FastAPI(
        title="Clarion", version=__version__, lifespan=lifespan, openapi_url=None, redirect_slashes=False
    )
    # A route without FastAPI's parameters and models, which cost as much as all that is done here.
    app.router.routes.append(Route(f"{PREFIX}/{{kind}}/{{name}}", receiver.receive, methods=["GET", "POST"]))

    @app.get("/health")
    def health() -> Response:
        return _health(database)

    for router in routers:
        app.include_router(router)
    app.add_middleware(AccessLog)
    return app


class Receiver:
    """What answers webhooks.

    Args:
        endpoints: Where providers may post.
        max_body_bytes: Longest body.
        public_url: As for `create_app`.
    """

    writer: EventWriter

    def __init__(self, endpoints: Sequence[Endpoint], *, max_body_bytes: int, public_url: str | None) -> None:
        self._endpoints = by_path(endpoints)
        self._max_body_bytes = max_body_bytes
        self._public_url = public_url

    async def receive(self, request: Request) -> Response:
        """One webhook: 200 once it is durable, also where it was before; else why not."""
        endpoint = self._endpoints.get((request.path_params["kind"], request.path_params["name"]))
        if endpoint is None or request.method == "HEAD":
            return _refusal(404, "no such endpoint") if endpoint is None else _refusal(405, "post, or get")
        try:
            received = await self._read(request)
            proof = verify(endpoint, received)
            await self._store(endpoint, received, proof)
        except (
            UnverifiedError, LedgerError, ClientDisconnect, _BodyTooLargeError, TooManyEntriesError,
        ) as exc:  # fmt: skip
            return _refused(endpoint, exc)
        return acknowledgement()

    async def _read(self, request: Request) -> WebhookRequest:
        """The request with its body, as long as that may be."""
        headers = dict(request.headers)
        told = headers.get("content-length", "")
        if told.isdecimal() and int(told) > self._max_body_bytes:
            raise _BodyTooLargeError
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise _BodyTooLargeError
        query = request.scope["query_string"].decode("utf-8", "replace")
        base = self._public_url or f"{request.scope['scheme']}://{headers.get('host', '')}"
        return WebhookRequest(
            method=request.method,
            url=f"{base}{_raw_path(request)}{'?' if query else ''}{query}",
            query=query,
            headers=headers,
            body=body,
        )

    async def _store(self, endpoint: Endpoint, request: WebhookRequest, proof: Proof) -> None:
        """Returns once what the request says is durable.

        Raises:
            UnverifiedError: Its token came with other content before.
            LedgerError: The database cannot be written to.
        """
        delivery = delivery_id(request, proof)
        stored = await self.writer.store(
            Delivery(
                endpoint=endpoint.reference,
                events=read_events(endpoint, request, delivery=delivery),
                token=proof.token,
                digest=request.digest(),
            )
        )
        if stored.replayed:
            raise UnverifiedError("has a token that came with another body before: a replay")


def verify(endpoint: Endpoint, request: WebhookRequest) -> Proof:
    """The proof that the endpoint's provider made the request.

    Raises:
        UnverifiedError: There is none.
    """
    return endpoint.provider.verify(request)


def read_events(endpoint: Endpoint, request: WebhookRequest, *, delivery: str) -> Sequence[IncomingEvent]:
    """What a verified request says. Whatever it holds, it is kept, unless it is too much.

    Raises:
        TooManyEntriesError: It is a list of more than are read at once.
    """
    try:
        return endpoint.provider.events(request, delivery=delivery)
    except TooManyEntriesError:
        raise
    except Exception as exc:  # noqa: BLE001  # refused, it would come again for a day, and then be lost
        what = type(exc).__name__
        _log.error("%s: a request cannot be read: %s", endpoint.reference, what)
        data = {"body": request.content.decode("utf-8", "replace")}
        return [IncomingEvent(type="unknown", provider_event_id=delivery, data=data)]


def _raw_path(request: Request) -> str:
    """The path as it was sent, which is what is signed."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return raw.decode("utf-8", "replace")


def acknowledgement() -> Response:
    """An empty 200: what every provider takes for an answer, and Twilio for nothing to say."""
    return Response(status_code=200)


def _refused(endpoint: Endpoint, error: Exception) -> Response:
    """What is answered where a request is not stored; the log says what to check."""
    named = {"endpoint": endpoint.reference}
    match error:
        case UnverifiedError():
            _log.warning("%s: a request %s", endpoint.reference, error, extra=named)
            return _refusal(401, "not verified")
        case LedgerError():
            _log.error("%s: an event is not stored: %s", endpoint.reference, error, extra=named)
            return _refusal(503, "try again later", retry_after=RETRY_AFTER_SECONDS)
        case _BodyTooLargeError():
            return _refusal(413, "the body is too long")
        case TooManyEntriesError():
            reason = f"more than {MOST_ENTRIES:,} entries in one request"
            _log.error("%s: a request is refused: %s", endpoint.reference, reason, extra=named)
            return _refusal(413, reason)
        case _:
            return _refusal(400, "the body is not whole")


def _refusal(status: int, reason: str, *, retry_after: int | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse({"error": reason}, status_code=status, headers=headers)


def _health(database: Database) -> Response:
    """200 where the database answers, else 503."""
    try:
        with database.read() as connection:
            connection.execute(sa.select(1))
    except SQLAlchemyError:
        return JSONResponse({"status": "database unavailable", "version": __version__}, status_code=503)
    return JSONResponse({"status": "ok", "version": __version__})
