"""A run is left to its end, whatever breaks in."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion.errors import ClarionError
from clarion.ledger.runs import NewRun, create_run, get_run
from flows import work_on_run
from tasks.sessions import ledger


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C raises at once, whatever a command that ran in this process has set."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_second_signal_waits_until_the_run_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One that comes while claims are given back breaks nothing off: the run is interrupted by then."""
    monkeypatch.setenv("CLARION_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    run = create_run(ledger(), NewRun(job_name="j", job="{}", base=str(tmp_path)))
    left: list[str] = []
    interrupted = threading.Event()

    def fail(*_: object) -> None:
        raise ClarionError("the provider is gone")

    def leave(run_uid: str) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        interrupted.wait(0.2)
        left.append(run_uid)

    monkeypatch.setattr(work_on_run, "_work", fail)
    monkeypatch.setattr(work_on_run, "leave", leave)
    with pytest.raises(KeyboardInterrupt):
        work_on_run.work_on(run.uid)
    assert left == [run.uid]
    now = get_run(ledger(), run.id)
    assert (now.status, now.reason) == ("interrupted", "the provider is gone")
    ledger().close()
