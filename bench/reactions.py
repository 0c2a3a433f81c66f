"""How fast answers are answered, on SQLite and on PostgreSQL.

    python -m bench.reactions [--replies 10000] [--singles 30] [--database URL]

Three measurements, each with one reaction a reply, against a provider on loopback that takes everything:

- the flow `handle_events` works off replies that are stored: until all reactions have left;
- single replies, signed as Vonage signs, posted one after the other to a `clarion serve`: the time from
  the beginning of the POST to the reaction's request at the provider;
- a burst of replies posted there at once: until all are handled, and until all reactions have arrived.

Each recipient of the burst answers several times. Every reply must have been answered once, and the ledger
must have each recipient's reactions in the order of the replies; how many recipients got theirs in another
order, by the network, is told. Without --database a PostgreSQL server of its own is started.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from bench.box import environment, load
from bench.receiving import SECRET
from bench.replies import Provider, number_of, provider, sent_run, signed_replies, stored_texts, text_of
from bench.serving import exchange, free_port, listening, postgresql
from bench.sink import nginx_sink, requests_served
from clarion.ledger.answering import is_any_received
from clarion.ledger.database import DATABASE_URL_SETTING, Database
from clarion.ledger.events import store_events
from clarion.receiving.incoming import IncomingEvent

MARK_SECONDS = 2.0
CONNECTIONS = 50
TURNS = 5
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 300.0
STORED_AT_ONCE = 500

Measured = dict[str, float]

"""Seconds, or replies a second, by what was measured."""


def measure(*, replies: int, singles: int) -> Measured:
    """All three, on the database that the settings name, in this process and one of `clarion serve`."""
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415  # Prefect takes a second

    with prefect_test_harness(server_startup_timeout=120), Database() as database:
        found = {"flow": measure_flow(database, replies=replies)}
        with provider() as sink, served() as port:
            found |= measure_singles(database, sink, port=port, count=singles)
            sink.calls.clear()
            found |= measure_burst(database, sink, port=port, replies=replies)
    return found


def measure_flow(database: Database, *, replies: int) -> float:
    """Replies a second of the flow `handle_events`; nginx, beside, counts the reactions."""
    from flows.handle_events import handle_events  # noqa: PLC0415

    people = range(replies // TURNS)
    with nginx_sink() as url:
        sent_run(database, people=people, url=url)
        for turn in range(TURNS):
            store(database, people, turn)
        started = time.perf_counter()
        handled = handle_events()
        seconds = time.perf_counter() - started
        answered = requests_served(url) - 1  # nginx counts the question too
    expected = len(people) * TURNS
    if handled != {"events": expected, "reactions": expected} or answered != expected:
        raise SystemExit(f"{expected} replies, but {handled}, and {answered} requests")
    return expected / seconds


def store(database: Database, people: range, turn: int) -> None:
    """A reply of each, as the receiver stores it."""
    for begin in range(0, len(people), STORED_AT_ONCE):
        replies = [
            IncomingEvent(
                type="recipient-response",
                provider_event_id=f"{person}:{turn}",
                recipient=number_of(person),
                text=text_of(turn),
            )
            for person in people[begin : begin + STORED_AT_ONCE]
        ]
        with database.write() as connection:
            store_events(connection, "vonage-webhook/bench", replies)


@contextmanager
def served() -> Generator[int]:
    """A `clarion serve` in a process of its own, of this process's settings; yields its port."""
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    from blocks.documents import save_document  # noqa: PLC0415
    from blocks.webhook_credentials import VonageWebhook  # noqa: PLC0415

    credentials = VonageWebhook(signature_secret=SecretStr(SECRET), max_age_seconds=86_400)
    save_document(credentials, "bench", replace=True)
    port = free_port()
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve", "--port", str(port)]
    settings = {"PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    with listening(command, port=port, settings=settings, quiet=True):
        yield port


def measure_singles(database: Database, sink: Provider, *, port: int, count: int) -> Measured:
    """From the POST of a reply to its reaction's request: the median, the 95th percentile, and the most."""
    people = range(1_000_000, 1_000_000 + count)
    sent_run(database, people=people, url=sink.url)
    waits: list[float] = []
    for number, reply in enumerate(signed_replies(people, range(1))):
        started = time.perf_counter()
        uvloop.run(exchange(port, [reply], connections=1, status=200))
        wait_until(lambda: len(sink.calls) > number, "a reaction")  # noqa: B023  # called at once
        waits.append(sink.calls[number].at - started)
    hundredths = statistics.quantiles(waits, n=100, method="inclusive")
    return {"p50": hundredths[49], "p95": hundredths[94], "most": max(waits)}


def measure_burst(database: Database, sink: Provider, *, port: int, replies: int) -> Measured:
    """Replies posted as fast as they are taken, several of each recipient."""
    people = range(2_000_000, 2_000_000 + replies // TURNS // CONNECTIONS * CONNECTIONS)
    run_id = sent_run(database, people=people, url=sink.url)
    requests = signed_replies(people, range(TURNS))
    started = time.perf_counter()
    posted = uvloop.run(exchange(port, requests, connections=CONNECTIONS, status=200))
    wait_until(lambda: not is_any_received(database), "the replies to be handled")
    handled = time.perf_counter() - started
    wait_until(lambda: len(sink.calls) >= len(requests), "the reactions")
    texts = [text_of(turn) for turn in range(TURNS)]
    stored, arrived = stored_texts(database, run_id), sink.texts()
    if list(stored.values()) != [texts] * len(people):
        raise SystemExit("the ledger has not each recipient's reactions once, in the order of the replies")
    if {to: sorted(each) for to, each in arrived.items()} != dict.fromkeys(stored, sorted(texts)):
        raise SystemExit("the provider got not each recipient's reactions once")
    return {
        "replies": len(requests),
        "posted": posted,
        "handled": handled,
        "sent": sink.calls[-1].at - started,
        "turned": sum(each != texts for each in arrived.values()),
    }


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Looks again and again.

    Raises:
        SystemExit: It takes too long.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come")
        time.sleep(LOOK_SECONDS)


def measure_apart(url: str, options: argparse.Namespace) -> Measured:
    """All three in a process of its own, with a home of its own."""
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as home:
        numbers = ["--replies", str(options.replies), "--singles", str(options.singles)]
        found = subprocess.run(
            [sys.executable, "-m", "bench.reactions", "--measure", *numbers],
            check=False,
            stdout=subprocess.PIPE,
            cwd=home,
            env=environment(home) | {DATABASE_URL_SETTING: url},
        )
    if found.returncode:
        raise SystemExit("the measurement failed")
    return json.loads(found.stdout.splitlines()[-1])


def table_of(found: dict[str, Measured]) -> Table:
    """A column a database."""
    table = Table("", *found, title="Reactions, one a reply")
    burst = next(iter(found.values()))["replies"]
    rows = {
        "the flow handle_events: replies a second": ("flow", ",.0f"),
        "POST of a reply until its reaction's request: p50, s": ("p50", ".2f"),
        "... p95, s": ("p95", ".2f"),
        "... the longest, s": ("most", ".2f"),
        f"a burst of {burst:,.0f}: posted after, s": ("posted", ".1f"),
        "... all handled after, s": ("handled", ".1f"),
        "... all reactions arrived after, s": ("sent", ".1f"),
        "... recipients whose reactions the network turned round": ("turned", ",.0f"),
    }
    for name, (key, form) in rows.items():
        table.add_row(name, *(format(each[key], form) for each in found.values()))
    table.caption = f"mark: {MARK_SECONDS:.0f} s from a reply to its reaction; {load()}"
    return table


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--replies", type=int, default=10_000)
    parser.add_argument("--singles", type=int, default=30)
    parser.add_argument("--database", metavar="URL")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(replies=options.replies, singles=options.singles)))
        return
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-bench-"))
        urls = {
            "SQLite": f"sqlite:///{Path(home, 'ledger.db')}",
            "PostgreSQL": stack.enter_context(postgresql(options.database, home)),
        }
        found = {name: measure_apart(url, options) for name, url in urls.items()}
    Console().print(table_of(found))


if __name__ == "__main__":
    main()
