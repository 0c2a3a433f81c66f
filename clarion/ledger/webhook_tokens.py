"""One-time tokens of providers: each may come again with the same content, never with another."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.ledger.answer_tables import WEBHOOK_TOKEN
from clarion.ledger.database import utc_now
from clarion.ledger.events import SQL_NOW

KEPT = timedelta(days=2)
"""Longer than a signature is accepted after it was made, which is at most a day."""

INSERTED_AT_ONCE = 200
DELETED_AT_ONCE = 5_000


def remember_tokens(connection: Connection, endpoint: str, digests: Mapping[str, str]) -> frozenset[str]:
    """Remembers what tokens were used for.

    Args:
        connection: A transaction that may write.
        endpoint: Where the requests came in.
        digests: Tokens to the digests of their content.

    Returns:
        The tokens that were used for other content before.
    """
    tokens = sorted(digests)  # in one order, so that two who insert the same ones do not wait in a circle
    seen = set(tokens) - {
        token
        for begin in range(0, len(tokens), INSERTED_AT_ONCE)
        for token in _insert(connection, endpoint, tokens[begin : begin + INSERTED_AT_ONCE], digests)
    }
    if not seen:
        return frozenset()
    known = sa.select(WEBHOOK_TOKEN.c.token, WEBHOOK_TOKEN.c.digest).where(
        WEBHOOK_TOKEN.c.endpoint == endpoint, WEBHOOK_TOKEN.c.token.in_(sorted(seen))
    )
    return frozenset(token for token, digest in connection.execute(known) if digest != digests[token])


def _insert(
    connection: Connection, endpoint: str, tokens: Sequence[str], digests: Mapping[str, str]
) -> Iterable[str]:
    """Those of the tokens that were not there yet."""
    values = tuple(value for token in tokens for value in (endpoint, token, digests[token]))
    return connection.exec_driver_sql(_statement(connection.dialect.name, len(tokens)), values).scalars()


@lru_cache(maxsize=2 * INSERTED_AT_ONCE)
def _statement(dialect: str, rows: int) -> str:
    mark = "%s" if dialect == "postgresql" else "?"
    row = f"({mark}, {mark}, {mark}, {SQL_NOW[dialect]})"
    return (
        "INSERT INTO webhook_token (endpoint, token, digest, received_at) "  # noqa: S608  # nothing given
        f"VALUES {', '.join([row] * rows)} ON CONFLICT DO NOTHING RETURNING token"
    )


def forget_old_tokens(connection: Connection) -> None:
    """Deletes some of the tokens that nobody can use any more."""
    if connection.dialect.name == "postgresql":
        before = utc_now() - sa.cast(KEPT, sa.Interval)
    else:
        before = sa.func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"-{KEPT.days} days")
    old = (
        sa.select(WEBHOOK_TOKEN.c.endpoint, WEBHOOK_TOKEN.c.token)
        .where(WEBHOOK_TOKEN.c.received_at < before)
        .limit(DELETED_AT_ONCE)
    )
    rows: Iterable[tuple[str, str]] = connection.execute(old).tuples().all()
    if rows:
        key = sa.tuple_(WEBHOOK_TOKEN.c.endpoint, WEBHOOK_TOKEN.c.token)
        connection.execute(WEBHOOK_TOKEN.delete().where(key.in_(rows)))
