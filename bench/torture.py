"""What is left of runs that are killed: the fault test bench of the suite, many times over.

    python -m bench.torture [--kills 100] [--seed 0]

Every run is a process of its own, that sends itself or has two sender processes. It is killed (kill -9, or
SIGTERM), half of the time in the middle of planning and half in the middle of sending, taken up again by
`clarion resume` (after SIGTERM also at once, while it is still leaving), killed again, and in the end held
against the log of the provider. Of some runs a sender process is killed, and the run goes on by itself. That
provider answers 5 % of the calls with a server error, hangs up on 3 % (on half of these after accepting),
refuses 2 % of the recipients, and takes 2 s for its answers, or 20 ms in every other round. Some runs send
again what was never answered (`on_unknown: resend`), and at their end what died with a process. What each
count means is told in `tests/faults/checks.py`. A blow that came too late is not counted.

Exit code 1 where anything was violated.
"""

import argparse
import itertools
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from tests.faults.campaign import Campaign
from tests.faults.checks import Moment
from tests.faults.harness import Blow, Findings, Torment
from tests.faults.processes import Processes
from tests.integration.ledger_databases import PostgresqlServer, SqliteFiles, postgresql_server

BLOWS_OF_A_RUN: dict[Moment, int] = {"planning": 3, "sending": 2}
"""Few while it sends, so that each kind meets the slow provider and the fast one."""

NUMBERS = (
    "kills", "restarts", "items", "requests", "accepted", "duplicates", "lost", "untrue", "other violations",
    "unknown", "most of a kill",
)  # fmt: skip

OnUnknown = Literal["hold", "resend"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One row of the table: what is killed how, and when."""

    database: str
    blow: Blow
    on_unknown: OnUnknown = "hold"

    def __str__(self) -> str:
        return ", ".join(self.cells())

    def cells(self) -> tuple[str, ...]:
        """What names the row: the database, the runner, the signal, the moment, what becomes of unknowns."""
        blow = self.blow
        signal = {"KILL": "kill -9", "TERM": "TERM"}[blow.signal]
        manner = ", resumed at once" if blow.overlapped else " of a sender" if blow.child else ""
        return self.database, blow.runner, signal + manner, blow.moment, self.on_unknown


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

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            kills=self.kills + other.kills,
            restarts=self.restarts + other.restarts,
            items=self.items + other.items,
            requests=self.requests + other.requests,
            accepted=self.accepted + other.accepted,
            unknown=self.unknown + other.unknown,
            most_left=max(self.most_left, other.most_left),
            violations=self.violations + other.violations,
        )

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
    Kind(database=database, blow=blow, on_unknown=on_unknown)
    for database in ("sqlite", "postgresql")
    for blow, on_unknown in (
        (Blow(signal="KILL", moment="planning"), "hold"),
        (Blow(signal="TERM", moment="planning"), "hold"),
        (Blow(signal="TERM", moment="planning", overlapped=True), "hold"),
        (Blow(signal="KILL", moment="planning", runner="process"), "hold"),
        (Blow(signal="TERM", moment="planning", runner="process"), "hold"),
        (Blow(signal="KILL", moment="sending"), "hold"),
        (Blow(signal="KILL", moment="sending"), "resend"),
        (Blow(signal="TERM", moment="sending"), "hold"),
        (Blow(signal="TERM", moment="sending", overlapped=True), "hold"),
        (Blow(signal="KILL", moment="sending", runner="process"), "hold"),
        (Blow(signal="TERM", moment="sending", runner="process"), "hold"),
        (Blow(signal="KILL", moment="sending", runner="process", child=True), "hold"),
        (Blow(signal="KILL", moment="sending", runner="process", child=True), "resend"),
        (Blow(signal="TERM", moment="sending", runner="process", child=True), "hold"),
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
            _campaign(kind, latency_ms=latency_ms, seed=seed),
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


def _campaign(kind: Kind, *, latency_ms: float, seed: int) -> Campaign:
    """A long list where the planning is killed; many recipients where the sending is."""
    rows, step = 30_000, 100
    if kind.blow.moment == "sending":
        rows, step = (4_000 if latency_ms > 1_000 else 12_000), 2
    return Campaign(rows=rows, step=step, latency_ms=latency_ms, seed=seed, on_unknown=kind.on_unknown)


def torture(bench: Bench, *, kills: int) -> dict[Kind, Tally]:
    """Kills until every kind has its share; kinds in turn, slow and fast provider in turn.

    Half of the kills is for the kinds that are killed while planning.
    """
    moments = Counter(kind.blow.moment for kind in KINDS)
    shares = {kind: -(-kills // (2 * moments[kind.blow.moment])) for kind in KINDS}
    tallies = {kind: Tally() for kind in KINDS}
    for latency_ms in itertools.cycle((2_000, 20)):
        missing = {kind: shares[kind] - tally.kills for kind, tally in tallies.items()}
        if not any(left > 0 for left in missing.values()):
            break
        for kind, left in missing.items():
            if left > 0:
                blows = min(BLOWS_OF_A_RUN[kind.blow.moment], left)
                tallies[kind].add(bench.torment(kind, kills=blows, latency_ms=latency_ms), kind)
    return tallies


def _table(names: Sequence[str], rows: Mapping[tuple[str, ...], Tally]) -> Table:
    """A row for each name, and one for all."""
    table = Table(*names, box=box.MARKDOWN)
    for name in NUMBERS:
        table.add_column(name, justify="right")
    whole = sum(rows.values(), Tally())
    for cells, tally in {**rows, ("all", *[""] * (len(names) - 1)): whole}.items():
        table.add_row(*cells, *(f"{number:,}" for number in tally.cells()))
    return table


def _by_database_and_runner(tallies: Mapping[Kind, Tally]) -> dict[tuple[str, ...], Tally]:
    rows: dict[tuple[str, ...], Tally] = {}
    for kind, tally in tallies.items():
        name = kind.database, kind.blow.runner
        rows[name] = rows.get(name, Tally()) + tally
    return rows


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
    console = Console(width=200)
    by_kind = {kind.cells(): tally for kind, tally in tallies.items()}
    console.print(_table(("database", "runner", "signal", "while", "on unknown"), by_kind))
    console.print(_table(("database", "runner"), _by_database_and_runner(tallies)))
    if any(tally.violations for tally in tallies.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
