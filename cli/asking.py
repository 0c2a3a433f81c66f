"""Who asks, and whether they are sure: what commands share that change what cannot be made anew."""

import getpass
import os
import socket
import sys
from typing import Annotated

import typer

from clarion.errors import SettingError
from clarion.list_imports import Asked

Who = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="On whose word; the user of this machine where it is not told."),
]
Why = Annotated[str | None, typer.Option(metavar="REASON", help="Why, for whoever asks later.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]

BY_HAND = "by hand"


def asked(who: str | None, why: str | None, *, default: str = BY_HAND) -> Asked:
    """Who asks, and why.

    Raises:
        SettingError: One of them is empty.
    """
    for option, given in (("--who", who), ("--why", why)):
        if given is not None and not given.strip():
            raise SettingError("is empty", where=option, expected="some words")
    return Asked(who=who or user(), why=why or default)


def user() -> str:
    """The user of the operating system and the machine: `ann@office-3`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # in a container nobody may be known by this number
        name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal.

    Raises:
        SettingError: There is no terminal to ask on.
        Abort: The answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingError(f"is missing, and nobody can be asked: {question}", where="--yes")
    typer.confirm(question, abort=True, err=True)
