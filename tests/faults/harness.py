"""The fault test bench: a run is killed in the middle, restarted, killed again, held against the provider.

The run is a process of its own, the provider a real HTTP server in this one. When to kill is random; that it
was in the middle is read off afterwards, from the provider's log and the ledger (`Death.moment`). A blow that
came too late is not counted. What must hold is told in `tests.faults.checks`.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import sqlalchemy as sa

from clarion.ledger.database import Database
from clarion.ledger.runs import list_runs
from clarion.ledger.tables import RUN, RUN_ITEM, WORKER
from clarion.sandbox import Sandbox
from clarion.sources import FRAME_ROWS
from tests.faults.campaign import Campaign
from tests.faults.checks import (
    STATUSES,
    Death,
    Item,
    Ledger,
    Moment,
    Request,
    Signal,
    Violations,
    check_death,
    check_end,
    worker_lost,
)
from tests.faults.processes import Processes

LOOK_SECONDS = 0.005
MOST_SECONDS = 180.0
"""Longer than anything takes, a lease and the slowest machine included: beyond it something hangs."""

PLANNING_SECONDS = 0.02
"""A chunk of the plan takes longer: a blow that is up to so much later still comes before the plan's end."""

EARLY = 0.25
"""How often a process is killed before it has taken away the half plan of the one before it."""

CONNECTIONS = 256
"""As many calls on their way as there may be claims: at 2 s latency a kill then leaves the most unknown."""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """A process to be killed: by which signal, in the middle of what.

    `overlapped`: the run is taken up again while the process is still leaving, which takes it some seconds.
    """

    signal: Signal
    moment: Moment
    overlapped: bool = False


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a tormented run came to."""

    deaths: Sequence[Death]
    starts: int
    ledger: Ledger
    requests: Sequence[Request]
    violations: Violations

    @property
    def most_left(self) -> int:
        """The most items that one killed process left in sending."""
        return max((death.left for death in self.deaths), default=0)

    @property
    def worker_lost(self) -> int:
        """How many items are unknown because their process died."""
        return worker_lost(self.ledger)


class Torment:
    """Runs one campaign to its end through a series of blows.

    Args:
        campaign: What is run.
        database_url: An empty ledger.
        processes: What starts the command.
        folder: An empty folder for the list, the job and the output.
        chance: Decides when each blow comes.
    """

    def __init__(
        self,
        campaign: Campaign,
        *,
        database_url: str,
        processes: Processes,
        folder: Path,
        chance: random.Random,
    ) -> None:
        self._campaign = campaign
        self._database = Database(database_url)
        self._settings = {"CLARION_DATABASE_URL": database_url, "CLARION_CONNECTIONS": str(CONNECTIONS)}
        self._processes = processes
        self._folder = folder
        self._chance = chance
        self._job = campaign.write(folder)
        self._sandbox = Sandbox(campaign.behaviour)
        self._deaths: list[Death] = []
        self._starts = 0
        self._next: BaseProcess | None = None
        self._violations = Violations()

    def suffer(self, blows: Sequence[Blow]) -> Findings:
        """Starts the run, kills it once a blow, and lets the last restart bring it to its end."""
        try:
            with self._sandbox:
                for blow in blows:
                    if blow.moment == "sending" or not self._planned():
                        self._strike(blow)
                self._finish()
            return self._findings()
        finally:
            self._database.close()

    def _strike(self, blow: Blow) -> None:
        process = self._next or self._start()
        wait = self._wait_for_planning if blow.moment == "planning" else self._wait_for_sending
        wait(process)
        (process.kill if blow.signal == "KILL" else process.terminate)()
        self._next = self._start() if blow.overlapped else None
        self._join(process)
        requests = (
            self._requests_so_far()
        )  # before the ledger is read: the next process may be at work already
        death = Death(
            signal=blow.signal,
            pid=process.pid or 0,
            ledger=read_ledger(self._database),
            requests=requests,
            overlapped=blow.overlapped,
        )
        self._deaths.append(death)
        self._violations += check_death(death)

    def _finish(self) -> None:
        process = self._next or self._start()
        self._join(process)
        if process.exitcode not in {0, 3}:
            self._violations["failed"] += 1

    def _findings(self) -> Findings:
        ledger = read_ledger(self._database)
        requests = [
            Request(each["recipient"], each["headers"].get("idempotency-key", ""), each["verdict"])
            for each in self._sandbox.requests()
        ]
        ended = check_end(
            ledger,
            rows=self._campaign.rows,
            recipients=self._campaign.recipients,
            requests=requests,
            deaths=self._deaths,
        )
        return Findings(
            deaths=[death for death in self._deaths if death.moment != "missed"],
            starts=self._starts,
            ledger=ledger,
            requests=requests,
            violations=self._violations + ended,
        )

    def _start(self) -> BaseProcess:
        """Starts the run, or takes it up again where there is one."""
        again = bool(list_runs(self._database, limit=1))
        arguments = ("resume", "last") if again else ("run", str(self._job), "--against", self._sandbox.url)
        self._starts += 1
        return self._processes.start(*arguments, folder=self._folder, settings=self._settings)

    def _wait_for_planning(self, process: BaseProcess) -> None:
        """Waits until this very process plans, and a random part of the list is stored, or nothing of it yet.

        In one case of four what the process before it has stored counts as well: then the blow comes while
        that is cleared away, or just before.
        """
        place = self._chance.randrange(-FRAME_ROWS, self._campaign.rows - 2 * FRAME_ROWS)
        before = sum(run.total for run in list_runs(self._database, limit=1))
        cleared = not before or self._chance.random() < EARLY

        def there() -> bool:
            nonlocal cleared
            run = next(iter(list_runs(self._database, limit=1)), None)
            if run is None or not self._holds_lease(process):
                return False
            cleared = cleared or run.total < before
            return run.planned_at is not None or (cleared and run.total >= place)

        self._wait(process, there)
        time.sleep(self._chance.uniform(0, PLANNING_SECONDS))

    def _wait_for_sending(self, process: BaseProcess) -> None:
        """Waits for a random part of the requests to come, and then for any time up to their answers."""
        before = self._requests_so_far()
        run = next(iter(list_runs(self._database, limit=1)), None)
        left = run.pending if run and run.planned_at else len(self._campaign.recipients)
        wanted = before + self._chance.randint(1, max(1, left // 3))
        self._wait(process, lambda: self._requests_so_far() >= wanted)
        time.sleep(self._chance.uniform(0, self._campaign.latency_ms / 1_000))

    def _wait(self, process: BaseProcess, there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + MOST_SECONDS
        while process.is_alive() and not there():
            if time.monotonic() > deadline:
                process.kill()
                raise TimeoutError(f"the run came nowhere:\n{self._output()}")
            time.sleep(LOOK_SECONDS)
        if not list_runs(self._database, limit=1):
            raise RuntimeError(f"there is no run:\n{self._output()}")

    def _join(self, process: BaseProcess) -> None:
        process.join(MOST_SECONDS)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"the run did not end:\n{self._output()}")

    def _output(self) -> str:
        return (self._folder / "output.txt").read_text(encoding="utf-8")

    def _requests_so_far(self) -> int:
        return self._sandbox.stats()["requests"]

    def _planned(self) -> bool:
        return any(run.planned_at for run in list_runs(self._database, limit=1))

    def _holds_lease(self, process: BaseProcess) -> bool:
        with self._database.read() as connection:
            return process.pid in connection.scalars(sa.select(WORKER.c.pid)).all()


def read_ledger(database: Database) -> Ledger:
    """The newest run, in one snapshot: what a dead process has sent to PostgreSQL may still be committed."""
    level = "REPEATABLE READ" if database.dialect == "postgresql" else "SERIALIZABLE"
    columns = [RUN_ITEM.c[name] for name in Item._fields]
    with database.engine.connect().execution_options(isolation_level=level) as connection:
        run = connection.execute(RUN.select().order_by(RUN.c.id.desc()).limit(1)).one()
        items = connection.execute(sa.select(*columns).where(RUN_ITEM.c.run_id == run.id))
        leases = connection.execute(sa.select(WORKER.c.token, WORKER.c.pid))
        return Ledger(
            status=run.status,
            planned=run.planned_at is not None,
            counts={name: run._mapping[name] for name in ("total", *STATUSES)},
            items=[Item(*item) for item in items],
            leases={lease.token: lease.pid for lease in leases},
        )
