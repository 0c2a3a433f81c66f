"""What gives out permits better: Clarion's ledger, or Prefect's global concurrency limits with slot decay?

    python -m bench.limits [--seconds 5] [--takers 2] [--lot 64]

At 1 and at 5,000 a second, for takers at once: permits a second, most within any one second, and what one
request for permits costs where there is nothing to wait for. The ledger is a SQLite file, Prefect's server a
temporary one on this machine; at 5,000 a second both are asked for a lot of permits at a time, as by a claim.
"""

import argparse
import os
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.box import load
from clarion.ledger.database import Database
from clarion.ledger.limits import take_permits

RATES = (1, 5_000)
COST_TIMES = 30

os.environ.setdefault("DO_NOT_TRACK", "1")

Take = Callable[[int], list[float]]
"""Takes up to so many permits, waiting for the first; when each may be used, by `time.monotonic`."""


def from_ledger(database: Database, key: str, tps: float, most: int) -> list[float]:
    """Permits as a claim takes them, without items."""
    while True:
        with database.write() as connection:
            permits = take_permits(connection, key=key, tps=tps, most=most)
        if permits.delays:
            return [permits.read_at + delay for delay in permits.delays]
        time.sleep(permits.wait_seconds)


def from_prefect(name: str, most: int) -> list[float]:
    """Permits of a global concurrency limit whose slots decay."""
    from prefect.concurrency.sync import rate_limit  # noqa: PLC0415  # after its settings are made

    rate_limit(name, occupy=most, strict=True)
    return [time.monotonic()] * most


def taken(take: Take, *, seconds: float, takers: int, lot: int) -> list[float]:
    """When each permit could be used that the takers got, in order."""
    begun = threading.Barrier(takers)

    def work() -> list[float]:
        times: list[float] = []
        begun.wait()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            times += take(lot)
            time.sleep(max(0.0, times[-1] - time.monotonic()))  # as a sender does before it claims again
        return times

    with ThreadPoolExecutor(takers) as threads:
        return sorted(at for done in [threads.submit(work) for _ in range(takers)] for at in done.result())


def cost_ms(take: Take) -> float:
    """Milliseconds of one request, the median of some that have nothing to wait for."""
    costs = []
    for _ in range(COST_TIMES):
        started = time.perf_counter()
        take(1)
        costs.append((time.perf_counter() - started) * 1_000)
        time.sleep(0.01)
    return sorted(costs)[COST_TIMES // 2]


def row(name: str, tps: int, take: Take, options: argparse.Namespace) -> tuple[str, ...]:
    """A line of the table."""
    lot = options.lot if tps > options.lot else 1
    times = taken(take, seconds=options.seconds, takers=options.takers, lot=lot)
    most = max(bisect_left(times, at + 1) - index for index, at in enumerate(times))
    rate = (len(times) - lot) / (times[-1] - times[0]) if times[-1] > times[0] else 0.0
    cost = f"{cost_ms(take):.1f}" if tps > options.lot else "-"
    return name, f"{tps:,}", f"{rate:,.2f}" if tps == 1 else f"{rate:,.0f}", f"{most:,}", cost


def main() -> None:
    """Measure, and print a table."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415  # slow to import
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate  # noqa: PLC0415
    from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings  # noqa: PLC0415
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--takers", type=int, default=2)
    parser.add_argument("--lot", type=int, default=64)
    options = parser.parse_args()
    table = Table("permits from", "asked a second", "given a second", "most in a second", "ms a request")
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as folder:
        with Database(f"sqlite:///{Path(folder, 'ledger.db')}") as database:
            for tps in RATES:
                take = partial(from_ledger, database, f"bench-{tps}", tps)
                table.add_row(*row("the ledger (SQLite)", tps, take, options))
        with temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}), prefect_test_harness(120):
            for tps in RATES:
                name = f"bench-{tps}"
                limit = GlobalConcurrencyLimitCreate(name=name, limit=tps, slot_decay_per_second=tps)
                with get_client(sync_client=True) as client:
                    client.create_global_concurrency_limit(limit)
                table.add_row(*row("Prefect's limits", tps, partial(from_prefect, name), options))
    table.title = f"{options.takers} takers, lots of {options.lot}; {load()}"
    Console().print(table)


if __name__ == "__main__":
    main()
