"""Fixtures for all tests."""

import os
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion.ledger.database import Database
from tests.integration.ledger_databases import KINDS, PostgresqlServer, SqliteFiles, postgresql_server

TESTS = Path(__file__).parent

# Prefect's client reports its use to its makers: tests talk to this machine only.
os.environ.setdefault("DO_NOT_TRACK", "1")
# As the command line sets it; and Prefect's handler would write to a stream that a test captured and closed.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
# What signs links: a test that makes some leaves no key in the home of whoever runs it.
os.environ.setdefault("CLARION_SECRET_KEY", "0123456789abcdef" * 4)
# A shell ignores Ctrl-C for what it starts in the background, and its children inherit that: tests that press
# it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


MOST_WORKERS = 8


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: the long tests mostly wait, for leases, back-offs and servers that start."""
    return min(2 * (os.cpu_count() or 1), MOST_WORKERS)


PREFECT_SERVERS = 2
"""Workers that have a Prefect server: each costs half a minute of work, at its start and when idle."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a server stays with one worker (`--dist loadgroup`); the long tests come first.

    Else each worker would start a server of every kind, and the last long test would run while all others
    have nothing left.
    """
    order = {"acceptance": 0, "integration": 1, "unit": 2}
    items.sort(key=lambda item: order[item.path.relative_to(TESTS).parts[0]])
    for item in items:
        fixtures = item.fixturenames if isinstance(item, pytest.Function) else ()
        if "installation" in fixtures:
            item.add_marker(pytest.mark.xdist_group("installation"))
        elif "prefect_server" in fixtures:
            share = zlib.crc32(item.path.name.encode()) % PREFECT_SERVERS
            item.add_marker(pytest.mark.xdist_group(f"prefect-{share}"))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of the session's own, with an empty database; one for all, as it starts slowly."""
    # Imported late: tests of the core run without Prefect.
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    # A heartbeat costs each flow run a second; the server's analytics would leave this machine.
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server of the session's own."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    """A folder for the session's SQLite databases."""
    return SqliteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=KINDS)
def databases(request: pytest.FixtureRequest) -> SqliteFiles | PostgresqlServer:
    """What makes databases: a test that asks for it runs once on each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def empty_url(databases: SqliteFiles | PostgresqlServer) -> Iterator[str]:
    """The URL of a database without tables."""
    url = databases.empty()
    yield url
    databases.drop(url)


@pytest.fixture
def database_url(databases: SqliteFiles | PostgresqlServer) -> Iterator[str]:
    """The URL of a database with the ledger's tables."""
    url = databases.migrated()
    yield url
    databases.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A ledger with nothing in it, once on SQLite and once on PostgreSQL."""
    database = Database(database_url)
    yield database
    database.close()
