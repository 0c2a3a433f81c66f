"""Commands that send: `clarion run`, `test`, `retry`."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer

from clarion.errors import ClarionError, SettingError
from clarion.ledger.claims import retry_items
from clarion.ledger.control import AT_WORK
from clarion.ledger.runs import RunRecord, find_run, get_run, list_runs, refuse_unfinished
from clarion.reporting import build_report, run_report
from clarion.trial import trial_job
from cli.console import AsJson, RunReference, exit_code, following, print_json, print_report
from flows.resume_run import resume_run
from flows.run_job import find_job, open_run, prepare, run_job
from tasks.sessions import ledger, list_reader

RUN_HELP = """
Run a job: send to every recipient once, and print what happened.

JOB is a job file (YAML or JSON), or the name of a saved job.

Example: the first hundred due recipients of renewals.yaml

    clarion run renewals.yaml --limit 100

Example: rehearse against the sandbox, with made-up credentials

    clarion run renewals.yaml --against http://127.0.0.1:8099

Times are ISO 8601, as 2026-12-01T09:00 (this machine's time zone) or 2026-12-01T09:00+01:00.
"""

TEST_HELP = """
Send one message of a job to a recipient of your own, as row N of its list would get it.

Example: clarion test renewals.yaml --to +447700900123 --row 3
"""

RETRY_HELP = """
Send to the failed recipients of a run again, with all their tries before them.

Example: clarion retry last --status failed --reason retries-exhausted
"""

JobReference = Annotated[str, typer.Argument(metavar="JOB", help="Job file, or name of a saved job.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("run", help=RUN_HELP)(run)
    app.command("test", help=TEST_HELP)(send_test)
    app.command("retry", help=RETRY_HELP)(retry)


def run(
    job: JobReference,
    *,
    name: Annotated[str, typer.Option(help="Name of this run, shown in reports.")] = "",
    start_at: Annotated[str | None, typer.Option(metavar="TIME", help="Send nothing before.")] = None,
    send_until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Send nothing after; what is left is skipped.")
    ] = None,
    end_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Answers count until (kept with the run).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send to the first N due only.")] = None,
    against: Annotated[
        str, typer.Option(metavar="URL", help="Rehearse: send here, with made-up credentials.")
    ] = "",
    new: Annotated[bool, typer.Option("--new", help="Start beside an unfinished run of the job.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a job."""
    times = {
        "start_at": parse_time(start_at, "--start-at"),
        "send_until": parse_time(send_until, "--send-until"),
        "end_at": parse_time(end_at, "--end-at"),
    }
    reference: Any = job  # the flow finds the job itself, and Prefect records what the person typed
    found = find_job(reference)
    prepare(found, against=against or None)
    if not new:
        refuse_unfinished(ledger(), found.name, kind="rehearsal" if against else "run")
    send_and_report(
        lambda: run_job(reference, name=name, limit=limit, against=against, new=new, **times),
        newest_of(found.name),
        as_json=as_json,
    )


def send_test(
    job: JobReference,
    *,
    to: Annotated[str, typer.Option(metavar="RECIPIENT", help="Who gets the message.")],
    row: Annotated[int, typer.Option(min=1, help="Row of the list whose message it is.")] = 1,
    against: Annotated[
        str, typer.Option(metavar="URL", help="Send here instead, with made-up credentials.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Send one."""
    found = find_job(job)
    trial = trial_job(found, reader=list_reader(found), row=row, recipient=to)
    created = open_run(trial, alongside=True, kind="test", name=f"test of row {row}", against=against or None)
    send_and_report(lambda: resume_run(created.uid), lambda: get_run(ledger(), created.id), as_json=as_json)


def retry(
    run: RunReference,
    *,
    status: Annotated[str, typer.Option(help="Status of the items to retry: failed.")],
    reason: Annotated[list[str] | None, typer.Option(help="Only these reasons; repeat for several.")] = None,
    as_json: AsJson = False,
) -> None:
    """Retry failed items."""
    if status != "failed":
        raise SettingError(f"{status!r} cannot be retried", where="--status", expected="failed")
    found = find_run(ledger(), run)
    if not found.ended or found.status == "stopped":
        raise SettingError(
            f"the run is {found.status}", where=found.uid, expected="a run that came to its end"
        )
    count = retry_items(ledger(), found.id, reasons=reason or ())
    if not count:
        finish(build_report(ledger(), get_run(ledger(), found.id)), as_json=as_json)
    if not as_json:
        sys.stderr.write(f"{count:,} items are tried again.\n")
    send_and_report(lambda: resume_run(found.uid), lambda: get_run(ledger(), found.id), as_json=as_json)


def newest_of(job_name: str) -> Callable[[], RunRecord | None]:
    """Finds the run of a job that starts from now on."""
    last_id = max((each.id for each in list_runs(ledger(), limit=1)), default=0)

    def look() -> RunRecord | None:
        newest = next(iter(list_runs(ledger(), limit=1, job_name=job_name)), None)
        return newest if newest is not None and newest.id > last_id else None

    return look


def send_and_report(send: Callable[[], Any], look: Callable[[], RunRecord | None], *, as_json: bool) -> None:
    """Runs a flow while a person watches, prints the report, and exits with its code."""

    def seen() -> Mapping[str, Any] | None:
        found = look()
        return None if found is None else run_report(found)

    try:
        with following(seen):
            report = send()
    except ClarionError as exc:
        found = look()
        if found is None or found.status != "failed":
            raise
        report = build_report(ledger(), found)
        sys.stderr.write(f"clarion: {exc.message}\n")
    except KeyboardInterrupt:
        found = look()
        if found is None:
            raise
        sys.stderr.write(farewell(found))
        report = build_report(ledger(), found)
    finish(report, as_json=as_json)


def farewell(run: RunRecord) -> str:
    """What becomes of a run whose command a person has ended."""
    if run.status in AT_WORK:
        return f"Run {run.uid} goes on, where another process works on it.\n"
    return f"{run.status.capitalize()}. `clarion resume {run.uid}` goes on where it stopped.\n"


def finish(report: Mapping[str, Any], *, as_json: bool) -> NoReturn:
    """Prints a report and exits with its code."""
    (print_json if as_json else print_report)(report)
    raise typer.Exit(exit_code(report))


def parse_time(text: str | None, option: str) -> datetime | None:
    """An ISO time as aware UTC; without an offset it is this machine's local time.

    Raises:
        SettingError: It is none.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(
            f"{text!r} is no time", where=option, expected="ISO 8601, as 2026-12-01T09:00+01:00"
        ) from None
    return moment.astimezone(UTC)
