"""Commands that steer a run: `clarion pause`, `resume`, `stop`, `resolve`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from clarion.ledger.runs import get_run
from clarion.ledger.second_tries import resolve_unknown
from clarion.ledger.summaries import summarize
from clarion.reporting import build_report
from cli.choices import run_named
from cli.console import AsJson, RunReference, console, print_json, print_report, print_sentence
from cli.run import finish, send_and_report
from flows.control import pause_run, resume_run, stop_run
from tasks.sessions import ledger

PAUSE_HELP = """
Pause a run: nothing is sent any more within two seconds, whichever process works on it, and wherever.

Example:

    clarion pause last
"""

RESUME_HELP = """
Let a paused or interrupted run go on, and wait for its end. Nothing that is settled is touched.

A run on which a process works is followed. A deployment's run that is paused goes on with a Prefect worker;
any other run goes on in this command.

Example:

    clarion resume last
"""

STOP_HELP = """
Stop a run for good: what is pending is skipped, or failed where something was sent for it before.

Example:

    clarion stop last
"""

RESOLVE_HELP = """
Settle what is unknown: calls that left and were never answered.

resend: send them again, with the same idempotency key. failed, succeeded: call them that, because you know.

Example:

    clarion resolve last --unknown succeeded
"""


class Resolution(StrEnum):
    """What becomes of unknown items."""

    RESEND = "resend"
    FAILED = "failed"
    SUCCEEDED = "succeeded"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("pause", help=PAUSE_HELP)(pause)
    app.command("resume", help=RESUME_HELP)(resume)
    app.command("stop", help=STOP_HELP)(stop)
    app.command("resolve", help=RESOLVE_HELP)(resolve)


def pause(run: RunReference, *, as_json: AsJson = False) -> None:
    """Pause a run."""
    told = pause_run(run_named(ledger(), run).uid)
    if told["status"] == "paused":
        _tell(told, f"`clarion resume {told['run_id']}` goes on.", as_json=as_json)
    else:
        _tell(told, "It pauses as soon as it can; nothing more is sent.", as_json=as_json)


def resume(run: RunReference, *, as_json: AsJson = False) -> None:
    """Resume a run."""
    found = run_named(ledger(), run)
    never_planned = found.status == "failed" and found.planned_at is None
    if found.ended and found.status != "stopped" and not never_planned:
        print_sentence(f"Nothing to resume: run {found.uid} is {found.status}.")
        finish(build_report(ledger(), found), as_json=as_json)
    send_and_report(
        lambda: resume_run(found.uid, tell=print_sentence),
        lambda: get_run(ledger(), found.id),
        as_json=as_json,
    )


def stop(run: RunReference, *, as_json: AsJson = False) -> None:
    """Stop a run."""
    told = stop_run(run_named(ledger(), run).uid)
    if as_json or told["status"] != "stopped":
        _tell(told, "It stops as soon as it can; nothing more is sent.", as_json=as_json)
    else:
        print_report(build_report(ledger(), run_named(ledger(), told["run_id"])))


def resolve(
    run: RunReference,
    *,
    unknown: Annotated[Resolution, typer.Option(help="What becomes of the unknown items.")],
    as_json: AsJson = False,
) -> None:
    """Resolve unknown items."""
    found = run_named(ledger(), run)
    count = resolve_unknown(ledger(), found.id, unknown.value)
    now = get_run(ledger(), found.id)
    if not count:
        print_sentence(f"Nothing to resolve: run {found.uid} has no unknown items.")
    elif not as_json:
        print_sentence(f"{count:,} items were unknown.")
    if count and unknown is Resolution.RESEND and now.control == "run":
        send_and_report(
            lambda: resume_run(found.uid, tell=print_sentence),
            lambda: get_run(ledger(), found.id),
            as_json=as_json,
        )
    if count and now.ended:
        summarize(ledger(), found.id)
    finish(build_report(ledger(), now), as_json=as_json)


def _tell(told: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        console().print(f"Run {told['run_id']} is {told['status']}. {sentence}")
