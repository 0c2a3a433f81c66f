"""What links lead to, served on a real socket in a thread; and runs whose messages have links."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import sqlalchemy as sa
import uvicorn
from fastapi import APIRouter

from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import Database, utc_now
from clarion.ledger.runs import RunRecord, get_run
from clarion.ledger.tables import ATTEMPT, FALLBACK_RECIPIENT, RUN, RUN_ITEM
from clarion.links.making import ItemLinks, link_maker
from clarion.receipts import UNDELIVERED
from clarion.receiving.app import create_app
from tests.integration.ledger_runs import planned, planned_run
from tests.unit.campaigns import make_job

BROWSER = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
URL = "https://shop.example/offer"
TEXT = (
    f'{{{{ link("{URL}", name="offer") }}}} {{{{ link("{URL}?c=" ~ item.id, name="own", click_id="cid") }}}} '
    '{{ unsubscribe_link() }} {{ unsubscribe_link(scope="job") }} {{ unsubscribe_link(scope="channel") }}'
)


SEND = {
    "channel": "sms",
    "command": {"url": "http://127.0.0.1/messages", "payload": {"text": "{{ template.message }}"}},
}
SEGMENT = {"name": "all", "action": "send", "template": {"message": TEXT}}


def phone(number: int) -> str:
    """The number of the recipient of a row."""
    return f"+4477009{number:05}"


def linked_run(
    database: Database, people: int = 1, *, sent_ago: timedelta = timedelta(), **changes: Any
) -> RunRecord:
    """A run that was sent so long ago, with the links of TEXT in its messages; `changes` are of its job."""
    job = make_job(**{"segments": [SEGMENT], "actions": {"send": SEND}} | changes)
    items = [planned(row, recipient=phone(row), item=f'{{"id":{row}}}') for row in range(1, people + 1)]
    run_id = planned_run(database, items, job=job.model_dump_json(), job_name=job.name)
    sent_at = datetime.now(UTC) - sent_ago
    with database.write() as connection:
        sent = {"status": "succeeded", "attempts": 1, "claimed_at": sent_at, "settled_at": sent_at}
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.run_id == run_id).values(sent))
        ended = {"pending": 0, "succeeded": people, "status": "completed", "ended_at": sent_at}
        connection.execute(RUN.update().where(RUN.c.id == run_id).values(ended))
    return get_run(database, run_id)


def item_ids(database: Database, run: RunRecord) -> list[int]:
    """The run items of a run in their order."""
    with database.read() as connection:
        return list(connection.scalars(sa.select(RUN_ITEM.c.id).where(RUN_ITEM.c.run_id == run.id)))


def fell_back(database: Database, run: RunRecord, run_item_id: int) -> None:
    """The first step of an item was undelivered; a mail went out in its place, to ann@example.com."""
    with database.write() as connection:
        item = RUN_ITEM.c.id == run_item_id
        sent = connection.execute(RUN_ITEM.select().where(item)).one()
        attempt = {
            "run_id": run.id, "run_item_id": run_item_id, "step": 0, "action": sent.action,
            "recipient": sent.recipient, "idempotency_key": f"{run.uid}-{run_item_id}.0.0",
            "outcome": UNDELIVERED, "attempted_at": sent.claimed_at,
        }  # fmt: skip
        connection.execute(ATTEMPT.insert().values(attempt))
        address = {"run_id": run.id, "run_item_id": run_item_id, "dedupe_key": "ann@example.com"}
        connection.execute(FALLBACK_RECIPIENT.insert().values(address))
        later = {"step": 1, "action": "mail", "recipient": "Ann@Example.com", "claimed_at": utc_now()}
        connection.execute(RUN_ITEM.update().where(item).values(later))


def links_of(run: RunRecord, run_item_id: int, *, base_url: str, step: int = 0) -> ItemLinks:
    """What made the links of a message, leading to a server."""
    maker = link_maker(run.job, run_id=run.id, run_uid=run.uid, rehearsal=True)
    assert maker is not None
    maker._link_base, maker._unsubscribe_base = f"{base_url}/l/", f"{base_url}/u/"
    return maker.of_item(run_item_id, step=step)


@contextmanager
def served(database: Database, *routers: APIRouter) -> Generator[httpx.Client]:
    """A client of a server with these routers; it follows no redirects."""
    app = create_app(database, [], routers=routers)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.002)
        with httpx.Client(base_url=url, headers={"user-agent": BROWSER}, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def events_of(database: Database, *columns: str, kind: str) -> list[Any]:
    """Columns of all events of a type, in the order of their coming; `data` as it was."""
    chosen = [EVENT.c[name] for name in columns]
    query = sa.select(*chosen).where(EVENT.c.type == kind).order_by(EVENT.c.id)
    with database.read() as connection:
        rows = [_read(columns, row) for row in connection.execute(query)]
    return [row[0] for row in rows] if len(columns) == 1 else rows


def _read(columns: Sequence[str], row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        orjson.loads(value) if name == "data" else value for name, value in zip(columns, row, strict=True)
    )


_PROCESS = """
import sys, uvicorn
from clarion.ledger.database import Database, utc_now
from clarion.links.routes import links_router
from clarion.receipts import UNDELIVERED
from clarion.receiving.app import create_app

database = Database()
app = create_app(database, [], routers=[links_router(database)])
uvicorn.run(app, fd=int(sys.argv[1]), log_config=None, ws="none")
"""


@contextmanager
def served_by_process(database: Database) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """A process of its own that serves links, and its address; whoever comes early waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(listening.fileno())],
            pass_fds=[listening.fileno()],
            env={**os.environ, "CLARION_DATABASE_URL": database.url},
            cwd=Path(__file__).parents[2],
        )
    try:
        yield process, url
    finally:
        process.kill()
        process.wait()
