"""Migrations: every database comes to this version's tables by itself, or is refused."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import clarion.ledger.answer_tables  # noqa: F401  # its tables are of the same metadata
from clarion.errors import LedgerError, LedgerVersionError, SettingError
from clarion.ledger import database as database_module
from clarion.ledger.database import DATABASE_URL_SETTING, HOME_SETTING, Database, database_url
from clarion.ledger.migrate import VERSION_TABLE, _config
from clarion.ledger.runs import create_run, list_runs
from clarion.ledger.tables import LedgerTable
from tests.integration.ledger_runs import NEW_RUN

SCRIPT = ScriptDirectory.from_config(_config())
REVISIONS = [script.revision for script in SCRIPT.walk_revisions()][::-1]
HEAD = SCRIPT.get_current_head()


def revision_of(database: Database) -> str:
    """The revision that a database says it is at."""
    with database.read() as connection:
        return connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar_one()  # noqa: S608  # a constant


def bare_engine(url: str) -> sa.Engine:
    """A connection that knows nothing of the ledger."""
    return sa.create_engine(sa.make_url(url))


def schema_of(engine: sa.Engine) -> dict[str, Any]:
    """Everything that the database says of its tables, without the version's."""
    look = sa.inspect(engine)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"])
                for column in look.get_columns(table)
            },
            "primary key": look.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(map(repr, look.get_unique_constraints(table))),
            "foreign keys": sorted(
                (key["constrained_columns"], key["referred_table"]) for key in look.get_foreign_keys(table)
            ),
            "indexes": {
                index["name"]: (
                    index["column_names"],
                    bool(index["unique"]),
                    sorted((name, str(value)) for name, value in index.get("dialect_options", {}).items()),
                )
                for index in look.get_indexes(table)
            },
        }
        for table in sorted(set(look.get_table_names()) - {VERSION_TABLE})
    }


def test_empty_database_is_created_by_itself(empty_url: str):
    """The first command of a new installation needs no step before it."""
    database = Database(empty_url)
    assert create_run(database, NEW_RUN).status == "scheduled"
    assert revision_of(database) == HEAD
    database.close()


def test_migrated_tables_are_the_models(database: Database):
    """Alembic finds nothing to migrate."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True},
        )
        assert compare_metadata(context, LedgerTable.metadata) == []


def test_migrated_schema_is_what_the_models_would_create(database: Database, empty_url: str):
    """Columns, keys, constraints and partial indexes, which Alembic does not compare, are all the same."""
    if empty_url.startswith("sqlite"):
        empty_url += "-models"
    engine = bare_engine(empty_url)
    LedgerTable.metadata.create_all(engine)
    created = schema_of(engine)
    engine.dispose()
    assert schema_of(database.engine) == created
    assert set(created) == set(LedgerTable.metadata.tables)
    assert "status" in str(created["run_item"]["indexes"]["run_item_due"])


def test_migrations_are_one_line_of_revisions():
    """Two branches would leave it open what comes next."""
    assert len(SCRIPT.get_heads()) == 1
    assert len(SCRIPT.get_bases()) == 1


@pytest.mark.parametrize("revision", ["base", *REVISIONS[:-1]])
def test_older_database_upgrades_itself(empty_url: str, revision: str):
    """A database of any version before this one is at this one's tables once it is opened."""
    engine = bare_engine(empty_url)
    with engine.connect() as connection, connection.begin():
        if revision == "base":
            connection.exec_driver_sql(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) PRIMARY KEY)")
        else:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    engine.dispose()
    database = Database(empty_url)
    assert revision_of(database) == HEAD
    assert create_run(database, NEW_RUN).total == 0
    database.close()


def test_database_that_is_up_to_date_is_left_alone(database: Database, database_url: str):
    """Opening it again changes nothing in it."""
    run = create_run(database, NEW_RUN)
    before = schema_of(database.engine)
    again = Database(database_url)
    assert [each.id for each in list_runs(again, limit=9)] == [run.id]
    assert schema_of(again.engine) == before
    again.close()


def test_database_of_a_newer_version_is_refused(empty_url: str):
    """What this version does not know it does not touch; the message says what to do."""
    Database(empty_url).close()
    engine = bare_engine(empty_url)
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608  # a constant
    before = schema_of(engine)
    with pytest.raises(LedgerVersionError) as told:
        Database(empty_url)
    assert str(told.value) == (
        "the database is at revision 9999, which a newer Clarion wrote; "
        f"this one knows up to {HEAD}: upgrade Clarion"
    )
    assert schema_of(engine) == before
    engine.dispose()


def test_failed_upgrade_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch):
    """An upgrade is one transaction: cut off half way, the next one finds what the first one found."""
    engine = bare_engine(empty_url)

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", cut_off)
    with pytest.raises(KeyboardInterrupt):
        Database(empty_url)
    assert schema_of(engine) == {}
    engine.dispose()
    monkeypatch.undo()
    Database(empty_url).close()


def test_database_is_created_by_many_threads_at_once(empty_url: str):
    """All of them open it, and one creates the tables."""
    start = threading.Barrier(6)

    def open_it(_: int) -> str:
        start.wait()
        database = Database(empty_url)
        revision = revision_of(database)
        database.close()
        return revision

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(open_it, range(6))) == [HEAD] * 6


OPEN_WHEN_TOLD = """
import sys
from clarion.ledger.database import Database
print("ready", flush=True)
sys.stdin.readline()
Database(sys.argv[1]).close()
"""


def test_database_is_created_by_two_processes_at_once(empty_url: str):
    """The command line and a worker may meet a new database at the same moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_WHEN_TOLD, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    database = Database(empty_url)
    assert revision_of(database) == HEAD
    database.close()


def test_database_url_comes_from_the_setting_or_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The setting first, else a file in Clarion's home, which is made."""
    monkeypatch.delenv(DATABASE_URL_SETTING, raising=False)
    monkeypatch.setenv(HOME_SETTING, str(tmp_path / "new" / "home"))
    assert database_url() == f"sqlite:///{tmp_path}/new/home/clarion.db"
    database = Database()
    assert (tmp_path / "new" / "home" / "clarion.db").is_file()
    database.close()
    monkeypatch.setenv(DATABASE_URL_SETTING, "postgresql://ann@db/clarion")
    assert database_url() == "postgresql://ann@db/clarion"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is not a database URL"),
        ("mysql://root@localhost/x", "names the database 'mysql'"),
        ("sqlite://", "names a database in memory"),
        ("sqlite:///:memory:", "names a database in memory"),
    ],
)
def test_database_that_clarion_does_not_run_on_is_refused(url: str, message: str):
    """The setting is named, and what it may be."""
    with pytest.raises(SettingError, match=message) as told:
        Database(url)
    assert told.value.where == DATABASE_URL_SETTING
    assert told.value.expected


def test_file_that_is_no_database_is_told_of(tmp_path: Path):
    """A wrong path is a message, not a traceback."""
    path = tmp_path / "notes.txt"
    path.write_text("nothing like a database, but long enough to be taken for one" * 20)
    with pytest.raises(LedgerError, match=r"cannot open the database .*notes\.txt: file is not a database"):
        Database(f"sqlite:///{path}")
    assert path.read_text().startswith("nothing like")


def test_folder_that_cannot_be_made_is_told_of(tmp_path: Path):
    """A file stands where the database's folder would be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot make the folder"):
        Database(f"sqlite:///{tmp_path}/file/sub/clarion.db")


def test_server_that_is_not_there_is_told_of_without_its_password(tmp_path: Path):
    """The message shows where, and no secret."""
    with pytest.raises(LedgerError, match="cannot open the database") as told:
        Database(f"postgresql://ann:secret-word@/clarion?host={tmp_path}")
    assert "secret-word" not in str(told.value)


def test_sqlite_url_of_an_asynchronous_driver_is_understood(tmp_path: Path):
    """People have such a URL from Prefect's own settings."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/clarion.db")
    assert list_runs(database, limit=1) == []
    database.close()


def test_sqlite_waits_for_the_disk_and_for_other_writers(tmp_path: Path):
    """What is committed survives a power cut, and a second process waits its turn."""
    database = Database(f"sqlite:///{tmp_path}/clarion.db")
    with database.write() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 60_000}
    database.close()


def test_sqlite_file_that_another_process_is_making_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where the other one holds the new file, turning it to WAL is refused at once; then it succeeds."""
    path = tmp_path / "clarion.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        other.rollback()

    monkeypatch.setattr(database_module.time, "sleep", let_go)
    mine = sqlite3.connect(path, timeout=0)
    database_module._use_wal(mine)
    assert len(waits) == 1
    assert mine.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    mine.close()
    other.close()
