"""Runs the migrations on the connection that `clarion.ledger.migrate` hands over."""

from alembic import context

import clarion.ledger.answer_tables  # noqa: F401  # its tables are of the same metadata
from clarion.ledger.migrate import VERSION_TABLE
from clarion.ledger.tables import LedgerTable

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=LedgerTable.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
