"""How many redirects a second a process serves, each click on disk before its answer; beside a bare endpoint.

    python -m bench.links [--requests N] [--connections 64] [--rounds 3] [--database URL]

The bare one is a FastAPI endpoint that sends everybody to one place and stores nothing. Without --database a
PostgreSQL server of its own is started; the ledger must have as many clicks as answers were given.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path

import orjson
import sqlalchemy as sa
import uvicorn
import uvloop
from fastapi import FastAPI
from rich.console import Console
from rich.table import Table
from starlette.responses import RedirectResponse

from bench.box import load
from bench.serving import exchange, free_port, listening, postgresql
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import DATABASE_URL_SETTING, HOME_SETTING, Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import NewRun, create_run
from clarion.links.making import LinkMaker
from clarion.links.routes import links_router
from clarion.planning import PlannedItem
from clarion.receiving.app import create_app
from clarion.templating.links import Stem

BARE = "bare"
ITEMS = 2_000
URL = "https://shop.example/offer"
JOB = {"name": "bench", "segments": [{"template": {"text": f'{{{{ link("{URL}", name="offer") }}}}'}}]}
HEADERS = (
    "Host: go.example\r\nAccept: text/html\r\nAccept-Language: en\r\n"
    "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15\r\n\r\n"
)


def bare_app() -> FastAPI:
    """What the redirect is held against."""
    app = FastAPI(openapi_url=None)

    @app.get("/l/{token}")
    async def follow(token: str) -> RedirectResponse:  # noqa: ARG001  # as the other one gets it
        return RedirectResponse(URL, status_code=302)

    return app


def serve(kind: str, port: int) -> None:
    """Serves one of the two in this process, until it is ended."""
    app = bare_app() if kind == BARE else create_app(Database(), [], routers=[links_router(Database())])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def planned(url: str) -> list[str]:
    """The paths of links to follow, of a new run with some items."""
    with Database(url) as database:
        job = orjson.dumps(JOB).decode()
        run = create_run(database, NewRun(job_name="bench", job=job, base="/"), alongside=True)
        writer = PlanWriter(database, run.id)
        writer.begin()
        writer.write([item(row) for row in range(1, ITEMS + 1)])
        writer.finish(limit=None, bad_rows=0)
        with database.read() as connection:
            query = sa.text("SELECT id FROM run_item WHERE run_id = :run")
            ids = connection.scalars(query, {"run": run.id}).all()
    maker = LinkMaker(JOB, run_id=run.id, run_uid=run.uid, base_url="")
    return [maker.link(number, 0, URL, Stem("offer", URL)) for number in ids]


def item(row: int) -> PlannedItem:
    """A run item of a recipient of its own."""
    to = f"+4477009{row:05}"
    return PlannedItem(row, "all", to, to, "{}", "pending", None, "send", None)


@contextmanager
def served(kind: str, *, url: str, home: str) -> Generator[int]:
    """A server in a process of its own; yields its port."""
    port = free_port()
    settings = {DATABASE_URL_SETTING: url, HOME_SETTING: home}
    command = [sys.executable, "-m", "bench.links", "--serve", kind, "--port", str(port)]
    with listening(command, port=port, settings=settings):
        yield port


def visits(paths: Sequence[str], count: int) -> list[bytes]:
    """So many requests for some paths in turn, each of a person's telephone."""
    return [f"GET {path} HTTP/1.1\r\n{HEADERS}".encode() for path in islice(cycle(paths), count)]


def measured(kind: str, url: str, home: str, options: argparse.Namespace) -> float:
    """The median rate of some rounds; the ledger has every click afterwards."""
    paths = planned(url)
    before = clicks(url)
    with served(kind, url=url, home=home) as port:
        sizes = [options.connections, *[options.requests] * options.rounds]  # the first one warms up
        rates = [
            size
            / uvloop.run(exchange(port, visits(paths, size), connections=options.connections, status=302))
            for size in sizes
        ]
    expected = 0 if kind == BARE else sum(sizes)
    if clicks(url) - before != expected:
        raise SystemExit(f"the ledger has {clicks(url) - before} clicks of {expected}")
    return statistics.median(rates[1:])


def clicks(url: str) -> int:
    """How many clicks a ledger has."""
    with Database(url) as database, database.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).where(EVENT.c.type == "click")) or 0


def main() -> None:
    """Measures, and prints a table."""
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
        os.environ[HOME_SETTING] = home  # its secret key signs the links
        sqlite = f"sqlite:///{Path(home, 'ledger.db')}"
        server = stack.enter_context(postgresql(options.database, home))
        bare = measured(BARE, sqlite, home, options)
        table = Table("redirects", "a second", "of the bare one")
        table.add_row("a bare endpoint, nothing stored", f"{bare:,.0f}", "1.00")
        for name, url in (("SQLite", sqlite), ("PostgreSQL", server)):
            found = measured("links", url, home, options)
            table.add_row(f"/l/TOKEN, clicks on {name}", f"{found:,.0f}", f"{found / bare:.2f}")
    table.title = f"{options.connections} connections; {load()}"
    Console().print(table)


if __name__ == "__main__":
    main()
