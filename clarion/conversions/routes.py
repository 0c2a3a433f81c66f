"""Where conversions are posted: `POST /conversions`. Verify, find the message, store, acknowledge."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clarion.conversions.conversion import Conversion, parse_conversion, without_empty
from clarion.error_text import logged_error
from clarion.errors import InputError, UnverifiedError
from clarion.ledger.conversions import Hints, Touch, store_conversion, touch_before
from clarion.ledger.database import Database
from clarion.links.destinations import Destinations
from clarion.links.making import LINK_PURPOSE
from clarion.links.tokens import LinkToken, Signer
from clarion.receiving.endpoints import Endpoint
from clarion.receiving.incoming import IncomingEvent
from clarion.receiving.requests import WebhookRequest

PATH = "/conversions"
REFERENCE = "generic-webhook/conversions"
"""The endpoint whose credentials whoever posts conversions has."""

MOST_BODY_BYTES = 65_536
RETRY_AFTER_SECONDS = 30

logger = logging.getLogger(__name__)


def conversions_router(
    database: Database, endpoint: Endpoint, *, on_stored: Callable[[], None] | None = None
) -> APIRouter:
    """Where conversions are posted.

    Args:
        database: The ledger.
        endpoint: Whose credentials a request has to have; its reference is what the events came in at.
        on_stored: Called after each commit of a new conversion, in another thread; must not block.

    Raises:
        SettingError: The installation has no secret key that can be used.
    """
    router = APIRouter()
    conversions = _Conversions(database, endpoint, on_stored=on_stored)
    router.add_route(PATH, conversions.receive, methods=["POST"], include_in_schema=False)
    return router


class _Conversions:
    def __init__(
        self, database: Database, endpoint: Endpoint, *, on_stored: Callable[[], None] | None
    ) -> None:
        self._database = database
        self._endpoint = endpoint
        self._on_stored = on_stored
        self._signer = Signer(LINK_PURPOSE)
        self._destinations = Destinations(database)

    async def receive(self, request: Request) -> Response:
        """200 once the conversion is durable, also where it was before."""
        body = await _body(request)
        if body is None:
            return _refusal(413, f"more than {MOST_BODY_BYTES} bytes")
        try:
            self._endpoint.provider.verify(_as_webhook(request, body))
            conversion = parse_conversion(body)
            answer = await self._store(conversion)
        except UnverifiedError as exc:
            logger.warning("A conversion %s", exc, extra={"endpoint": self._endpoint.reference})
            return _refusal(401, "not verified")
        except InputError as exc:
            return _refusal(422, exc.message)
        except SQLAlchemyError as exc:
            logger.error("A conversion is not stored: %s", logged_error(exc))  # noqa: TRY400  # its text may hold an address
            return _refusal(503, "try again later", retry_after=RETRY_AFTER_SECONDS)
        return answer

    async def _store(self, conversion: Conversion) -> Response:
        clicked = await self._clicked(conversion.click)
        hints = Hints(
            clicked_item_id=None if clicked is None else clicked.run_item_id,
            clicked_step=0 if clicked is None else clicked.step,
            client_ref=conversion.client_ref,
            recipient=conversion.recipient,
        )
        touch, new = await asyncio.to_thread(self._write, conversion, hints)
        return JSONResponse({"new": new, "attributed_by": None if touch is None else touch.rule})

    async def _clicked(self, text: str | None) -> LinkToken | None:
        """The token of a link that a template of this installation made."""
        body = None if text is None else self._signer.body(text)
        token = None if body is None else LinkToken.unpacked(body)
        if token is None or await self._destinations.stem(token) is None:
            return None
        return token

    def _write(self, conversion: Conversion, hints: Hints) -> tuple[Touch | None, bool]:
        occurred_at = conversion.occurred_at or datetime.now(UTC)
        with self._database.read() as connection:
            touch = touch_before(connection, hints, at=occurred_at)
        event = IncomingEvent(
            type="conversion",
            provider_event_id=conversion.event_id,
            occurred_at=occurred_at,
            recipient=conversion.recipient,
            client_ref=conversion.client_ref,
            name=conversion.name,
            value=conversion.value,
            currency=conversion.currency,
            data=without_empty(conversion),
        )
        with self._database.write() as connection:
            new = store_conversion(connection, self._endpoint.reference, event, touch=touch)
        if new and self._on_stored is not None:
            self._on_stored()
        return touch, new


async def _body(request: Request) -> bytes | None:
    """The body; None where it is longer than a conversion is."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            return None
    return body


def _as_webhook(request: Request, body: bytes) -> WebhookRequest:
    return WebhookRequest(
        method=request.method,
        url=str(request.url),
        query=request.url.query,
        headers=dict(request.headers),
        body=body,
    )


def _refusal(status: int, reason: str, *, retry_after: int | None = None) -> Response:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse({"error": reason}, status_code=status, headers=headers)
