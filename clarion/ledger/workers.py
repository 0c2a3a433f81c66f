"""Workers and their leases. A claim is good for as long as its worker's lease, by the database's clock."""

import os
import secrets
import socket
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.ledger.database import Database, utc_now
from clarion.ledger.runs import count_changes
from clarion.ledger.tables import RUN, RUN_ITEM, WORKER

LEASE_SECONDS = 10.0
RENEW_SECONDS = 2.0

_PROC = Path("/proc")


def _lease_end(connection: Connection) -> Any:
    now = connection.execute(sa.select(utc_now())).scalar_one()
    return now + timedelta(seconds=LEASE_SECONDS)


def register_worker(database: Database, run_id: int) -> str:
    """A lease for this process on the run; returns its token."""
    with database.write() as connection:
        return add_worker(connection, run_id)


def add_worker(connection: Connection, run_id: int) -> str:
    """A lease for this process on the run, within a transaction; returns its token."""
    token = secrets.token_hex(8)
    connection.execute(
        WORKER.insert().values(
            token=token,
            run_id=run_id,
            host=_host(),
            pid=os.getpid(),
            lease_expires_at=_lease_end(connection),
        )
    )
    return token


def renew_lease(connection: Connection, token: str) -> bool:
    """Renews a lease. False where it has run out: its claims are no longer this worker's."""
    renewed = connection.execute(
        WORKER.update()
        .where(WORKER.c.token == token, WORKER.c.lease_expires_at > utc_now())
        .values(lease_expires_at=_lease_end(connection))
    )
    return renewed.rowcount == 1


def keep_lease(connection: Connection, token: str) -> bool:
    """Renews a lease even after it ran out. False where somebody has ended it."""
    kept = connection.execute(
        WORKER.update().where(WORKER.c.token == token).values(lease_expires_at=_lease_end(connection))
    )
    return kept.rowcount == 1


def retire_worker(database: Database, run_id: int, token: str) -> int:
    """Ends a lease; what it still has in sending becomes unknown. How many those were."""
    with database.write() as connection:
        connection.execute(WORKER.delete().where(WORKER.c.token == token))
        return _orphan(connection, run_id, RUN_ITEM.c.claim_token == token)


def reap_workers(database: Database, run_id: int) -> int:
    """Ends the leases that ran out; what is in sending without a lease becomes unknown. How many those were.

    The lease of a process that is seen to be dead ends at once: nobody waits for it.

    A claim may have been committed after its lease was ended, by a process that was stopped in between:
    therefore not the ended tokens decide, but the living ones.
    """
    living = sa.select(WORKER.c.token).where(WORKER.c.run_id == run_id)
    with database.write() as connection:
        # The lease goes first: it is what a renewal waits for, and items are locked after leases everywhere.
        over = sa.or_(
            WORKER.c.lease_expires_at <= utc_now(), WORKER.c.token.in_(_of_the_dead(connection, run_id))
        )
        connection.execute(WORKER.delete().where(WORKER.c.run_id == run_id, over))
        return _orphan(connection, run_id, RUN_ITEM.c.claim_token.not_in(living))


@cache
def _host() -> str:
    """Where this process's id means something: the machine, and on Linux its boot and its process namespace.

    Without the latter two, containers of one machine would see each other's processes as dead.
    """
    try:
        boot = _PROC.joinpath("sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {_PROC.joinpath('self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _of_the_dead(connection: Connection, run_id: int) -> list[str]:
    """The leases of processes of this machine that are no more; none where that cannot be seen."""
    if " " not in _host():
        return []
    here = sa.select(WORKER.c.token, WORKER.c.pid).where(WORKER.c.run_id == run_id, WORKER.c.host == _host())
    return [worker.token for worker in connection.execute(here) if not _lives(worker.pid)]


def _lives(pid: int) -> bool:
    """Whether a process exists and is no zombie, which only waits for its parent to notice."""
    try:
        os.kill(pid, 0)
        told = _PROC.joinpath(str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return told.rpartition(")")[2].split()[0] not in {"Z", "X"}


def claimed_by_others(database: Database, run_id: int, *, token: str) -> int:
    """Ends the leases that ran out, and counts what the other workers of the run still have in sending.

    Args:
        database: The ledger.
        run_id: The run.
        token: Whose claims are not counted.
    """
    reap_workers(database, run_id)
    theirs = (
        (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.status == "sending") & (RUN_ITEM.c.claim_token != token)
    )
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).where(theirs)).scalar_one()


def live_workers(database: Database, run_id: int) -> int:
    """How many workers hold a lease on the run."""
    living = (WORKER.c.run_id == run_id) & (WORKER.c.lease_expires_at > utc_now())
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).where(living)).scalar_one()


def read_control(connection: Connection, run_id: int) -> str:
    """What a person asked of the run: run, pause or stop."""
    return connection.scalar(sa.select(RUN.c.control).where(RUN.c.id == run_id)) or "stop"


def _orphan(connection: Connection, run_id: int, lost_claims: sa.ColumnElement[bool]) -> int:
    claimed = (
        sa.select(RUN_ITEM.c.id)
        .where(RUN_ITEM.c.run_id == run_id, RUN_ITEM.c.status == "sending", lost_claims)
        .order_by(RUN_ITEM.c.id)
        .with_for_update()
    )
    lost = connection.execute(
        RUN_ITEM.update()
        .where(
            RUN_ITEM.c.id.in_(claimed)
        )  # no CTE: sqlite3 counts no rows of a statement that begins with WITH
        .values(status="unknown", reason="worker-lost", settled_at=utc_now())
    ).rowcount
    count_changes(connection, run_id, {"sending": -lost, "unknown": lost})
    return lost
