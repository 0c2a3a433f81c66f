"""How fast a list becomes a plan, and in how much memory: one process, an SQLite ledger, no Prefect.

    python -m bench.plan [--rows 1000000]

A CSV of 12 columns, four segments with conditions, recipients normalised as phone numbers, and an exclude
list of 1,000,000 keys that names every tenth row. Planned once with a tenth of the rows and once with all,
each in a process of its own, so that both peaks of memory stand side by side.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.box import load
from bench.people import campaign_job, customer_id, write_people
from clarion.ahead import made_ahead
from clarion.compiling import compile_job
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import NewRun, create_run, get_run
from clarion.models.job import RunList
from clarion.planning import Planner
from clarion.sources import ListReader

EXCLUDED_KEYS = 1_000_000
EXCLUDED_EVERY = 10
MARK_ROWS_PER_SECOND = 40_000
MARK_MEMORY_RATIO = 1.2

T = TypeVar("T")


def measure(folder: Path) -> dict[str, float]:
    """Plans the list in `folder` into a new ledger there.

    Returns:
        `all` seconds, and of them those until the first chunk is planned (`excludes`: nearly all of it is
        reading the exclude list), of `writing` the chunks while the next is planned, and of `waiting` for it;
        `cpu`, the processor's seconds of all; `memory_mb` at its peak; and the run's counts.
    """
    job = campaign_job(
        folder / "people.csv", url="http://127.0.0.1:9/v1/messages", exclude=folder / "out.csv"
    )
    database = Database(f"sqlite:///{folder / 'ledger.db'}")
    run = create_run(database, NewRun(job_name=job.name, job=job.model_dump_json(), base=str(folder)))
    reader = ListReader(base=folder, run_items=_no_earlier_run)
    planner = Planner(campaign=compile_job(job), run=run.scope(), now=datetime.now(UTC), reader=reader)
    started, cpu_started = time.perf_counter(), time.process_time()
    writer = PlanWriter(database, run.id)
    writer.begin()
    seconds = {"excludes": 0.0, "waiting": 0.0, "writing": 0.0}
    stage = "excludes"
    with closing(made_ahead(planner.plan())) as chunks:
        while items := _timed(seconds, stage, lambda: next(chunks, None)):
            _timed(seconds, "writing", lambda items=items: writer.write(items))
            stage = "waiting"
    _timed(seconds, "writing", lambda: writer.finish(limit=None, bad_rows=reader.report.bad_rows))
    seconds["all"] = time.perf_counter() - started
    seconds["cpu"] = time.process_time() - cpu_started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**seconds, "memory_mb": memory, **get_run(database, run.id).counts}


def _timed(seconds: dict[str, float], stage: str, work: Callable[[], T]) -> T:
    started = time.perf_counter()
    try:
        return work()
    finally:
        seconds[stage] += time.perf_counter() - started


def _no_earlier_run(source: RunList) -> Iterator[pd.DataFrame]:
    raise AssertionError(source)


def measure_apart(rows: int) -> dict[str, float]:
    """`measure` in a process of its own, over a list of `rows` people."""
    with tempfile.TemporaryDirectory(prefix="clarion-bench-") as directory:
        folder = Path(directory)
        write_people(folder / "people.csv", rows)
        _write_excluded(folder / "out.csv", rows)
        command = [sys.executable, "-m", "bench.plan", "--measure", directory]
        measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    if measured["skipped"] != rows // EXCLUDED_EVERY or measured["total"] != rows:
        raise SystemExit(f"the plan is wrong: {measured}")
    return measured


def _write_excluded(path: Path, rows: int) -> None:
    """The keys of every tenth row, and others up to 1,000,000."""
    inside = range(0, rows, EXCLUDED_EVERY)
    outside = range(rows, rows + EXCLUDED_KEYS - len(inside))
    with path.open("w", encoding="utf-8") as file:
        file.write("Customer Id\n")
        for numbers in (inside, outside):
            file.writelines(f"{customer_id(number)}\n" for number in numbers)


def compare(rows: int) -> Table:
    """Measures a tenth of the rows and all of them, side by side."""
    table = Table(title="A plan on SQLite")
    for column in ("rows", "rows/s", "seconds", "excludes", "writing", "waiting", "CPU s", "peak MB"):
        table.add_column(column, justify="right")
    peaks = []
    for size in (rows // 10, rows):
        found = measure_apart(size)
        peaks.append(found["memory_mb"])
        times = [f"{found[name]:.1f}" for name in ("all", "excludes", "writing", "waiting", "cpu")]
        table.add_row(f"{size:,}", f"{size / found['all']:,.0f}", *times, f"{found['memory_mb']:.0f}")
    table.caption = (
        f"ten times the rows take {peaks[1] / peaks[0]:.2f} times the memory; "
        f"marks: {MARK_ROWS_PER_SECOND:,} rows/s, x {MARK_MEMORY_RATIO}; {load()}"
    )
    return table


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
    else:
        Console().print(compare(options.rows))


if __name__ == "__main__":
    main()
