"""How fast a run sends: the real flow against nginx on loopback, beside the two obvious alternatives.

    python -m bench.run [--items 50000] [--rounds 1] [--runner process] [--database URL] [--latency-ms 50]

The run is `flows.run_job.run_job` with Prefect's own temporary server and an SQLite ledger: it plans, claims,
renders, sends, judges and records every item. With `--runner` it is measured with two processes that send as
well, with `--database` on a PostgreSQL database that holds nothing else. The alternatives do less: Prefect's
`.map` with one httpx call a row keeps no ledger (measured on fewer rows, and given per row), and a bare loop
over the same wire sends one request again and again. Each is a process of its own, one after another against
the same nginx.

With `--latency-ms` the provider is a sandbox that takes that long to answer, and the ideal is what its
connections allow: 64 / latency.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.box import environment, load
from bench.people import campaign_job, write_people
from bench.sink import nginx_sink, requests_accepted, requests_served, slow_sink

MAPPED_ROWS = 1_000
CONNECTIONS = 64
MARK_OVER_MAP = 10
MARK_OF_LOOP = 0.5
MARK_OF_IDEAL = 0.9
WORKERS = 2

Measured = dict[str, float]
"""`items` sent, in how many `seconds` of the clock; `cpu_seconds` and database `commits` of the process."""


def measure_run(url: str, *, items: int) -> Measured:
    """A run of the real flow; `seconds` is sending alone, `all_seconds` with the plan before it.

    `cpu_seconds` and `commits` are those of planning, sending and the summary in the worker's process.
    """
    from sqlalchemy import Engine, event  # noqa: PLC0415

    from flows.run_job import run_job  # noqa: PLC0415  # Prefect takes a second

    people = Path.cwd() / "people.csv"
    write_people(people, items)
    commits: list[None] = []
    event.listen(Engine, "commit", lambda _connection: commits.append(None))
    before = _cpu_seconds()
    report = run_job(campaign_job(people, url=url))  # ty: ignore[no-matching-overload]  # it takes core jobs too
    cpu_seconds = _cpu_seconds() - before
    if report["counts"]["succeeded"] != items:
        raise SystemExit(f"the run did not send everything: {report['counts']}")
    started, ended = (datetime.fromisoformat(report[name]) for name in ("started_at", "ended_at"))
    return {
        "items": items,
        "seconds": report["metrics"]["seconds"],
        "all_seconds": (ended - started).total_seconds(),
        "cpu_seconds": cpu_seconds,
        "commits": len(commits),
    }


def measure_map(url: str, *, items: int) -> Measured:
    """What anyone would write first: a task that makes one call, mapped over the rows."""
    from prefect import flow, task  # noqa: PLC0415
    from prefect.cache_policies import NO_CACHE  # noqa: PLC0415
    from prefect.task_runners import ThreadPoolTaskRunner  # noqa: PLC0415

    client = httpx.Client(trust_env=False)

    @task(cache_policy=NO_CACHE, persist_result=False)
    def send(number: int) -> int:
        return client.post(url, json={"to": f"+4477{number:08d}", "text": "x" * 99}).status_code

    runner: Any = ThreadPoolTaskRunner(
        max_workers=CONNECTIONS
    )  # its futures are invariant: typed it fits no flow

    @flow(name="send-all", task_runner=runner, persist_result=False)
    def send_all(count: int) -> float:
        started = time.perf_counter()
        for future in send.map(range(count)):
            future.result()
        return time.perf_counter() - started

    before = _cpu_seconds()
    seconds = send_all(items)
    return {"items": items, "seconds": seconds, "cpu_seconds": _cpu_seconds() - before}


def measure_loop(url: str, *, items: int) -> Measured:
    """The wire alone: 64 coroutines that send one ready request again and again; nothing is kept."""
    import uvloop  # noqa: PLC0415

    from bench.wire import cheap_request, rate  # noqa: PLC0415
    from clarion.sending.wire import Wire  # noqa: PLC0415

    async def send_all() -> float:
        async with Wire(max_connections=CONNECTIONS) as wire:
            request = cheap_request(httpx.URL(url))

            async def send() -> int:
                return (await wire.handle_async_request(request)).status_code

            return await rate(send, requests=items, connections=CONNECTIONS)

    before = _cpu_seconds()
    per_second = uvloop.run(send_all())
    return {"items": items, "seconds": items / per_second, "cpu_seconds": _cpu_seconds() - before}


def _cpu_seconds() -> float:
    """Of this process, and of the sender processes that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


KINDS: dict[str, Callable[..., Measured]] = {
    "run": measure_run,
    "workers": measure_run,
    "map": measure_map,
    "loop": measure_loop,
}


def measure_apart(
    kind: str, sink: str, *, served: Callable[[str], int], items: int, settings: Mapping[str, str]
) -> Measured:
    """One measurement in a process of its own, with a home of its own, held against the sink's own count."""
    before = served(sink)
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as home:
        command = [
            sys.executable,
            "-m",
            "bench.run",
            "--measure",
            kind,
            "--sink",
            sink,
            "--items",
            str(items),
        ]
        found = subprocess.run(
            command, check=False, capture_output=True, cwd=home, env=environment(home) | dict(settings)
        )
    if found.returncode:
        raise SystemExit(f"{kind}: {found.stderr.decode()[-2_000:]}")
    answered = served(sink) - before
    if answered != items + (CONNECTIONS if kind == "loop" else 0):  # the loop warms each connection up
        raise SystemExit(f"{kind}: {items} items, but the sink answered {answered} requests")
    return json.loads(found.stdout)


def compare(
    items: int, rounds: int, *, runner: str | None, database: str | None, latency_ms: int | None
) -> Table:
    """Measures all of them, round by round, and keeps the best of each."""
    items = items // CONNECTIONS * CONNECTIONS
    best: dict[str, Measured] = {}
    common = {"CLARION_DATABASE_URL": database} if database else {}
    settings = {
        "workers": {"CLARION_RUNNER": runner or "", "CLARION_WORKERS": str(WORKERS)},
        "run": {},
        "map": {},
        "loop": {},
    }
    kinds = [kind for kind in KINDS if runner or kind != "workers"]
    served = requests_accepted if latency_ms else lambda url: requests_served(url) - next(asked)
    asked = count(1)  # nginx counts the questions too
    with slow_sink(latency_ms) if latency_ms else nginx_sink() as sink:
        for kind in kinds * rounds:
            rows = MAPPED_ROWS if kind == "map" else items
            found = measure_apart(kind, sink, served=served, items=rows, settings=common | settings[kind])
            if kind not in best or found["seconds"] < best[kind]["seconds"]:
                best[kind] = found
    return _table(best, runner=runner, latency_ms=latency_ms)


def _table(best: dict[str, Measured], *, runner: str | None, latency_ms: int | None) -> Table:
    rates = {kind: found["items"] / found["seconds"] for kind, found in best.items()}
    rates["all"] = best["run"]["items"] / best["run"]["all_seconds"]
    if "workers" in best:
        rates["all workers"] = best["workers"]["items"] / best["workers"]["all_seconds"]
    cost = {kind: found["cpu_seconds"] / found["items"] * 1_000 for kind, found in best.items()}
    names = {
        "run": f"a run of {best['run']['items']:,.0f}: sending",
        "all": "... plan and summary included",
        "workers": f"... in {WORKERS} processes (runner {runner}): sending",
        "all workers": "... plan and summary included",
        "map": f"(a) Prefect .map of {MAPPED_ROWS:,}, a call a row",
        "loop": "(b) a loop over the same wire",
    }
    if latency_ms:
        rates["ideal"] = CONNECTIONS / latency_ms * 1_000
        names["ideal"] = f"(c) {CONNECTIONS} connections / {latency_ms} ms"
    table = Table("", title=f"Sending, {CONNECTIONS} connections")
    for column in ("items/s", "x (a)", "of (b)", "of (c)", "CPU s per 1,000", "commits per 1,000"):
        table.add_column(column, justify="right")
    for kind, name in names.items():
        if kind not in rates:
            continue
        over, of = rates[kind] / rates["map"], rates[kind] / rates["loop"]
        used = f"{cost[kind]:.2f}" if kind in cost else ""
        ideal = f"{rates[kind] / rates['ideal']:.2f}" if latency_ms else ""
        commits = best[kind].get("commits") if kind in best else None
        wrote = f"{commits / best[kind]['items'] * 1_000:.0f}" if commits else ""
        table.add_row(name, f"{rates[kind]:,.0f}", f"{over:.1f}", f"{of:.2f}", ideal, used, wrote)
    table.caption = f"marks: x (a) {MARK_OVER_MAP}, of (b) {MARK_OF_LOOP}, of (c) {MARK_OF_IDEAL}; {load()}"
    return table


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--runner", choices=["process", "dask", "ray"])
    parser.add_argument("--database", metavar="URL", help="PostgreSQL; else an SQLite file")
    parser.add_argument("--latency-ms", type=int, help="a provider that takes so long to answer")
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--sink", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(KINDS[options.measure](f"{options.sink}/v1/messages", items=options.items)))
    else:
        table = compare(
            options.items,
            options.rounds,
            runner=options.runner,
            database=options.database,
            latency_ms=options.latency_ms,
        )
        Console().print(table)


if __name__ == "__main__":
    main()
