"""The fault test bench: a run is killed in the middle, restarted, killed again, held against the provider.

The run is a process of its own, with or without sender processes, the provider a real HTTP server in this
one. When to kill is random; that it was in the middle is read off afterwards, from the provider's log and the
ledger (`Death.moment`). A blow that came too late is not counted. What must hold is told in
`tests.faults.checks`.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

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
    check_unknown,
    is_lost,
    worker_lost,
)
from tests.faults.processes import Processes, lives

LOOK_SECONDS = 0.005
MOST_SECONDS = 180.0
"""Longer than anything takes, a lease and the slowest machine included: beyond it something hangs."""

PLANNING_SECONDS = 0.02
"""A chunk of the plan takes longer: a blow that is up to so much later still comes before the plan's end."""

EARLY = 0.25
"""How often a process is killed before it has taken away the half plan of the one before it."""

CONNECTIONS = 256
"""As many calls on their way as there may be claims: at 2 s latency a kill then leaves the most unknown."""

SENDERS = 2
"""Sender processes of a run with the runner `process`."""

DONE = frozenset({0, 3})
"""Exit codes of a run that has ended: completed, unresolved."""

RunnerName = Literal["thread", "process"]


@dataclass(frozen=True, kw_only=True)
class Blow:
    """A process to be killed: by which signal, in the middle of what.

    `overlapped`: the run is taken up again while the process is still leaving, which takes it some seconds.
    `runner`: what sends in a run that is started for this blow, or after it. `child`: a sender process is
    killed, the flow's goes on; that is in the middle of sending, before it there is no lease to know it by.
    """

    signal: Signal
    moment: Moment
    overlapped: bool = False
    runner: RunnerName = "thread"
    child: bool = False


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a tormented run came to. `ledger` is the run at its end, before anything was sent again."""

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
        self._settings = {
            "CLARION_DATABASE_URL": database_url,
            "CLARION_CONNECTIONS": str(CONNECTIONS),
            "CLARION_WORKERS": str(SENDERS),
        }
        self._processes = processes
        self._folder = folder
        self._chance = chance
        self._job = campaign.write(folder)
        self._sandbox = Sandbox(campaign.behaviour)
        self._deaths: list[Death] = []
        self._starts = 0
        self._running: BaseProcess | None = None
        self._runner: RunnerName = "thread"
        self._orphans: set[int] = set()
        """Sender processes whose flow was killed: they leave, and may take some seconds."""
        self._violations = Violations()

    def suffer(self, blows: Sequence[Blow]) -> Findings:
        """Starts the run, kills it once a blow, and lets the last restart bring it to its end."""
        try:
            with self._sandbox:
                for blow in blows:
                    if blow.moment == "sending" or not self._planned():
                        self._strike(blow)
                self._finish()
                ended = read_ledger(self._database)
                self._violations += check_unknown(ended, self._deaths)
                if self._campaign.on_unknown == "resend" and ended.counts["unknown"]:
                    self._resend()
            return self._findings(ended)
        finally:
            self._database.close()

    def _strike(self, blow: Blow) -> None:
        self._runner = blow.runner
        process = self._running = self._running or self._start()
        wait = self._wait_for_planning if blow.moment == "planning" else self._wait_for_sending
        wait(process)
        before = {token: pid for token, pid in self._leases().items() if pid not in self._orphans}
        if blow.child:
            pid = self._kill_sender(blow, flow=process, senders=sorted({*before.values()} - {process.pid}))
        else:
            pid = self._kill_flow(blow, process)
        if pid is None:
            return
        requests = self._requests_so_far()  # before the ledger: the next process may be at work already
        death = Death(
            signal=blow.signal,
            pid=pid,
            ledger=read_ledger(self._database),
            requests=requests,
            before=before,
            overlapped=blow.overlapped,
            child=blow.child,
        )
        if blow.signal == "KILL" and not blow.child:
            self._orphans |= {*before.values()}
        self._deaths.append(death)
        self._violations += check_death(death)

    def _kill_flow(self, blow: Blow, process: BaseProcess) -> int | None:
        planning = process.is_alive() and not self._planned()
        (process.kill if blow.signal == "KILL" else process.terminate)()
        self._running = self._start() if blow.overlapped else None
        self._join(process)
        if planning and process.exitcode in DONE and not blow.overlapped:
            self._violations["unheard"] += 1
        return process.pid

    def _kill_sender(self, blow: Blow, *, flow: BaseProcess, senders: Sequence[int]) -> int | None:
        """Kills one of the sender processes and waits for its end; None where the run has none any more."""
        if not senders or not flow.is_alive():
            return None
        pid = self._chance.choice(senders)
        try:
            os.kill(pid, signal.SIGKILL if blow.signal == "KILL" else signal.SIGTERM)
        except ProcessLookupError:
            return None
        deadline = time.monotonic() + MOST_SECONDS
        while lives(pid) and flow.is_alive():
            if time.monotonic() > deadline:
                raise TimeoutError(f"a sender process did not end:\n{self._output()}")
            time.sleep(LOOK_SECONDS)
        return pid

    def _finish(self) -> None:
        process = self._running or self._start()
        self._join(process)
        if process.exitcode not in DONE:
            self._violations["failed"] += 1

    def _resend(self) -> None:
        """Has everything sent again that is unknown, as a person would."""
        process = self._command("resolve", "last", "--unknown", "resend")
        self._join(process)
        if process.exitcode not in DONE:
            self._violations["failed"] += 1

    def _findings(self, ended: Ledger) -> Findings:
        requests = [
            Request(each["recipient"], each["headers"].get("idempotency-key", ""), each["verdict"])
            for each in self._sandbox.requests()
        ]
        resent = frozenset(str(item.recipient) for item in ended.items if is_lost(item))
        at_last = check_end(
            read_ledger(self._database),
            rows=self._campaign.rows,
            recipients=self._campaign.recipients,
            requests=requests,
            resent=resent if self._campaign.on_unknown == "resend" else None,
        )
        return Findings(
            deaths=[death for death in self._deaths if death.moment != "missed"],
            starts=self._starts,
            ledger=ended,
            requests=requests,
            violations=self._violations + at_last,
        )

    def _start(self) -> BaseProcess:
        """Starts the run, or takes it up again where there is one."""
        again = bool(list_runs(self._database, limit=1))
        arguments = ("resume", "last") if again else ("run", str(self._job), "--against", self._sandbox.url)
        self._starts += 1
        return self._command(*arguments)

    def _command(self, *arguments: str) -> BaseProcess:
        settings = {**self._settings, "CLARION_RUNNER": self._runner}
        return self._processes.start(*arguments, folder=self._folder, settings=settings)

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
        return process.pid in self._leases().values()

    def _leases(self) -> dict[str, int]:
        """Process ids by token."""
        with self._database.read() as connection:
            return {
                lease.token: lease.pid
                for lease in connection.execute(sa.select(WORKER.c.token, WORKER.c.pid))
            }


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
