"""The `clarion` command in a terminal of its own, as a person has it: without a Prefect server."""

import os
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.installations import wait_for

CTRL_C = b"\x03"

IN_TERMINAL = """
import fcntl, signal, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
from cli.main import main
main()
"""
"""Makes standard input the controlling terminal: Ctrl-C becomes a signal to the whole process group."""


def own_settings(home: Path) -> dict[str, str]:
    """An environment that knows nothing of this one's Prefect and ledger; everything is kept in a folder."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CLARION_"))
    }
    return inherited | {
        "HOME": str(home),
        "CLARION_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
    }


def processes_of(settings: Mapping[str, str]) -> list[str]:
    """The command lines of all processes, of any parent, that keep their ledger in the same folder."""
    mark = f"CLARION_HOME={settings['CLARION_HOME']}".encode()
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@dataclass(frozen=True)
class Terminal:
    """A command at work in a terminal, and what it has printed there."""

    process: subprocess.Popen[bytes]
    keyboard: int
    screen: bytearray = field(default_factory=bytearray)

    def press(self, keys: bytes) -> None:
        """Types."""
        os.write(self.keyboard, keys)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.screen.decode("utf-8", "replace")

    def wait_for_text(self, text: str, *, times: int) -> None:
        """Waits until this was printed so often; keys that are pressed are printed as well."""
        wait_for(lambda: self.text.count(text) >= times or None, what=text)

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        return wait_for(self.process.poll, what="the end of the command")

    def read(self) -> None:
        """Fills the screen until the last process has left the terminal."""
        with suppress(OSError):  # how a terminal says so
            while printed := os.read(self.keyboard, 65_536):
                self.screen.extend(printed)


@contextmanager
def in_terminal(*arguments: object, folder: Path, settings: Mapping[str, str]) -> Generator[Terminal]:
    """Starts `clarion ARGUMENTS` in a terminal; nothing of it outlives the body."""
    keyboard, line = os.openpty()
    started = subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, *map(str, arguments)],
        env=dict(settings),
        cwd=folder,
        stdin=line,
        stdout=line,
        stderr=line,
        start_new_session=True,
    )
    os.close(line)
    terminal = Terminal(started, keyboard)
    reader = threading.Thread(target=terminal.read, daemon=True)
    reader.start()
    try:
        yield terminal
    finally:
        started.kill()
        started.wait()
        reader.join(timeout=10)
        os.close(keyboard)
