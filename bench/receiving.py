"""How many webhooks a second a process takes in, each event on disk before its answer; and a bare endpoint.

    python -m bench.receiving [--requests N] [--connections 64] [--rounds 3] [--database URL]

Inbound messages as Vonage signs them: verified, stored with a one-time token, acknowledged. The bare one is
a FastAPI endpoint that reads the same requests and stores nothing. Without --database a PostgreSQL server of
its own is started; the ledger must have as many events as answers were given.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jwt
import orjson
import sqlalchemy as sa
import uvicorn
import uvloop
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from bench.box import load
from bench.serving import exchange, free_port, listening, postgresql
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import DATABASE_URL_SETTING, Database
from clarion.models.webhook_credentials import VonageWebhook
from clarion.receiving.app import create_app
from clarion.receiving.endpoints import Endpoint, make_endpoint

BARE = "bare"
SECRET = "a-signature-secret-of-a-benchmark-that-nobody-else-has"  # noqa: S105  # made up
PATH = "/webhooks/vonage-webhook/bench"


def bare_app() -> FastAPI:
    """What the receiver is held against."""
    app = FastAPI(openapi_url=None)

    @app.post("/webhooks/{kind}/{name}")
    async def receive(kind: str, name: str, request: Request) -> Response:  # noqa: ARG001  # as the other's
        await request.body()
        return Response(status_code=200)

    return app


def endpoint() -> Endpoint:
    """An endpoint of Vonage; what is signed at the beginning is good until the end."""
    return make_endpoint("bench", VonageWebhook(signature_secret=SecretStr(SECRET), max_age_seconds=86_400))


def serve(kind: str, port: int) -> None:
    """Serves one of the two in this process, until it is ended."""
    app = bare_app() if kind == BARE else create_app(Database(), [endpoint()])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def signed_requests(count: int) -> list[bytes]:
    """So many inbound messages, each signed with a token of its own."""
    numbers = (f"4477009{uuid.uuid4().int % 100_000:05}" for _ in range(count))
    return [signed_request(number, "Yes please, that would be lovely") for number in numbers]


def signed_request(sender: str, text: str) -> bytes:
    """An inbound message as Vonage posts it, with all headers."""
    message = {
        "channel": "sms", "message_uuid": str(uuid.uuid4()), "message_type": "text", "to": "447700900000",
        "from": sender, "timestamp": "2026-03-01T09:00:00.000Z", "text": text,
    }  # fmt: skip
    body = orjson.dumps(message)
    claims = {
        "iat": int(time.time()), "jti": str(uuid.uuid4()), "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
    }  # fmt: skip
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: answers.example\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {jwt.encode(claims, SECRET, 'HS256')}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def served(kind: str, *, url: str) -> Generator[int]:
    """A server in a process of its own; yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "bench.receiving", "--serve", kind, "--port", str(port)]
    with listening(command, port=port, settings={DATABASE_URL_SETTING: url}):
        yield port


def measured(kind: str, url: str, options: argparse.Namespace) -> float:
    """The median rate of some rounds; the ledger has every event afterwards."""
    before, answered, rates = events(url), 0, []
    with served(kind, url=url) as port:
        for size in (options.connections, *[options.requests] * options.rounds):  # the first one warms up
            requests = signed_requests(size)
            seconds = uvloop.run(exchange(port, requests, connections=options.connections, status=200))
            rates.append(size / seconds)
            answered += size
    if events(url) - before != (0 if kind == BARE else answered):
        raise SystemExit(f"{answered} answers, but {events(url) - before} events")
    return statistics.median(rates[1:])


def events(url: str) -> int:
    """How many events a ledger has."""
    with Database(url) as database, database.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(EVENT)) or 0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port)
        return
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-bench-"))
        server = stack.enter_context(postgresql(options.database, home))
        sqlite = f"sqlite:///{Path(home, 'ledger.db')}"
        kinds = {
            "bare FastAPI endpoint": (BARE, sqlite),
            "SQLite": ("ledger", sqlite),
            "PostgreSQL": ("ledger", server),
        }
        rates = {name: measured(kind, url, options) for name, (kind, url) in kinds.items()}
    table = Table("receiver", "events/s", "of the bare one", title=f"{options.connections} connections")
    for name, value in rates.items():
        table.add_row(name, f"{value:,.0f}", f"{value / rates['bare FastAPI endpoint']:.0%}")
    table.caption = f"each event is on disk before its answer; median of {options.rounds}; {load()}"
    Console().print(table)


if __name__ == "__main__":
    main()
