"""Brings a database to this version's tables. An older one upgrades itself; a newer one is refused."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from clarion.errors import LedgerVersionError

VERSION_TABLE = "clarion_version"
"""Not Alembic's default name: the database may be shared with Prefect's own server."""

_UPGRADE_LOCK = 0x636C6172  # any number that is ours: PostgreSQL's advisory locks are numbers


def upgrade(engine: Engine) -> None:
    """Creates or upgrades the tables; several processes may call it at once.

    Raises:
        LedgerVersionError: The database knows a revision that this version does not.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection, connection.begin():
        if _revision(connection) == script.get_current_head():
            return
    with engine.connect().execution_options(clarion_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        _refuse_newer(script, _revision(connection))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _refuse_newer(script: ScriptDirectory, revision: str | None) -> None:
    known = {each.revision for each in script.walk_revisions()}
    if revision is not None and revision not in known:
        raise LedgerVersionError(
            f"the database is at revision {revision}, which a newer Clarion wrote; "
            f"this one knows up to {script.get_current_head()}: upgrade Clarion"
        )
