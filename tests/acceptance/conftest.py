"""Fixtures of the acceptance tests: the command line, in this process, on a ledger of its own."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from clarion.ledger.database import Database
from cli.main import main
from tests.acceptance.installations import Installation, installed
from tests.faults.processes import Processes


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


Command = Callable[..., Outcome]
Start = Callable[..., BaseProcess]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; commands run in a folder beside it."""
    monkeypatch.setenv("CLARION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CLARION_DATABASE_URL", raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ledger(home: Path) -> Iterator[Database]:
    """The ledger that the commands write."""
    database = Database()
    yield database
    database.close()


@pytest.fixture
def clarion(
    home: Path,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Runs the `clarion` command with arguments and gives back its exit code and output."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["clarion", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def processes(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Processes:
    """Starts commands beside this process, on the session's Prefect server."""
    from prefect.settings import PREFECT_API_URL

    return Processes(prefect_api_url=PREFECT_API_URL.value(), home=tmp_path_factory.mktemp("home"))


@pytest.fixture
def start(home: Path, processes: Processes) -> Iterator[Start]:
    """Starts a `clarion` command on the test's ledger; nothing of it outlives the test."""
    started: list[BaseProcess] = []

    def begin(*arguments: object) -> BaseProcess:
        settings = {"CLARION_HOME": os.environ["CLARION_HOME"]}
        process = processes.start(*map(str, arguments), folder=home, settings=settings)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server and a worker with an empty home; they start slowly, so once."""
    with installed(tmp_path_factory.mktemp("installation")) as made:
        yield made


@pytest.fixture
def served(installation: Installation) -> Iterator[Database]:
    """The ledger of the installed worker."""
    database = Database(installation.settings["CLARION_DATABASE_URL"])
    yield database
    database.close()
