"""What a provider sees of a limit that two worker processes share: its own time stamps decide."""

import json
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest

from clarion.ledger.database import Database
from clarion.ledger.runs import get_run
from clarion.models.job import Job
from tests.integration.ledger_runs import counts, planned, planned_run

pytestmark = pytest.mark.alone

WORKER = Path(__file__).with_name("limited_sender.py")
PROCESSES = 2


class Sink(ThreadingHTTPServer):
    """Accepts everything, and notes when each request was there and from which sender."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.arrivals: list[tuple[float, str]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Notes the request as soon as its head is there."""
        at = time.monotonic()
        assert isinstance(self.server, Sink)
        self.server.arrivals.append((at, self.path))
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Says nothing."""


@contextmanager
def sink() -> Generator[Sink]:
    """A provider in threads of this process."""
    server = Sink()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def job_for(server: Sink) -> str:
    """A job whose calls tell the sink the sender that they are for."""
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    job = {
        "name": "limited",
        "recipients": {"include": [{"items": [{"sender": "a"}]}]},
        "recipient": "{{ item.sender }}",
        "segments": [{"name": "all", "action": "send"}],
        "actions": {"send": {"command": {"url": url + "{{ item.sender }}"}, "timeout_seconds": 30}},
    }
    return Job.model_validate(job).model_dump_json()


def sent(
    database: Database, *, senders: Sequence[str], tps: float | None, named: Sequence[dict[str, Any]] = ()
) -> dict[str, list[float]]:
    """Arrivals at the sink, in order, by sender and, as "", of all; by two processes at work on one run."""
    with sink() as server:
        items = [
            planned(row, item=f'{{"sender":"{sender}"}}', limit_keys=orjson.dumps([sender]).decode())
            for row, sender in enumerate(senders, 1)
        ]
        run_id = planned_run(database, items, job_name="limited", job=job_for(server))
        given = {
            "database": database.url,
            "run": get_run(database, run_id).uid,
            "limit": f"job/limited/send-{tps}",
            "tps": tps,
            "named": list(named),
        }
        command = [sys.executable, str(WORKER), json.dumps(given)]
        options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = [subprocess.Popen(command, **options) for _ in range(PROCESSES)]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n"
            for worker in workers:
                worker.communicate("go\n", timeout=100)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert counts(database, run_id) == {"total": len(senders), "succeeded": len(senders)}
    arrivals: dict[str, list[float]] = {}
    for at, path in sorted(server.arrivals):
        arrivals.setdefault("", []).append(at)
        arrivals.setdefault(path.strip("/"), []).append(at)
    return arrivals


def most_within(times: Sequence[float], seconds: float) -> int:
    """Most arrivals in any half-open window of so many seconds."""
    return max(bisect_left(times, start + seconds) - index for index, start in enumerate(times))


def assert_promise(times: Sequence[float], tps: float) -> None:
    """Never more than tps + max(1, 10 %) in a second, at most tps x T + 2 over T >= 5 s."""
    assert most_within(times, 1.0) <= tps + max(1.0, tps / 10)
    for seconds in (5.0, 5.5, 6.0):
        assert most_within(times, seconds) <= tps * seconds + 2


def usual_rate(times: Sequence[float]) -> float:
    """Arrivals in the median one of the whole seconds: a hiccup of the machine does not show there."""
    seconds = range(int(times[-1] - times[0]))
    return median(
        bisect_left(times, times[0] + each + 1) - bisect_left(times, times[0] + each) for each in seconds
    )


def test_two_processes_keep_the_rate_of_an_action(database: Database):
    """At the sink there is never too much, and the mean is at least nine tenths; two rates at once."""

    def arrivals(tps: float) -> list[float]:
        return sent(database, senders=["a"] * int(tps * 6), tps=tps)[""]

    rates = (20.0, 200.0)
    with ThreadPoolExecutor(len(rates)) as pool:
        for tps, times in zip(rates, pool.map(arrivals, rates), strict=True):
            assert len(times) == int(tps * 6)
            assert_promise(times, tps)
            assert usual_rate(times) >= 0.9 * tps


def test_two_processes_keep_the_rate_of_every_sender(database: Database):
    """Three senders, one with most of the items: each has its own rate, and none waits for another."""
    senders = ["a", "a", "a", "b", "a", "c"] * 15  # in turns: 60 of a, 15 each of b and c
    named = [{"name": "sender", "tps": 10.0}]
    arrivals = sent(database, senders=senders, tps=None, named=named)
    for sender in "abc":
        assert_promise(arrivals[sender], 10.0)
    assert arrivals["b"][-1] - arrivals["b"][0] < arrivals["a"][-1] - arrivals["a"][0]
    assert usual_rate(arrivals["a"]) >= 0.9 * 10
