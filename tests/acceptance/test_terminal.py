"""Ctrl-C in a terminal, and Prefect's temporary server, which nobody asked for and nobody must notice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from clarion.ledger.database import Database
from clarion.ledger.runs import list_runs
from clarion.sandbox import Behaviour, Sandbox
from tests.acceptance.campaigns import write_job, write_people
from tests.acceptance.conftest import Command
from tests.acceptance.installations import wait_for
from tests.acceptance.terminals import CTRL_C, Terminal, in_terminal, own_settings, processes_of

PEOPLE = 80
SLOW = Behaviour(latency_ms=2_000)
"""The answers on their way take so long that somebody impatient presses again."""


START_SECONDS = 180
"""A server that starts on a busy machine takes its time."""


@pytest.fixture
def alone(home: Path) -> dict[str, str]:
    """Settings with an empty home and without a Prefect server."""
    settings = own_settings(Path(os.environ["CLARION_HOME"]))
    Path(settings["HOME"]).mkdir(exist_ok=True)
    return settings


def wait_until_sending(sandbox: Sandbox, terminal: Terminal) -> None:
    """Waits until some requests are on their way, and not all of them."""

    def sending() -> bool | None:
        assert terminal.process.poll() is None, terminal.text
        return sandbox.stats()["requests"] >= 20 or None

    wait_for(sending, what="requests", patience_seconds=START_SECONDS)


def wait_for_the_end_of_all(alone: Mapping[str, str]) -> None:
    """Waits until no process with these settings is left."""
    wait_for(lambda: None if processes_of(alone) else True, what=f"the end of {processes_of(alone)}")


@pytest.mark.parametrize("presses", [1, 4])
def test_ctrl_c_in_a_terminal_leaves_the_run_and_resume_completes_it(
    clarion: Command, home: Path, ledger: Database, alone: dict[str, str], presses: int
):
    """However often it is pressed: exit code 1, no traceback, nothing unknown, no server left behind."""
    write_people(home, PEOPLE)
    with Sandbox(SLOW) as sandbox:
        command = ("run", write_job(home), "--against", sandbox.url)
        with in_terminal(*command, folder=home, settings=alone) as terminal:
            wait_until_sending(sandbox, terminal)
            for press in range(1, presses + 1):
                terminal.press(CTRL_C)
                terminal.wait_for_text("^C", times=press)
            code = terminal.ended()
            wait_for_the_end_of_all(alone)
        (left,) = list_runs(ledger, limit=9)
        accepted = sandbox.stats()["recipients"]
        assert (code, left.status, left.sending, left.unknown) == (1, "interrupted", 0, 0), terminal.text
        assert left.succeeded == len(accepted) < PEOPLE
        assert f"`clarion resume {left.uid}`" in terminal.text
        assert "Traceback" not in terminal.text
        resumed = clarion("resume", "last", "--json")
        stats = sandbox.stats()
    assert (resumed.code, resumed.json["counts"]["succeeded"]) == (0, PEOPLE)
    assert (len(stats["recipients"]), stats["duplicates"], stats["repeated_keys"]) == (PEOPLE, {}, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_temporary_server_ends_with_the_command_that_started_it(
    home: Path, alone: dict[str, str], number: signal.Signals
):
    """Killed without a word, or told to leave: no server is left behind."""
    write_people(home, PEOPLE)
    with Sandbox(SLOW) as sandbox:
        command = ("run", write_job(home), "--against", sandbox.url)
        with in_terminal(*command, folder=home, settings=alone) as terminal:
            wait_until_sending(sandbox, terminal)
            (server,) = [found for found in processes_of(alone) if "uvicorn" in found]
            assert "blocks.temporary_server" in server
            os.kill(terminal.process.pid, number)
            assert terminal.ended() == (1 if number == signal.SIGTERM else -number)
            wait_for_the_end_of_all(alone)


RUN_THREE_WAYS = """
import json, sys
from pathlib import Path

from blocks.job import Job
from clarion.jobfile import load_job
from flows.run_job import find_job, run_job

path, against = sys.argv[1:]
find_job(path).save("saved")
job = load_job(Path(path))
reports = [run_job(given, against=against) for given in (path, Path(path), "saved", job, Job.load("saved"))]
print(json.dumps([[report["status"], report["counts"]["succeeded"]] for report in reports]))
"""


def test_run_job_needs_no_server_and_takes_a_path_a_name_or_a_job(home: Path, alone: dict[str, str]):
    """From Python, with an empty home: each of them runs the same job, and no server stays."""
    write_people(home, 3)
    with Sandbox() as sandbox:
        ran = subprocess.run(
            [sys.executable, "-c", RUN_THREE_WAYS, str(write_job(home)), sandbox.url],
            env=alone,
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        recipients = sandbox.stats()["recipients"]
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [["completed", 3]] * 5
    assert recipients == {f"+1202555{number:04d}": 5 for number in (1, 2, 3)}
    assert not processes_of(alone)
