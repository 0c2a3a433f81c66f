"""`clarion preview`: who would get what. Nothing is sent."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from blocks.http_action import load_action
from clarion.compiling import compile_job, resolve_actions
from clarion.lists.report import BadRow
from clarion.models.job import Job
from clarion.previewing import Preview, preview
from cli.console import (
    AsJson,
    console,
    print_bad_rows,
    print_json,
    print_reasons,
    print_request,
    print_sentence,
)
from cli.jobs import job_named, naming
from cli.tables import print_table, segments_table
from tasks.sessions import list_reader, masked_auths

HELP = """
Show who would get what, and why some would not. Nothing is sent, and no run is created.

Example:

    clarion preview renewals.yaml --samples 2
"""

SHOWN_PROBLEMS = 20


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("preview", help=HELP)(show)


def show(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Job file, or name of a saved job.")],
    *,
    samples: Annotated[int, typer.Option(min=0, help="How many rendered requests to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Preview a job."""
    found_job = job_named(job)
    with naming(job):
        whole = resolve_actions(found_job, load=load_action)
        campaign = compile_job(whole)
        list_reader(whole).check(campaign)  # with a reader of its own: it counts what it reads
    auths, missing = masked_auths(campaign)
    for reference in missing:
        print_sentence(
            f"{reference} is not saved yet; a run needs it: `clarion credentials save {reference}`"
        )
    with Console(stderr=True).status("reading the lists") as status:
        found = preview(
            campaign,
            reader=list_reader(whole),
            auths=auths,
            samples=samples,
            on_rows=lambda rows: status.update(f"{rows:,} rows"),
        )
    report = _report(found, campaign.job)
    if as_json:
        print_json(report)
    else:
        _print(report, bad_rows=found.bad_row_examples)


def _report(found: Preview, job: Job) -> dict[str, Any]:
    return {
        "job": found.job,
        "counts": found.counts(),
        "skipped_by_reason": found.skipped_by_reason(),
        "fallback_timezone": found.fell_back,
        "last_send_at": found.last_send_at and found.last_send_at.isoformat(timespec="seconds"),
        "bad_rows": found.bad_rows,
        "bad_row_examples": [asdict(row) for row in found.bad_row_examples],
        "segments": [
            {
                "name": segment.name,
                "action": segment.action,
                "counts": found.counts(segment.name),
                "skipped_by_reason": found.skipped_by_reason(segment.name),
            }
            for segment in job.segments
        ],
        "problems": [asdict(problem) for problem in found.problems],
        "samples": found.samples,
    }


def _print(report: dict[str, Any], *, bad_rows: Sequence[BadRow]) -> None:
    out = console()
    out.print(f"\n[bold]{escape(report['job'])}[/bold]: nothing is sent; pending is what a run would send")
    print_table(out, segments_table(report))
    print_reasons(out, report)
    if report["last_send_at"]:
        out.print(f"begun now, the last message would go out at about {report['last_send_at']}")
    if report["fallback_timezone"]:
        out.print(f"{report['fallback_timezone']:,} items have no time zone that is known: the fallback zone")
    print_bad_rows(out, bad_rows, count=report["bad_rows"])
    for problem in report["problems"][:SHOWN_PROBLEMS]:
        out.print(f"row {problem['row']} ({escape(problem['segment'])}): {escape(problem['problem'])}")
    more = len(report["problems"]) - SHOWN_PROBLEMS
    if more > 0:
        out.print(f"... and {more:,} more rows; --json lists them all")
    for sample in report["samples"]:
        out.print(f"\n[bold]row {sample['row']}[/bold] {sample['segment']} -> {escape(sample['recipient'])}")
        print_request(out, sample)
