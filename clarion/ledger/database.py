"""The database behind the ledger: SQLite for one machine, PostgreSQL for several.

SQLite runs in WAL mode, every write begins IMMEDIATE (a deferred transaction that turns writer late fails
at once instead of waiting) and commits with synchronous=FULL, so that a claim survives a power cut.
"""

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from clarion.errors import LedgerError, SettingError
from clarion.ledger.migrate import upgrade
from clarion.ledger.tables import UtcDateTime

DATABASE_URL_SETTING = "CLARION_DATABASE_URL"
HOME_SETTING = "CLARION_HOME"
BUSY_TIMEOUT_SECONDS = 60
WAL_RETRY_SECONDS = 0.01


class utc_now(GenericFunction[Any]):  # noqa: N801  # reads as the SQL function it is
    """The database's clock, advancing within a transaction."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _sqlite_now(element: utc_now, compiler: Any, **options: Any) -> str:  # noqa: ARG001
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(utc_now, "postgresql")
def _postgresql_now(element: utc_now, compiler: Any, **options: Any) -> str:  # noqa: ARG001
    return "clock_timestamp()"


def clarion_home() -> Path:
    """The folder of the embedded database: CLARION_HOME, else `~/.clarion`."""
    given = os.environ.get(HOME_SETTING)
    return Path(given) if given else Path.home() / ".clarion"


def database_url() -> str:
    """CLARION_DATABASE_URL, else the SQLite file in Clarion's home."""
    return os.environ.get(DATABASE_URL_SETTING) or f"sqlite:///{clarion_home() / 'clarion.db'}"


class Database:
    """One engine and its two kinds of transaction.

    Args:
        url: An SQLAlchemy URL of SQLite or PostgreSQL; None means the setting, or its default.

    Raises:
        SettingError: The URL is no URL, or names a database that Clarion does not run on.
        LedgerVersionError: A newer Clarion has written the database.
        LedgerError: The database cannot be reached.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = url or database_url()
        self.engine = _engine(self.url)
        self.dialect = self.engine.dialect.name
        try:
            upgrade(self.engine)
        except DBAPIError as exc:
            self.close()
            reason = str(exc.orig).strip().splitlines()[0]
            raise LedgerError(f"cannot open the database {self.display_url}: {reason}") from exc
        except BaseException:
            self.close()
            raise

    @property
    def display_url(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A transaction that may write; commits at its end, rolls back on an exception."""
        with self.engine.connect().execution_options(clarion_write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A transaction that only reads, one snapshot from first to last statement on SQLite."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingError(
            "is not a database URL",
            where=DATABASE_URL_SETTING,
            expected="sqlite:///FILE or postgresql://USER@HOST/NAME",
        ) from None
    kind = parsed.get_backend_name()
    if kind in {"postgresql", "postgres"}:
        return _postgresql_engine(parsed.set(drivername="postgresql+psycopg"))
    if kind != "sqlite":
        raise SettingError(
            f"names the database {kind!r}", where=DATABASE_URL_SETTING, expected="sqlite or postgresql"
        )
    if parsed.database in {None, "", ":memory:"}:
        raise SettingError(
            "names a database in memory, which would lose the ledger",
            where=DATABASE_URL_SETTING,
            expected="sqlite:///FILE",
        )
    folder = Path(str(parsed.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise LedgerError(f"cannot make the folder {folder} of the database: {exc.strerror}") from exc
    return _sqlite_engine(parsed.set(drivername="sqlite"))


def _postgresql_engine(url: sa.URL) -> Engine:
    try:
        return sa.create_engine(
            url, pool_pre_ping=True, hide_parameters=True, connect_args={"connect_timeout": 10}
        )
    except (ModuleNotFoundError, NoSuchModuleError):
        raise SettingError(
            "names PostgreSQL, whose driver is not installed",
            where=DATABASE_URL_SETTING,
            expected="pip install 'clarion[postgres]'",
        ) from None


def _sqlite_engine(url: sa.URL) -> Engine:
    engine = sa.create_engine(
        url,
        hide_parameters=True,  # an error never repeats a recipient
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, record: Any) -> None:  # noqa: ARG001
        connection.isolation_level = None  # the driver begins nothing by itself
        _use_wal(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("clarion_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine, "close")
    def _roll_back(connection: sqlite3.Connection, record: Any) -> None:  # noqa: ARG001
        # SQLAlchemy closes a connection that a signal's exception interrupted as it is; and as long as the
        # traceback holds the open statement, SQLite would hold the closed connection's lock.
        connection.rollback()

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two who turn a new file to WAL at once are refused at once, whatever the time-out: one tries again."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_SECONDS)
        else:
            return
