"""A signal in the middle of a statement: Ctrl-C and SIGTERM raise where the main thread happens to be."""

from typing import Any

import pytest
from sqlalchemy import event

from clarion.ledger.database import Database
from clarion.ledger.runs import set_status
from tests.integration.ledger_runs import counts, planned_run


@pytest.mark.parametrize("statement", ["DELETE FROM run_item RETURNING id", "SELECT id FROM run_item"])
def test_statement_that_is_interrupted_leaves_no_lock(
    empty_url: str, statement: str, monkeypatch: pytest.MonkeyPatch
):
    """The transaction is rolled back although its rows were not read yet, and the next one can begin."""
    monkeypatch.setattr("clarion.ledger.database.BUSY_TIMEOUT_SECONDS", 1)
    with Database(empty_url) as database:
        run_id = planned_run(database, 3)

        @event.listens_for(database.engine, "do_execute")
        def interrupt(cursor: Any, text: str, parameters: Any, context: Any) -> bool:
            cursor.execute(text, parameters)
            if text == statement:
                raise KeyboardInterrupt
            return True

        with pytest.raises(KeyboardInterrupt):
            pause_and_execute(database, statement)
        event.remove(database.engine, "do_execute", interrupt)
        assert set_status(database, run_id, "interrupted", only_from=["running"])
        assert counts(database, run_id) == {"total": 3, "pending": 3}


def pause_and_execute(database: Database, statement: str) -> None:
    """Two statements in one transaction."""
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE run SET status = 'paused'")
        connection.exec_driver_sql(statement)
