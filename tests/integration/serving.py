"""`clarion serve` as a person starts it: a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prefect.settings import PREFECT_API_URL

CLARION = [sys.executable, "-c", "from cli.main import main; main()"]


@dataclass(frozen=True)
class Serving:
    """A running `clarion serve`, what it told at its start, and a client of it."""

    process: subprocess.Popen[str]
    told: dict[str, Any]
    client: httpx.Client

    def leave(self, number: int) -> tuple[int, list[str]]:
        """Sends a signal; the exit code and the lines of the log."""
        self.process.send_signal(number)
        assert self.process.stderr
        lines = self.process.stderr.read().splitlines()
        return self.process.wait(), lines


def settings(folder: Path, database_url: str) -> dict[str, str]:
    """The environment of a command: a home of its own, the test's database, the session's Prefect server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {
        "HOME": str(folder),
        "CLARION_HOME": str(folder),
        "CLARION_DATABASE_URL": database_url,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


@contextmanager
def serving(*options: str, env: dict[str, str]) -> Generator[Serving]:
    """Starts it on any free port, and has it ended with the block."""
    command = [*CLARION, "serve", "--port", "0", "--json", *options]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stderr
            line = process.stdout.readline()
            assert line, process.stderr.read()
            told = json.loads(line)
            with httpx.Client(base_url=told["url"], trust_env=False, timeout=60) as client:
                yield Serving(process, told, client)
        finally:
            process.kill()
