"""The `clarion` command in processes of its own, to be killed."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

PRELOADED = [
    "cli.main",
    "cli.control",
    "cli.run",
    "prefect.flow_engine",
    "prefect.task_engine",
    "tests.faults.processes",
]


class Processes:
    """Starts commands, each forked from a process that has imported them and done nothing else.

    To import Prefect anew takes most of the time of a restart.

    Args:
        prefect_api_url: The Prefect server that all of them use.
        home: A folder for whatever they keep outside the ledger.
    """

    def __init__(self, *, prefect_api_url: str, home: Path) -> None:
        settings = {
            "CLARION_HOME": str(home),
            "DO_NOT_TRACK": "1",
            "HOME": str(home),
            "PREFECT_API_URL": prefect_api_url,
            "PREFECT_HOME": str(home),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        with _environment(settings):
            forkserver.ensure_running()

    def fork(self, target: Callable[..., None], *arguments: Any) -> BaseProcess:
        """A process of a function of a module, not yet started."""
        return self._context.Process(target=target, args=arguments)

    def start(self, *arguments: str, folder: Path, settings: Mapping[str, str]) -> BaseProcess:
        """Starts `clarion ARGUMENTS` in a folder; what it prints is added to `output.txt` there."""
        process = self._context.Process(target=_command, args=(arguments, folder, dict(settings)))
        process.start()
        return process


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _environment(settings: Mapping[str, str]) -> "Generator[None]":
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _command(arguments: tuple[str, ...], folder: Path, settings: Mapping[str, str]) -> None:
    from cli.main import main

    os.environ.update(settings)
    os.chdir(folder)
    printed = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(printed, sys.stdout.fileno())
    os.dup2(printed, sys.stderr.fileno())
    sys.argv = ["clarion", *arguments]
    main()
