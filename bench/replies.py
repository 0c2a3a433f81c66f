"""A campaign that has been sent, its recipients' replies, and a provider that notes when it is called."""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
import sqlalchemy as sa
import uvloop

from bench.receiving import signed_request
from bench.serving import content_length
from clarion.ledger.database import Database, utc_now
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import REACTIONS, NewRun, create_run
from clarion.ledger.tables import RUN, RUN_ITEM
from clarion.models.job import Job
from clarion.planning import PlannedItem

_ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Call:
    """A request that reached the provider; `at` as `time.perf_counter` has it."""

    at: float
    recipient: str
    text: str


@dataclass(frozen=True, eq=False)
class Provider:
    """Where reactions arrive."""

    url: str
    calls: list[Call] = field(default_factory=list)

    def texts(self) -> dict[str, list[str]]:
        """What each recipient got, in the order of its coming."""
        found: dict[str, list[str]] = defaultdict(list)
        for call in self.calls:
            found[call.recipient].append(call.text)
        return found


@contextmanager
def provider() -> Generator[Provider]:
    """A provider in a thread of its own that takes everything."""
    made: list[Provider] = []
    listens, stop = threading.Event(), asyncio.Event()
    loop = uvloop.new_event_loop()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                at = time.perf_counter()
                told = orjson.loads(await reader.readexactly(content_length(head)))
                made[0].calls.append(Call(at, told["to"], told["text"]))
                writer.write(_ANSWER)
        except asyncio.IncompleteReadError:
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(take, "127.0.0.1", 0)
        made.append(Provider(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        listens.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    listens.wait()
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def number_of(person: int) -> str:
    """The telephone number of a person."""
    return f"447700{person:06}"


def text_of(turn: int) -> str:
    """What each of them writes the first, second, ... time."""
    return f"Yes please, {turn}"


def sent_run(database: Database, *, people: range, url: str) -> int:
    """A run whose message these people have got, and which thanks each who answers, by calls of `url`."""
    job = _job(url)
    new = NewRun(job_name=job.name, job=job.model_dump_json(), base="/")
    run = create_run(database, new, alongside=True)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([_planned(number) for number in people])
    writer.finish(limit=None, bad_rows=0)
    sent = {"status": "succeeded", "attempts": 1, "claimed_at": utc_now(), "settled_at": utc_now()}
    ended = {"pending": 0, "succeeded": len(people), "status": "completed", "ended_at": utc_now()}
    with database.write() as connection:
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.run_id == run.id).values(sent))
        connection.execute(RUN.update().where(RUN.c.id == run.id).values(ended))
    return run.id


def _job(url: str) -> Job:
    payload = {"to": "{{ recipient }}", "text": "{{ template.message }}"}
    thanks = {
        "name": "thanks",
        "condition": 'event.type == "recipient-response" and contains(lower(event.text), "yes")',
        "action": "send",
        "template": {"message": "{{ event.text }}"},
    }
    job = {
        "name": "bench",
        "recipients": {"include": [{"items": [{"id": 1}]}]},
        "recipient": "{{ item.phone }}",
        "segments": [{"name": "all", "action": "send", "template": {"message": "Hello"}}],
        "actions": {"send": {"command": {"url": url, "payload": payload}}},
        "events": [thanks],
    }
    return Job.model_validate(job)


def _planned(person: int) -> PlannedItem:
    to = f"+{number_of(person)}"
    item = orjson.dumps({"id": person, "phone": to, "name": f"Ann {person}"}).decode()
    return PlannedItem(person + 1, "all", to, to, item, "pending", None, "send", None)


def signed_replies(people: Sequence[int], turns: range) -> list[bytes]:
    """Each person's replies, turn by turn, as Vonage posts them."""
    return [signed_request(number_of(person), text_of(turn)) for turn in turns for person in people]


def stored_texts(database: Database, run_id: int) -> dict[str, list[str]]:
    """What each recipient is sent in reaction, in the order of the ledger."""
    child = sa.select(RUN.c.id).where(RUN.c.parent_id == run_id, RUN.c.kind == REACTIONS)
    query = sa.select(RUN_ITEM.c.recipient, RUN_ITEM.c.item).where(RUN_ITEM.c.run_id.in_(child))
    found: dict[str, list[str]] = defaultdict(list)
    with database.read() as connection:
        for recipient, item in connection.execute(query.order_by(RUN_ITEM.c.id)):
            found[recipient].append(orjson.loads(item)["@reaction"]["event"]["text"])
    return found
