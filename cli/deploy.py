"""`clarion deploy` and `clarion worker`: jobs that Prefect starts."""

import asyncio
import sys
from typing import Annotated

import typer
from prefect.settings import PREFECT_API_URL

from clarion.errors import SettingError
from cli.console import AsJson, console, print_json
from cli.jobs import job_named, naming
from flows.deployments import WORK_POOL, deploy_job, deploy_services, ensure_work_pool
from flows.run_job import prepare

DEPLOY_HELP = """
Deploy a job to Prefect: one deployment named after the job, with its schedule and tags, one run at a time.
Running it again updates the deployment and the saved job.

Needs a Prefect server: `prefect server start`, and PREFECT_API_URL set to its address.

Example:

    clarion deploy renewals.yaml --pause-schedule
"""

WORKER_HELP = """
Run what is deployed on this machine, until Ctrl-C: scheduled runs, and those that are started in the UI.

Example:

    clarion worker
"""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("deploy", help=DEPLOY_HELP)(deploy)
    app.command("worker", help=WORKER_HELP)(worker)


def deploy(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Job file, or name of a saved job.")],
    *,
    pause_schedule: Annotated[
        bool, typer.Option("--pause-schedule", help="Deploy with the schedule switched off.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Deploy a job."""
    require_server()
    found = job_named(job)
    with naming(job):
        prepare(found)
    made = deploy_job(found, pause_schedule=pause_schedule)
    if as_json:
        print_json(made)
        return
    out = console()
    out.print(f"Deployed {made['deployment']} (job saved as {made['block']}).")
    if made["schedule"]:
        told = ", ".join(f"{name} {value}" for name, value in made["schedule"].items())
        out.print(f"Schedule: {told}" + ("; paused" if made["paused"] else ""))
    out.print("`clarion worker` runs it on this machine; start it from the Prefect UI, or with")
    out.print(f"  prefect deployment run '{made['deployment']}'")


def require_server() -> None:
    """A deployment in a temporary server would end with the command.

    Raises:
        SettingError: PREFECT_API_URL names no server.
    """
    if not PREFECT_API_URL.value():
        raise SettingError(
            "is not set, and a deployment needs a server that stays",
            where="PREFECT_API_URL",
            expected="the address of one that `prefect server start` runs, as http://127.0.0.1:4200/api",
        )


def worker(
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many runs at once.")] = None,
) -> None:
    """Serve deployments."""
    require_server()
    from flows.serve_deployments import serve  # noqa: PLC0415  # slow to import

    ensure_work_pool()
    deploy_services()
    sys.stderr.write(f"Serving the work pool {WORK_POOL!r}; Ctrl-C ends it.\n")
    asyncio.run(serve(limit=limit))
    sys.stderr.write("Ended.\n")
