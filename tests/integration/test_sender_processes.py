"""Sender processes: what becomes of slices, log records and processes when something goes wrong in them."""

import itertools
import logging
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clarion.ledger.claims import Slice
from tasks import processes
from tasks.processes import ProcessLostError, SenderProcesses, SliceError

PART = Slice(action="send", first_id=1, last_id=9)


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLARION_HOME", str(tmp_path))
    monkeypatch.delenv("CLARION_DATABASE_URL", raising=False)


@pytest.fixture
def one() -> Iterator[SenderProcesses]:
    """One process, for a run that there is not."""
    made = SenderProcesses("0123456789abcdef", 1)
    yield made
    made.leave()


def test_slice_that_cannot_be_sent_says_why(one: SenderProcesses, caplog: pytest.LogCaptureFixture):
    """The error has the words of the process, and its log has the rest, as if it were logged here."""
    with caplog.at_level(logging.INFO, "clarion"), pytest.raises(SliceError, match="0123456789abcdef"):
        one.deliver(PART)
    (record,) = [each for each in caplog.records if each.name == "clarion.sending.process"]
    assert record.process != os.getpid()
    assert record.getMessage().startswith("A slice could not be sent")
    assert "Traceback" in record.getMessage()


def test_process_ends_when_it_is_told_to_leave(one: SenderProcesses):
    """On SIGTERM as well as with the run; what is asked of it then is refused."""
    pid = one.pids[0]
    one.leave()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ProcessLostError, match="leaving"):
        one.deliver(PART)


def test_killed_process_is_replaced(one: SenderProcesses):
    """The slice that it had goes to the next."""
    first = one.pids[0]
    with ThreadPoolExecutor(1) as threads:
        os.kill(first, signal.SIGSTOP)
        waiting = threads.submit(one.deliver, PART)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(SliceError):
            waiting.result()
    assert one.pids != [first]


def test_processes_that_end_at_once_are_given_up(monkeypatch: pytest.MonkeyPatch):
    """A machine without memory, or an installation that is broken, starts no processes for ever."""
    monkeypatch.setattr(processes, "serve", itertools.chain)  # takes everything, does nothing
    broken = SenderProcesses("0123456789abcdef", 2)
    with pytest.raises(ProcessLostError, match="end as soon as they start"):
        broken.deliver(PART)
    broken.leave()
