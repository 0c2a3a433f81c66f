"""`clarion forget`: asks first, erases, and tells what without repeating the address."""

import json
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from clarion.errors import InputError, RunConflictError, SettingError
from clarion.ledger.database import Database
from clarion.ledger.tables import RUN_ITEM
from cli.forget import register
from tests.integration.answered_runs import rows_with
from tests.integration.ledger_runs import claimed, planned, planned_run, result, settled

PHONE = "+447700900123"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The ledger that the command uses."""
    monkeypatch.setenv("CLARION_HOME", str(tmp_path))
    monkeypatch.delenv("CLARION_DATABASE_URL", raising=False)
    return Database()


def run(*arguments: str) -> Result:
    """Runs the command."""
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments))


def sent_run(ledger: Database) -> int:
    """A run with one message, that was taken."""
    run_id = planned_run(ledger, [planned(1, recipient=PHONE)])
    (item,) = claimed(ledger, run_id, "t")
    settled(ledger, run_id, "t", result(item, "succeeded"))
    return run_id


def test_forget_erases_and_tells_how_much(ledger: Database):
    """JSON for scripts, a sentence for people; once more finds nothing."""
    run_id = sent_run(ledger)
    told = run("07700 900123", "--region", "GB", "--yes", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout) == {
        "forgotten": {"run_items": 1, "events": 0, "list_items": 0, "mentions": 0},
        "suppressed": True,
    }
    (item,) = rows_with(ledger, RUN_ITEM, run_id=run_id)
    assert (item["recipient"], item["status"]) == (None, "succeeded")
    again = run(PHONE, "--yes")
    assert again.stdout.startswith("Erased nothing. The address is suppressed")
    assert "447700900123" not in told.output + again.output


def test_forget_asks_first(ledger: Database):
    """Without --yes, and with nobody to ask, nothing happens; the question tells what would."""
    run_id = sent_run(ledger)
    outcome = run(PHONE)
    assert isinstance(outcome.exception, SettingError)
    assert "Erase 1 run item? It cannot be undone." in str(outcome.exception)
    assert outcome.exception.where == "--yes"
    (item,) = rows_with(ledger, RUN_ITEM, run_id=run_id)
    assert item["recipient"] == PHONE


def test_forget_refuses_while_a_message_is_on_its_way(ledger: Database):
    """The run is named, and what to do."""
    run_id = planned_run(ledger, [planned(1, recipient=PHONE)])
    claimed(ledger, run_id, "t")
    outcome = run(PHONE, "--yes")
    assert isinstance(outcome.exception, RunConflictError)
    assert "is on its way; expected another try in a moment" in str(outcome.exception)


@pytest.mark.parametrize("recipient", ["", "  "])
def test_forget_needs_an_address(ledger: Database, recipient: str):
    """Nobody is nobody."""
    outcome = run(recipient, "--yes")
    assert isinstance(outcome.exception, InputError)
