"""`clarion demo`: a whole campaign on this machine, against the sandbox."""

import sys
import tempfile
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from clarion.contacts import write_contacts
from clarion.sandbox import Behaviour, Sandbox
from cli.console import AsJson, console, exit_code, print_json, print_report
from cli.progress import following
from cli.run import newest_of
from flows.run_job import run_job

HELP = """
Run a real campaign on this machine: 1,000 made-up contacts, segments, retries, a provider that errs.

It starts a sandbox, sends to it through Prefect, and shows the report. Nothing leaves the machine.

Example:

    clarion demo --keep campaign
"""

ERRING = Behaviour(latency_ms=20, error=0.03, reject=0.02, seed=7)
"""A provider as they are: some calls fail and succeed later, some numbers are refused."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("demo", help=HELP)(demo)


def demo(
    *,
    contacts: Annotated[int, typer.Option(min=1, max=100_000, help="How many contacts.")] = 1_000,
    keep: Annotated[Path | None, typer.Option(help="Folder to keep the job and its list in.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the demo."""
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-demo-")))
        job: Any = write_demo(folder, contacts=contacts)
        sandbox = stack.enter_context(Sandbox(ERRING))
        lines = len(job.read_text(encoding="utf-8").splitlines())
        say(f"{contacts:,} contacts, a job of {lines} lines, a provider at {sandbox.url}")
        with following(newest_of("demo")):
            report = run_job(job, against=sandbox.url, new=True)
        stats = sandbox.stats()
    if as_json:
        print_json({**report, "sandbox": {"accepted": stats["accepted"], "requests": stats["requests"]}})
        raise typer.Exit(exit_code(report))
    print_report(report)
    out = console()
    out.print(
        f"the provider got {stats['requests']:,} calls and accepted {stats['accepted']:,} messages, "
        f"for {len(stats['duplicates'])} recipients more than one"
    )
    out.print("\nLook further: clarion items last --status failed; clarion runs; clarion report last --json")
    raise typer.Exit(exit_code(report))


def say(text: str) -> None:
    """A line of news, beside the output."""
    sys.stderr.write(f"{text}\n")


def write_demo(folder: Path, *, contacts: int) -> Path:
    """Writes the example job and its list; the path of the job."""
    folder.mkdir(parents=True, exist_ok=True)
    source = files("clarion") / "demo"
    for each in source.iterdir():
        if each.name.endswith((".yaml", ".html", ".txt")):
            (folder / each.name).write_bytes(each.read_bytes())
    write_contacts(folder / "contacts.csv", count=contacts)
    return folder / "job.yaml"
