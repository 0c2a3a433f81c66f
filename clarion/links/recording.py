"""Recording clicks: many in one transaction, each on disk before its request is answered.

A request waits for the transaction that its click is in, which all requests that came meanwhile share; but
not longer than a second: whoever follows a link gets to the page, also while the ledger is away. What waits
then is kept in memory and tried again. So a `kill -9` loses no click that was answered within that second.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from clarion.error_text import logged_error
from clarion.ledger.clicks import Click, store_clicks
from clarion.ledger.database import Database
from clarion.ledger.outages import is_outage

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
RETRY_SECONDS = 1.0
MOST_AT_ONCE = 1_000
MOST_KEPT = 100_000
"""Clicks kept while the ledger is away, some 50 MB; what comes then is lost, and told in the log."""


@dataclass(eq=False)
class _Batch:
    """Clicks of one transaction, and whether their requests may be answered."""

    clicks: list[Click] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class ClickRecorder:
    """Writes clicks to the ledger from within an event loop; a context, which ends with all of them written.

    Args:
        database: The ledger.
        on_stored: Called in another thread after a commit that brought people's clicks; must not block.
    """

    def __init__(self, database: Database, *, on_stored: Callable[[], None] | None = None) -> None:
        self._database = database
        self._on_stored = on_stored
        self._kept = 0
        self._closing = False

    async def __aenter__(self) -> Self:
        self._batch, self._wake = _Batch(), asyncio.Event()
        self._closing = False
        self._writing = asyncio.create_task(self._write_all())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._closing = True
        self._wake.set()
        await self._writing

    async def record(self, click: Click) -> None:
        """Waits until the click is in the ledger, or for as long as a person may be kept waiting."""
        if self._kept >= MOST_KEPT:
            logger.error("A click is lost: the ledger is away, and too many clicks wait for it")
            return
        self._kept += 1
        batch = self._batch
        if not batch.clicks:
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, batch.answered.set)
        batch.clicks.append(click)
        self._wake.set()
        await batch.answered.wait()

    async def _write_all(self) -> None:
        while not self._closing or self._batch.clicks:
            await self._wake.wait()
            self._wake.clear()
            batch, self._batch = self._batch, _Batch()
            for clicks in _portions(batch.clicks):
                await self._write(clicks)
            batch.answered.set()

    async def _write(self, clicks: list[Click]) -> None:
        """Writes clicks, again and again while the ledger is away; at the end of it all, once."""
        while True:
            try:
                await asyncio.to_thread(self._store, clicks)
            except Exception as exc:  # noqa: BLE001  # whatever it is: nobody else writes the clicks to come
                logger.warning(
                    "Clicks wait for the ledger: %s", logged_error(exc), extra={"clicks": self._kept}
                )
                if self._closing:
                    logger.error("Clicks are lost: the ledger is away", extra={"clicks": len(clicks)})  # noqa: TRY400
                    break
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        self._kept -= len(clicks)

    def _store(self, clicks: list[Click]) -> None:
        try:
            with self._database.write() as connection:
                store_clicks(connection, clicks)
        except Exception as exc:
            if is_outage(exc):
                raise
            if len(clicks) == 1:  # one of them cannot be stored: that must not keep the others
                extra = {"run_item": clicks[0].run_item_id}
                logger.error("A click cannot be stored: %s", logged_error(exc), extra=extra)  # noqa: TRY400
                return
            for click in clicks:
                self._store([click])
            return
        if self._on_stored is not None and any(click.visitor is None for click in clicks):
            self._on_stored()


def _portions(clicks: list[Click]) -> list[list[Click]]:
    return [clicks[begin : begin + MOST_AT_ONCE] for begin in range(0, len(clicks), MOST_AT_ONCE)]
