"""What is left of runs that are killed: the fault test bench of the suite, many times over.

    python -m bench.torture [--kills 100] [--seed 0]

Every run is a process of its own. It is killed (kill -9, or SIGTERM), half of the time in the middle of
planning and half in the middle of sending, taken up again by `clarion resume` (after SIGTERM also at once,
while it is still leaving), killed again, and in the end held against the log of the provider. That answers
5 % of the calls with a server error, hangs up on 3 % (on half of these after accepting), refuses 2 % of the
recipients, and takes 2 s for its answers, or 20 ms in every other round. What each count means is told in
`tests/faults/checks.py`. A blow that came too late is not counted.

Exit code 1 where anything was violated.
"""

import argparse
import itertools
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.faults.campaign import Campaign
from tests.faults.checks import Moment
from tests.faults.harness import Blow, Findings, Torment
from tests.faults.processes import Processes
from tests.integration.ledger_databases import PostgresqlServer, SqliteFiles, postgresql_server

BLOWS_OF_A_RUN = 3
MOMENTS: tuple[Moment, Moment] = ("planning", "sending")
COLUMNS = (
    "database", "signal", "while", "kills", "restarts", "items", "requests", "accepted", "duplicates", "lost",
    "untrue", "other violations", "unknown", "most of a kill",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One row of the table: what is killed how, and when."""

    database: str
    blow: Blow

    def __str__(self) -> str:
        return ", ".join(self.cells())

    def cells(self) -> tuple[str, str, str]:
        """What names the row: the database, the signal, the moment."""
        signal = {"KILL": "kill -9", "TERM": "TERM"}[self.blow.signal]
        return (
            self.database,
            f"{signal}, resumed at once" if self.blow.overlapped else signal,
            self.blow.moment,
        )


@dataclass(kw_only=True)
class Tally:
    """What the runs of one kind came to."""

    kills: int = 0
    restarts: int = 0
    items: int = 0
    requests: int = 0
    accepted: int = 0
    unknown: int = 0
    most_left: int = 0
    violations: Counter[str] = field(default_factory=Counter)

    def add(self, found: Findings, kind: Kind) -> None:
        """Adds a run."""
        self.kills += sum(
            (death.signal, death.moment) == (kind.blow.signal, kind.blow.moment) for death in found.deaths
        )
        self.restarts += found.starts - 1
        self.items += len(found.ledger.items)
        self.requests += len(found.requests)
        self.accepted += sum(request.verdict.startswith("accepted") for request in found.requests)
        self.unknown += found.worker_lost
        self.most_left = max(self.most_left, found.most_left)
        self.violations += found.violations

    def cells(self) -> list[int]:
        """The numbers of the row, in the order of the table's columns."""
        others = self.violations.total() - sum(
            self.violations[name] for name in ("duplicates", "lost", "untrue")
        )
        return [
            self.kills,
            self.restarts,
            self.items,
            self.requests,
            self.accepted,
            self.violations["duplicates"],
            self.violations["lost"],
            self.violations["untrue"],
            others,
            self.unknown,
            self.most_left,
        ]


KINDS = [
    Kind(database=database, blow=blow)
    for database in ("sqlite", "postgresql")
    for moment in MOMENTS
    for blow in (
        Blow(signal="KILL", moment=moment),
        Blow(signal="TERM", moment=moment),
        Blow(signal="TERM", moment=moment, overlapped=True),
    )
]


class Bench:
    """Torments one run after the other.

    Args:
        processes: What starts the command.
        databases: What makes empty ledgers, by the kind of database.
        folder: Where each run gets a folder.
        seed: The first run's seed; every further run's is one more.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        databases: dict[str, SqliteFiles | PostgresqlServer],
        folder: Path,
        seed: int,
    ) -> None:
        self._processes = processes
        self._databases = databases
        self._folder = folder
        self._seeds = itertools.count(seed)

    def torment(self, kind: Kind, *, kills: int, latency_ms: float) -> Findings:
        """Kills one run so many times, the last restart brings it to its end."""
        seed = next(self._seeds)
        folder = self._folder / f"run{seed}"
        folder.mkdir()
        databases = self._databases[kind.database]
        url = databases.empty()
        torment = Torment(
            _campaign(kind.blow.moment, latency_ms=latency_ms, seed=seed),
            database_url=url,
            processes=self._processes,
            folder=folder,
            chance=random.Random(seed),
        )
        found = torment.suffer([kind.blow] * kills)
        databases.drop(url)
        told = ", ".join(f"{name} {count}" for name, count in found.violations.items()) or "nothing violated"
        sys.stderr.write(f"seed {seed}: {kind}, {len(found.deaths)} kills: {told}\n")
        return found


def _campaign(moment: Moment, *, latency_ms: float, seed: int) -> Campaign:
    """A long list where the planning is killed; many recipients where the sending is."""
    if moment == "planning":
        return Campaign(rows=30_000, step=100, latency_ms=latency_ms, seed=seed)
    recipients = 2_000 if latency_ms > 1_000 else 6_000
    return Campaign(rows=recipients * 2, step=2, latency_ms=latency_ms, seed=seed)


def torture(bench: Bench, *, kills: int) -> dict[Kind, Tally]:
    """Kills until every kind has its share of `kills`; kinds in turn, fast and slow provider in turn."""
    share = -(-kills // len(KINDS))
    tallies = {kind: Tally() for kind in KINDS}
    for latency_ms in itertools.cycle((2_000, 20)):
        missing = {kind: share - tally.kills for kind, tally in tallies.items() if tally.kills < share}
        if not missing:
            break
        for kind, left in missing.items():
            found = bench.torment(kind, kills=min(BLOWS_OF_A_RUN, left), latency_ms=latency_ms)
            tallies[kind].add(found, kind)
    return tallies


def _table(tallies: dict[Kind, Tally]) -> Table:
    table = Table(*COLUMNS[:3], box=box.MARKDOWN)
    for name in COLUMNS[3:]:
        table.add_column(name, justify="right")
    for kind, tally in tallies.items():
        table.add_row(*kind.cells(), *(f"{number:,}" for number in tally.cells()))
    columns = list(zip(*(tally.cells() for tally in tallies.values()), strict=True))
    whole = [*map(sum, columns[:-1]), max(columns[-1])]
    table.add_row("all", "", "", *(f"{number:,}" for number in whole))
    return table


@contextmanager
def _prefect_server() -> Generator[str]:
    """A Prefect server with an empty database; yields the address of its API."""
    os.environ |= {
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    }
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415  # reads the environment
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415

    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


def main(arguments: Sequence[str] | None = None) -> None:
    """Torture, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="clarion-torture-") as name,
        _prefect_server() as url,
        postgresql_server() as postgresql,
    ):
        folder = Path(name)
        bench = Bench(
            Processes(prefect_api_url=url, home=folder),
            databases={"sqlite": SqliteFiles(folder), "postgresql": postgresql},
            folder=folder,
            seed=options.seed,
        )
        tallies = torture(bench, kills=options.kills)
    Console(width=200).print(_table(tallies))
    if any(tally.violations for tally in tallies.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
