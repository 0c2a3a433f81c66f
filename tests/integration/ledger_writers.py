"""Writers for tests, and a gate that holds up or breaks their transactions."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from clarion.ledger.claims import ClaimedItem, Settlement
from clarion.ledger.database import Database
from clarion.sending import writer as writing
from clarion.sending.writer import LedgerWriter, Limit
from tests.integration.ledger_runs import (
    result,
)

FREE = Limit(key="free", tps=None)
SLOW = Limit(key="slow", tps=2.0)


class Gate:
    """Stands before a database's write transactions: counts them, holds them up, and makes them fail.

    Args:
        database: The ledger.
        failures: How many of the next transactions fail.
        after_commit: Whether those fail only once they are committed, as where the connection breaks then.
    """

    def __init__(self, database: Database, *, failures: int = 0, after_commit: bool = False) -> None:
        self.commits = 0
        self.failures = failures
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self._after_commit = after_commit
        self._write = database.write

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        """In place of `Database.write`."""
        self.entered.set()
        assert self.open.wait(30)
        fails = self.failures > 0
        self.failures -= fails
        with self._write() as connection:
            yield connection
            if fails and not self._after_commit:
                raise OperationalError("COMMIT", None, Exception("the server is away"))
        self.commits += 1
        if fails:
            raise OperationalError("COMMIT", None, Exception("the server is away"))


def gate(monkeypatch: pytest.MonkeyPatch, database: Database, **options: Any) -> Gate:
    """A gate before the database for the rest of the test; a writer does not wait between its tries."""
    gate = Gate(database, **options)
    monkeypatch.setattr(database, "write", gate.write)
    monkeypatch.setattr(writing, "FIRST_RETRY_SECONDS", 0)
    return gate


def with_writer(database: Database, use: Callable[[LedgerWriter], Awaitable[Any]]) -> Any:
    """Runs `use` in a loop of its own, and closes the writer."""

    async def main() -> Any:
        writer = LedgerWriter(database, asyncio.get_running_loop())
        try:
            return await use(writer)
        finally:
            writer.close()

    return asyncio.run(main())


async def settled_by(writer: LedgerWriter, run_id: int, settlement: Settlement, **options: Any) -> None:
    """Settles, and waits for the commit, or the error."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    writer.settle(run_id, settlement, done=done, **options)
    await future


def settle_each(
    writer: LedgerWriter, run_id: int, items: Sequence[ClaimedItem], **changes: Any
) -> list[Awaitable[None]]:
    """A settle for each item, as succeeded."""
    return [settled_by(writer, run_id, result(item, "succeeded", **changes), token="t") for item in items]
