"""Commands that send: `clarion run`, `test`, `retry`."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer

from clarion.errors import ClarionError, InputError, SettingError, nearest
from clarion.ledger.control import AT_WORK
from clarion.ledger.items import read_items
from clarion.ledger.runs import RunRecord, get_run, list_runs, refuse_unfinished
from clarion.ledger.second_tries import retry_items
from clarion.models.job import ITEM_STATUSES
from clarion.previewing import bad_rows, sent_message
from clarion.reporting import build_report
from clarion.trial import make_trial
from cli.choices import check_known, run_named
from cli.console import (
    SHOWN_BAD_ROWS,
    AsJson,
    RunReference,
    console,
    exit_code,
    print_bad_rows,
    print_json,
    print_message,
    print_report,
    print_sentence,
)
from cli.jobs import job_named, naming
from cli.progress import following
from cli.times import check_times, parse_time
from flows.resume_run import resume_run
from flows.run_job import open_run, prepare, run_job
from tasks.sessions import compiled, ledger, list_reader, masked_auths

RUN_HELP = """
Run a job: send to every recipient once, and print what happened.

JOB is a job file (YAML or JSON), or the name of a saved job.

Examples: send to everybody; to the first hundred due only; rehearse against the sandbox, with made-up
credentials; send within a frame of time

    clarion run renewals.yaml
    clarion run renewals.yaml --limit 100
    clarion run renewals.yaml --against http://127.0.0.1:8099
    clarion run renewals.yaml --start-at 2099-12-01T09:00 --send-until 2099-12-01T18:00

Times are ISO 8601, as 2026-12-01T09:00 (this machine's time zone) or 2026-12-01T09:00+01:00.
"""

TEST_HELP = """
Send one message of a job to a recipient of your own, as row N of its list would get it.

It shows what was sent, with secrets masked, and what the provider answered, and tells where a run would skip
the row.

Example:

    clarion test renewals.yaml --to +447700900123 --row 3
"""

RETRY_HELP = """
Send to the failed recipients of a run again, with all their tries before them.

Example:

    clarion retry last
    clarion retry last --status failed --reason retries-exhausted
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
    name: Annotated[str, typer.Option(metavar="TEXT", help="Name of this run, shown in reports.")] = "",
    start_at: Annotated[str | None, typer.Option(metavar="TIME", help="Send nothing before.")] = None,
    send_until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Send nothing after; what is left is skipped.")
    ] = None,
    end_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Answers count until (kept with the run).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Send to the first N due only.")
    ] = None,
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
    check_times(**times, now=datetime.now(UTC))
    reference: Any = job  # the flow finds the job itself, and Prefect records what the person typed
    found = job_named(job)
    with naming(job):
        prepare(found, against=against or None)
    if not new:
        refuse_unfinished(ledger(), found.name, kind="rehearsal" if against else "run")
    report = send_and_follow(
        lambda: run_job(reference, name=name, limit=limit, against=against, new=new, **times),
        newest_of(found.name),
    )
    if as_json:
        finish(report, as_json=True)
    print_report(report)
    if report["bad_rows"]:
        # The ledger counts them; which they were, the lists tell.
        examples = bad_rows(found, reader=list_reader(found), most=SHOWN_BAD_ROWS)
        print_bad_rows(console(), examples, count=report["bad_rows"])
    raise typer.Exit(exit_code(report))


def send_test(
    job: JobReference,
    *,
    to: Annotated[str, typer.Option(metavar="RECIPIENT", help="Who gets the message.")],
    row: Annotated[int, typer.Option(min=1, metavar="N", help="Row of the list whose message it is.")] = 1,
    against: Annotated[
        str, typer.Option(metavar="URL", help="Send here instead, with made-up credentials.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Send one."""
    found = job_named(job)
    with naming(job):
        whole = prepare(found, against=against or None)
        trial = make_trial(whole, reader=list_reader(whole), row=row, recipient=to, now=datetime.now(UTC))
        created = open_run(
            trial.job, alongside=True, kind="test", name=f"test of row {row}", against=against or None
        )
    if trial.would_be_skipped:
        print_sentence(f"A run would skip row {row}: {trial.would_be_skipped}.")
    report = send_and_follow(lambda: resume_run(created.uid), lambda: get_run(ledger(), created.id))
    messages = sent_messages(get_run(ledger(), created.id))
    if as_json:
        print_json({**report, "would_be_skipped": trial.would_be_skipped, "messages": messages})
    else:
        print_report(report)
        for message in messages:
            print_message(console(), message)
    raise typer.Exit(exit_code(report))


def sent_messages(run: RunRecord) -> list[dict[str, Any]]:
    """What was sent for each item of a run, secrets masked, and what was answered."""
    campaign = compiled(run)
    auths, _ = masked_auths(campaign)
    return [
        sent_message(campaign, item, run=run, auth=auths.get(item["action"]))
        for page in read_items(ledger(), run.id)
        for item in page
    ]


def retry(
    run: RunReference,
    *,
    status: Annotated[str, typer.Option(metavar="STATUS", help="Status of the items to retry.")] = "failed",
    reason: Annotated[
        list[str] | None, typer.Option(metavar="REASON", help="Only these reasons; repeat for several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Retry failed items."""
    if status != "failed":
        close = nearest(status, ["failed"]) if status not in ITEM_STATUSES else None
        raise SettingError(
            f"{status!r} cannot be retried", where="--status", expected="failed", nearest=close
        )
    found = run_named(ledger(), run)
    if not found.ended or found.status == "stopped":
        raise SettingError(
            f"the run is {found.status}", where=found.uid, expected="a run that came to its end"
        )
    report = build_report(ledger(), found)
    if not report["counts"]["failed"]:
        print_sentence(f"Nothing to retry: run {found.uid} has no failed items.")
        finish(report, as_json=as_json)
    for each in reason or ():
        check_known(each, report["failed_by_reason"], what="failed item with the reason", option="--reason")
    count = retry_items(ledger(), found.id, reasons=reason or ())
    if not as_json:
        print_sentence(f"{count:,} items are tried again.")
    send_and_report(lambda: resume_run(found.uid), lambda: get_run(ledger(), found.id), as_json=as_json)


def newest_of(job_name: str) -> Callable[[], RunRecord | None]:
    """Finds the run of a job that starts from now on."""
    last_id = max((each.id for each in list_runs(ledger(), limit=1)), default=0)

    def look() -> RunRecord | None:
        newest = next(iter(list_runs(ledger(), limit=1, job_name=job_name)), None)
        return newest if newest is not None and newest.id > last_id else None

    return look


def send_and_report(
    send: Callable[[], Any], look: Callable[[], RunRecord | None], *, as_json: bool
) -> NoReturn:
    """Runs a flow while a person watches, prints the report, and exits with its code."""
    finish(send_and_follow(send, look), as_json=as_json)


def send_and_follow(send: Callable[[], Any], look: Callable[[], RunRecord | None]) -> Any:
    """Runs a flow while a person watches; the report of its run, however the flow ended."""
    try:
        with following(look):
            return send()
    except ClarionError as exc:
        found = look()
        # A mistake in what was asked is no news of a run that was interrupted before.
        told = ("failed",) if isinstance(exc, InputError) else ("failed", "interrupted")
        if found is None or found.status not in told:
            raise
        sys.stderr.write(f"clarion: {exc.message}\n")
    except KeyboardInterrupt:
        found = look()
        if found is None:
            raise
        sys.stderr.write(farewell(found))
    return build_report(ledger(), found)


def farewell(run: RunRecord) -> str:
    """What becomes of a run whose command a person has ended."""
    if run.status in AT_WORK:
        return f"Run {run.uid} goes on, where another process works on it.\n"
    return f"{run.status.capitalize()}. `clarion resume {run.uid}` goes on where it stopped.\n"


def finish(report: Mapping[str, Any], *, as_json: bool) -> NoReturn:
    """Prints a report and exits with its code."""
    (print_json if as_json else print_report)(report)
    raise typer.Exit(exit_code(report))
