"""The `clarion` command: which module has which command, and what becomes of errors."""

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType, MappingProxyType
from typing import Annotated

import typer

from clarion import __version__
from clarion.errors import ClarionError, InputError
from clarion.reporting import TERMINATED
from cli.usage import UsageError, as_written, help_if_alone, keep_examples, mistake, unknown_command

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

LEAVE_SECONDS = 10.0
"""A run has left in less."""

HELP = """
Clarion: outreach campaigns at scale over any channel or HTTP API.

A job file says whom, what and when. Look at it, try it, run it, read what happened:

    clarion preview job.yaml
    clarion run job.yaml --against http://127.0.0.1:8099
    clarion run job.yaml
    clarion report last

RUN is the id of a run, the beginning of one, or last.

Exit codes: 0 done; 1 the run failed or was stopped; 2 bad input; 3 done, but some items are unknown.
"""

MODULES = MappingProxyType(
    {
        "preview": "cli.preview",
        "run": "cli.run",
        "test": "cli.run",
        "retry": "cli.run",
        "pause": "cli.control",
        "resume": "cli.control",
        "stop": "cli.control",
        "resolve": "cli.control",
        "runs": "cli.reports",
        "report": "cli.reports",
        "items": "cli.reports",
        "events": "cli.events",
        "deploy": "cli.deploy",
        "worker": "cli.deploy",
        "sandbox": "cli.sandbox",
        "serve": "cli.serve",
        "demo": "cli.demo",
        "blocks": "cli.blocks",
        "action": "cli.blocks",
        "job": "cli.blocks",
        "credentials": "cli.blocks",
        "list": "cli.lists",
        "suppress": "cli.suppress",
        "forget": "cli.forget",
        "webhooks": "cli.webhooks",
    }
)
"""Command to module. Only the module of the command asked for is imported: Prefect takes a second."""


def build_app(command: str | None = None) -> typer.Typer:
    """The application with the module of one command, or with all of them."""
    app = typer.Typer(
        name="clarion",
        help=as_written(HELP),
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_root)
    wanted = MODULES.get(command or "")
    for name in dict.fromkeys([wanted] if wanted else MODULES.values()):
        importlib.import_module(name).register(app)
    keep_examples(app)
    return app


def _root(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        typer.echo(f"clarion {__version__}")
        raise typer.Exit
    help_if_alone(context)


def main() -> None:
    """Runs the command line; a person's mistake is one line and exit code 2, never a traceback."""
    leave = _leaver()
    for number in (signal.SIGINT, signal.SIGTERM):
        if (
            signal.getsignal(number) is not signal.SIG_IGN
        ):  # as a shell has it for what runs in the background
            signal.signal(number, leave)
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    # Prefect logs every task run, and every failure with its traceback, beside our reports. That is for
    # a worker's log; elsewhere whoever wants it sets the level.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if command == "worker" else "CRITICAL")
    if command != "worker":
        os.environ.setdefault("PREFECT_LOGGING_SERVER_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    try:
        if command is not None and command not in MODULES:
            raise unknown_command(command, list(MODULES))
        sys.exit(build_app(command)(prog_name="clarion", standalone_mode=False))
    except UsageError as exc:
        _complain(mistake(exc), EXIT_BAD_INPUT)
    except InputError as exc:
        _complain(exc, EXIT_BAD_INPUT)
    except ClarionError as exc:
        _complain(exc, EXIT_FAILED)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)


def _leaver() -> Callable[[int, FrameType | None], None]:
    """What Ctrl-C and SIGTERM do: unsent claims go back, answers on their way are waited for.

    An impatient second one is not heard meanwhile: it would break that off, and leave calls unknown.
    """
    deaf_until = 0.0

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal deaf_until
        if time.monotonic() >= deaf_until:
            deaf_until = time.monotonic() + LEAVE_SECONDS
            raise KeyboardInterrupt(*([TERMINATED] if number == signal.SIGTERM else []))

    return leave


def _complain(error: ClarionError, code: int) -> None:
    sys.stderr.write(f"clarion: {error.message}\n")
    sys.exit(code)
