"""The secret key by which those who were forgotten are known, in runs: with another one nobody is sent to."""

from pathlib import Path

import pytest

from clarion.ledger.database import Database
from clarion.ledger.forgetting import forget
from clarion.ledger.runs import RunRecord, list_runs
from clarion.sandbox import Behaviour, Sandbox
from tests.acceptance.campaigns import action, write_job, write_people
from tests.acceptance.conftest import Command, Start
from tests.acceptance.installations import wait_for

OTHER = "o" * 40
SOMEBODY = "+447700900999"


def test_run_with_another_key_is_interrupted_and_goes_on_with_the_right_one(
    clarion: Command, start: Start, home: Path, ledger: Database, monkeypatch: pytest.MonkeyPatch
):
    """Somebody is forgotten on another machine while it sends; each still gets one message at the end."""
    write_people(home, 300)
    job = write_job(home, actions={"send-sms": action(tps=50)})
    with Sandbox(Behaviour(latency_ms=10)) as sandbox:
        process = start("run", job, "--against", sandbox.url)
        wait_for(lambda: sandbox.stats()["requests"] >= 20 or None, what="requests")
        with monkeypatch.context() as patch:
            patch.setenv("CLARION_SECRET_KEY", OTHER)
            forget(ledger, SOMEBODY, who="me")
        process.join(30)
        (run,) = list_runs(ledger, limit=1)
        assert (run.status, process.exitcode == 0) == ("interrupted", False)
        assert "is another key than the one" in str(run.reason)
        assert_settled(run)
        refused = clarion("run", job, "--new", "--against", sandbox.url)
        assert refused.code == 1
        assert list_runs(ledger, limit=1)[0].status == "failed"
        assert "is another key" in str(list_runs(ledger, limit=1)[0].reason)
        monkeypatch.setenv("CLARION_SECRET_KEY", OTHER)
        assert clarion("resume", run.uid).code == 0
        assert list_runs(ledger, limit=5)[-1].succeeded == sandbox.stats()["requests"] == 300


def assert_settled(run: RunRecord) -> None:
    """Of what was sent every answer is there, and the rest waits."""
    assert run.pending + run.succeeded == run.total == 300
    assert run.pending > 0
