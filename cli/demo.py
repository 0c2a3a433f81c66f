"""`clarion demo`: a whole campaign on this machine, against the sandbox."""

import sys
import tempfile
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from clarion.contacts import write_contacts
from clarion.ledger.runs import find_run
from clarion.reporting import build_report
from cli.console import AsJson, console, exit_code, print_json, print_report
from cli.demo_world import World, demo_world, handle_answers
from cli.progress import following
from cli.run import newest_of
from flows.run_job import run_job
from tasks.sessions import ledger

HELP = """
Run a real campaign on this machine: 1,000 made-up contacts, segments, retries, a provider that errs.

It starts a sandbox and a receiver, sends through Prefect, handles what comes back (receipts, replies, clicks,
STOP), and shows the report. Nothing leaves the machine.

Example:

    clarion demo --keep campaign
"""


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
        world = stack.enter_context(demo_world(ledger()))
        lines = len(job.read_text(encoding="utf-8").splitlines())
        say(f"{contacts:,} contacts, a job of {lines} lines, a provider at {world.sandbox.url}")
        with following(newest_of("demo")):
            report = run_job(job, against=world.sandbox.url, new=True)
        sent = world.sandbox.stats()
        report = _answered(report, world)
        stats = world.sandbox.stats()
    if as_json:
        print_json({**report, "sandbox": {**_counted(sent), "answers": _came_back(stats)}})
        raise typer.Exit(exit_code(report))
    print_report(report)
    out = console()
    out.print(
        f"the provider got {sent['requests']:,} calls and accepted {sent['accepted']:,} messages, "
        f"for {len(sent['duplicates'])} recipients more than one"
    )
    out.print(
        "\nLook further: clarion items last --status failed; clarion events last; clarion suppress list; "
        "clarion report last --json"
    )
    raise typer.Exit(exit_code(report))


def _answered(report: dict[str, Any], world: World) -> dict[str, Any]:
    """The report of the run once what came back was handled."""
    run = find_run(ledger(), report["run_id"])
    say(f"people answer at {world.receiver_url}: receipts, replies, clicks; the job's handlers react")
    if not handle_answers(ledger(), world, run_id=run.id):
        say("not everything that came back is handled yet: `clarion serve` goes on with it")
    return build_report(ledger(), run)


def _counted(stats: dict[str, Any]) -> dict[str, int]:
    return {name: stats[name] for name in ("accepted", "requests")}


def _came_back(stats: dict[str, Any]) -> dict[str, int]:
    """How many people the provider says got it, answered, and clicked."""
    return {name: len(stats["answers"][name]) for name in ("delivered", "replies", "clicks")}


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
