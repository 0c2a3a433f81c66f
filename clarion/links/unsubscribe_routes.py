"""Unsubscribing by a link: `/u/TOKEN`. GET asks, POST does it; mail programs POST at once (RFC 8058)."""

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import parse_qsl

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from clarion.error_text import logged_error
from clarion.ledger.clicks import run_document
from clarion.ledger.database import Database
from clarion.ledger.unsubscribing import unsubscribe
from clarion.links.making import UNSUBSCRIBE_PURPOSE
from clarion.links.stems import run_code
from clarion.links.tokens import Signer, UnsubscribeToken
from clarion.links.unsubscribe_page import HEADERS, ask, language_of, tell_done, tell_unknown

logger = logging.getLogger(__name__)

ONE_CLICK = ("List-Unsubscribe", "One-Click")
"""The one field of a mail program's POST."""

MOST_BODY_BYTES = 4_096


def unsubscribe_router(database: Database, *, on_stored: Callable[[], None] | None = None) -> APIRouter:
    """The unsubscribe page.

    Args:
        database: The ledger; suppressions and `unsubscribe` events are stored there.
        on_stored: Called after each that was stored, in another thread; must not block.

    Raises:
        SettingError: The installation has no secret key that can be used.
    """
    page = _Page(database, on_stored=on_stored)
    router = APIRouter()
    router.add_route("/u/{token}", page.ask, methods=["GET"], include_in_schema=False)
    router.add_route("/u/{token}", page.do, methods=["POST"], include_in_schema=False)
    return router


class _Page:
    def __init__(self, database: Database, *, on_stored: Callable[[], None] | None) -> None:
        self._database = database
        self._on_stored = on_stored
        self._signer = Signer(UNSUBSCRIBE_PURPOSE)

    async def ask(self, request: Request) -> Response:
        """The page with the button; it changes nothing, whoever looks at the link first."""
        language = _language(request)
        if self._token(request) is None:
            return _answer(tell_unknown(language), status_code=404)
        return _answer(ask(language))

    async def do(self, request: Request) -> Response:
        """Unsubscribes; 200 also where they were unsubscribed before."""
        language, token = _language(request), self._token(request)
        if token is None:
            return _answer(tell_unknown(language), status_code=404)
        one_click = await _is_one_click(request)
        try:
            done = await asyncio.to_thread(self._unsubscribe, token, one_click=one_click)
        except SQLAlchemyError as exc:
            extra = {"run_item": token.run_item_id}
            logger.error("Somebody could not be unsubscribed: %s", logged_error(exc), extra=extra)  # noqa: TRY400  # its text may hold an address
            return _answer("Please try again in a minute.\n", status_code=503)
        return _answer(tell_done(language)) if done else _answer(tell_unknown(language), status_code=404)

    def _token(self, request: Request) -> UnsubscribeToken | None:
        body = self._signer.body(request.path_params["token"])
        return None if body is None else UnsubscribeToken.unpacked(body)

    def _unsubscribe(self, token: UnsubscribeToken, *, one_click: bool) -> bool:
        run = run_document(self._database, token.run_id)
        if run is None or run_code(run[0]) != token.code:
            return False
        with self._database.write() as connection:
            done = unsubscribe(
                connection,
                run_uid=run[0],
                run_item_id=token.run_item_id,
                step=token.step,
                scope=token.scope,
                one_click=one_click,
            )
        if done and self._on_stored is not None:
            self._on_stored()
        return done


def _answer(page: str, *, status_code: int = 200) -> Response:
    return HTMLResponse(page, status_code=status_code, headers=dict(HEADERS))


def _language(request: Request) -> str:
    return language_of(request.headers.get("accept-language", ""))


async def _is_one_click(request: Request) -> bool:
    """Whether the body is a mail program's, a form of either kind; no more is read than that takes."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            return False
    text = body.decode(errors="replace")
    if "multipart/form-data" in request.headers.get("content-type", ""):
        return all(part in text for part in ONE_CLICK)
    return ONE_CLICK in parse_qsl(text)
