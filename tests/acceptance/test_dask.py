"""A run on a Dask cluster of two processes, on PostgreSQL, one of them killed."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from clarion.ledger.database import Database
from clarion.ledger.runs import list_runs
from clarion.ledger.tables import RUN_ITEM, WORKER
from clarion.sandbox import Behaviour, Sandbox
from flows.run_job import run_job
from tests.acceptance.campaigns import write_job, write_people
from tests.acceptance.installations import wait_for
from tests.integration.ledger_databases import PostgresqlServer

pytest.importorskip("prefect_dask", reason="the extra dask is not installed")

PEOPLE = 800
MOST_CLAIMS = 256
ARRIVAL_SECONDS = 1.0
"""Results that a stopped process had sent to the database may still arrive there."""


@pytest.fixture
def ledger(postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty PostgreSQL ledger, the one that the settings name."""
    url = postgresql.migrated()
    monkeypatch.setenv("CLARION_DATABASE_URL", url)
    database = Database(url)
    yield database
    database.close()
    postgresql.drop(url)


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The setting: the runner `dask`, with two processes of its own."""
    monkeypatch.setenv("CLARION_RUNNER", "dask")
    monkeypatch.setenv("CLARION_WORKERS", "2")
    monkeypatch.chdir(tmp_path)


def cluster_pids(ledger: Database) -> set[int]:
    """The processes besides this one that hold a lease."""
    with ledger.read() as connection:
        return set(connection.scalars(sa.select(WORKER.c.pid))) - {os.getpid()}


def calls_of(ledger: Database, pid: int) -> int:
    """How many calls of a process wait for their answer, as the ledger knows."""
    tokens = sa.select(WORKER.c.token).where(WORKER.c.pid == pid)
    with ledger.read() as connection:
        calling = sa.select(sa.func.count()).where(
            RUN_ITEM.c.status == "sending", RUN_ITEM.c.claim_token.in_(tokens)
        )
        return connection.scalars(calling).one()


def kill_one(ledger: Database, sandbox: Sandbox) -> None:
    """Kills one process of the cluster in the middle of its work: stopped first, so that it stays there."""

    def stopped() -> int | None:
        pids = cluster_pids(ledger)
        if len(pids) < 2 or sandbox.stats()["requests"] < PEOPLE // 8:
            return None
        os.kill(min(pids), signal.SIGSTOP)
        time.sleep(ARRIVAL_SECONDS)
        if calls_of(ledger, min(pids)):
            return min(pids)
        os.kill(min(pids), signal.SIGCONT)
        return None

    os.kill(wait_for(stopped, what="two processes at work"), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore")  # Dask's own, of the process that was killed
def test_dask_run_survives_the_death_of_one_of_two_processes(
    prefect_server: None, two_workers: None, tmp_path: Path, ledger: Database
):
    """Everything is settled, nobody gets a message twice, and at most what it had claimed is unknown."""
    write_people(tmp_path, PEOPLE)
    job = write_job(tmp_path, recipient="{{ item.phone }}")
    with Sandbox(Behaviour(latency_ms=200, error=0.01)) as sandbox:
        killer = threading.Thread(target=kill_one, args=(ledger, sandbox))
        killer.start()
        report = run_job(job, against=sandbox.url)  # ty: ignore[no-matching-overload]  # it takes paths too
        killer.join()
        accepted = Counter(each["recipient"] for each in sandbox.requests() if each["verdict"] == "accepted")
    counts = report["counts"]
    assert report["status"] == "unresolved"
    assert counts["pending"] == counts["sending"] == counts["failed"] == 0
    assert counts["succeeded"] + counts["unknown"] == PEOPLE
    assert 0 < counts["unknown"] <= MOST_CLAIMS
    assert max(accepted.values()) == 1
    assert len(accepted) >= counts["succeeded"]
    with ledger.read() as connection:
        assert connection.scalars(sa.select(sa.func.count(sa.distinct(RUN_ITEM.c.claim_token)))).one() >= 2
    assert cluster_pids(ledger) == set()


@pytest.mark.filterwarnings("ignore")  # Dask's own, of a cluster that is closed at work
def test_dask_run_leaves_nothing_unknown_when_it_is_interrupted(
    prefect_server: None, two_workers: None, tmp_path: Path, ledger: Database
):
    """The cluster's processes hear through the ledger that the flow leaves, and give back what is unsent."""
    write_people(tmp_path, PEOPLE)
    job = write_job(tmp_path, recipient="{{ item.phone }}")
    with Sandbox(Behaviour(latency_ms=500)) as sandbox:

        def interrupt() -> None:
            wait_for(lambda: sandbox.stats()["requests"] >= PEOPLE // 8 or None, what="requests")
            signal.raise_signal(signal.SIGINT)

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            run_job(job, against=sandbox.url)  # ty: ignore[no-matching-overload]  # it takes paths too
        interrupter.join()
    (run,) = list_runs(ledger, limit=9)
    assert (run.status, run.unknown, run.sending) == ("interrupted", 0, 0)
    assert run.pending + run.succeeded == PEOPLE
    assert run.pending > 0
    assert cluster_pids(ledger) == set()
