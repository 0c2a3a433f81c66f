"""What is saved in Prefect: `clarion blocks`, `clarion action save`, `clarion job save`."""

from pathlib import Path
from typing import Annotated

import typer
from prefect.blocks.core import Block

from blocks.documents import document_name, save_document, saved_names
from blocks.http_action import HttpAction, load_action
from blocks.job import Job
from blocks.registry import ALL_BLOCKS, register_blocks
from clarion.compiling import compile_job, resolve_actions
from clarion.jobfile import anchor_paths
from clarion.jobfile import load_action as read_action
from clarion.jobfile import load_job as read_job
from cli import credentials
from cli.console import AsJson, print_json
from cli.jobs import naming
from cli.usage import help_if_alone

SaveName = Annotated[
    str | None, typer.Option("--name", help="Name to save it under: lower-case letters, digits, dashes.")
]

BLOCKS_REGISTER = """
Make Clarion's block types known to Prefect, so that its UI offers them. Once more changes nothing.

Example:

    clarion blocks register
"""

BLOCKS_LIST = """
Name everything that is saved: credentials, lists, actions and jobs.

Example:

    clarion blocks list
"""

ACTION_SAVE = """
Save the action in a YAML or JSON file, for jobs to name as http-action/NAME. A saved one is replaced.

Example:

    clarion action save send-sms.yaml
"""

JOB_SAVE = """
Save the job in a YAML or JSON file, to start it from Prefect. A saved one is replaced.

Message texts kept in files are saved with the job. Lists stay where they are: their paths become absolute, so
another machine that runs the job needs the files in the same place (or a URL).

Example:

    clarion job save renewals.yaml
"""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    blocks = typer.Typer(
        callback=help_if_alone, invoke_without_command=True, help="Blocks: what is saved in Prefect."
    )
    blocks.command("register", help=BLOCKS_REGISTER)(register_types)
    blocks.command("list", help=BLOCKS_LIST)(list_saved)
    app.add_typer(blocks, name="blocks")
    action = typer.Typer(
        callback=help_if_alone, invoke_without_command=True, help="Actions, saved for jobs to share."
    )
    action.command("save", help=ACTION_SAVE)(save_action)
    app.add_typer(action, name="action")
    job = typer.Typer(
        callback=help_if_alone, invoke_without_command=True, help="Jobs, saved to be started from Prefect."
    )
    job.command("save", help=JOB_SAVE)(save_job)
    app.add_typer(job, name="job")
    credentials.register(app)


def register_types(*, as_json: AsJson = False) -> None:
    """Register all block types."""
    slugs = register_blocks()
    if as_json:
        print_json({"registered": slugs})
    else:
        typer.echo(f"Registered {', '.join(slugs)}.")


def list_saved(*, as_json: AsJson = False) -> None:
    """Print the references of all saved blocks."""
    references = [
        f"{block.get_block_type_slug()}/{name}" for block in ALL_BLOCKS for name in saved_names(block)
    ]
    if as_json:
        print_json({"saved": references})
    else:
        typer.echo("\n".join(references) or "Nothing is saved.")


def save_action(
    file: Annotated[Path, typer.Argument(help="YAML or JSON file of one action.")],
    *,
    name: SaveName = None,
    as_json: AsJson = False,
) -> None:
    """Save the action in a file, under the file's name unless told."""
    with naming(str(file)):
        action = HttpAction.model_validate(read_action(file).model_dump())
    _save(action, name or document_name(file.stem), as_json=as_json)


def save_job(
    file: Annotated[Path, typer.Argument(help="YAML or JSON file of one job.")],
    *,
    name: SaveName = None,
    as_json: AsJson = False,
) -> None:
    """Save the job in a file, with its message texts and absolute paths of its lists."""
    with naming(str(file)):
        job = anchor_paths(read_job(file), base=file.parent)
        compile_job(resolve_actions(job, load=load_action))  # a job that cannot run is not saved
    _save(Job.model_validate(job.model_dump()), name or document_name(job.name), as_json=as_json)


def _save(block: Block, name: str, *, as_json: bool) -> None:
    """Saves what a file holds: the file is the truth, so an older copy is replaced."""
    new = save_document(block, name, replace=True)
    reference = f"{block.get_block_type_slug()}/{name}"
    if as_json:
        print_json({"saved": reference, "new": new})
    else:
        typer.echo(f"{'Saved' if new else 'Replaced'} {reference}.")
