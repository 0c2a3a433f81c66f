"""`clarion preview`: who would get what. Nothing is sent."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from blocks.http_action import load_action
from clarion.campaign import compile_job, resolve_actions
from clarion.models.job import Job
from clarion.previewing import Preview, preview
from cli.console import AsJson, console, print_json, print_reasons, segments_table
from flows.run_job import find_job
from tasks.sessions import list_reader, masked_auths

HELP = """
Show who would get what, and why some would not. Nothing is sent, and no run is created.

Example: clarion preview renewals.yaml --samples 2
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
    whole = resolve_actions(find_job(job), load=load_action)
    campaign = compile_job(whole)
    reader = list_reader(whole)
    reader.check(campaign)
    auths, missing = masked_auths(campaign)
    for reference in missing:
        sys.stderr.write(
            f"{reference} is not saved yet; a run needs it: `clarion credentials save {reference}`\n"
        )
    with Console(stderr=True).status("reading the lists") as status:
        found = preview(
            campaign,
            reader=reader,
            auths=auths,
            samples=samples,
            on_rows=lambda rows: status.update(f"{rows:,} rows"),
        )
    report = _report(found, campaign.job)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _report(found: Preview, job: Job) -> dict[str, Any]:
    return {
        "job": found.job,
        "counts": found.counts(),
        "skipped_by_reason": found.skipped_by_reason(),
        "bad_rows": found.bad_rows,
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


def _print(report: dict[str, Any]) -> None:
    out = console()
    out.print(f"\n[bold]{escape(report['job'])}[/bold]: nothing is sent; pending is what a run would send")
    out.print(segments_table(report))
    print_reasons(out, report)
    for problem in report["problems"][:SHOWN_PROBLEMS]:
        out.print(f"row {problem['row']} ({escape(problem['segment'])}): {escape(problem['problem'])}")
    more = len(report["problems"]) - SHOWN_PROBLEMS
    if more > 0:
        out.print(f"... and {more:,} more rows; --json lists them all")
    for sample in report["samples"]:
        out.print(f"\n[bold]row {sample['row']}[/bold] {sample['segment']} -> {escape(sample['recipient'])}")
        out.print(f"{sample['method']} {escape(sample['url'])}")
        for name, value in sample["headers"].items():
            out.print(f"  {name}: {escape(value)}")
        body = sample["body"]
        text = body if isinstance(body, str) else orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()
        out.print(escape(text), style="dim")
