"""The redirect of the links in messages: `/l/TOKEN`."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from clarion.error_text import logged_error
from clarion.ledger.clicks import Click
from clarion.ledger.database import Database
from clarion.links.destinations import Destinations, target
from clarion.links.making import LINK_PURPOSE
from clarion.links.recording import ClickRecorder
from clarion.links.tokens import LinkToken, Signer
from clarion.links.visitors import visitor_of
from clarion.templating.links import Stem

logger = logging.getLogger(__name__)

MOST_USER_AGENT = 250

_ALWAYS = {"cache-control": "no-store", "x-robots-tag": "noindex"}


def links_router(database: Database, *, on_stored: Callable[[], None] | None = None) -> APIRouter:
    """The routes that links in messages lead to.

    Args:
        database: The ledger; clicks are recorded there.
        on_stored: Called after each commit of people's clicks, in another thread; must not block.

    Raises:
        SettingError: The installation has no secret key that can be used.
    """
    redirect = _Redirect(database, on_stored=on_stored)

    @asynccontextmanager
    async def recording(_: object) -> AsyncGenerator[None]:
        async with redirect.recorder:
            yield

    router = APIRouter(lifespan=recording)
    router.add_route("/l/{token}", redirect.follow, methods=["GET"], include_in_schema=False)
    return router


class _Redirect:
    """Verify, look up, record, send on."""

    def __init__(self, database: Database, *, on_stored: Callable[[], None] | None) -> None:
        self.recorder = ClickRecorder(database, on_stored=on_stored)
        self._destinations = Destinations(database)
        self._signer = Signer(LINK_PURPOSE)

    async def follow(self, request: Request) -> Response:
        """302 to where the link leads; 404 for what no template of this installation made."""
        text = request.path_params["token"]
        body = self._signer.body(text)
        token = None if body is None else LinkToken.unpacked(body)
        if token is None:
            return _not_known()
        try:
            stem = await self._destinations.stem(token)
        except SQLAlchemyError as exc:
            logger.warning("The ledger is away: %s", logged_error(exc), extra={"run_id": token.run_id})
            return PlainTextResponse(
                "Please try again in a minute.\n", status_code=503, headers={**_ALWAYS, "retry-after": "60"}
            )
        if stem is None:
            return _not_known()
        await self.recorder.record(_click(request, token, stem))
        return Response(status_code=302, headers={"location": target(stem, token, text=text), **_ALWAYS})


def _click(request: Request, token: LinkToken, stem: Stem) -> Click:
    return Click(
        run_id=token.run_id,
        run_item_id=token.run_item_id,
        step=token.step,
        name=stem.name,
        visitor=visitor_of(request.method, request.headers),
        occurred_at=datetime.now(UTC),
        user_agent=request.headers.get("user-agent", "")[:MOST_USER_AGENT],
    )


def _not_known() -> Response:
    return PlainTextResponse("There is no such link.\n", status_code=404, headers=_ALWAYS)
