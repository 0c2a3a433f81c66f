"""Deployments: one a job, named after it, with its schedule and tags. Serving them on this machine."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, cast

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.schedules import Cron, Interval, RRule
from prefect.schedules import Schedule as PrefectSchedule

from blocks.documents import document_name, prefect_client, save_document
from blocks.job import Job
from clarion.errors import SettingError
from clarion.models import job as core
from flows.handle_events import handle_events
from flows.reconcile import reconcile
from flows.run_job import run_job

WORK_POOL = "clarion"
"""The process work pool that `clarion worker` serves."""

SERVE_EVERY = timedelta(minutes=1)

SERVICES: Mapping[Flow[..., Any], str] = MappingProxyType(
    {
        reconcile: "Finds runs whose processes died, and makes them resumable.",
        handle_events: "Handles what came back, where `clarion serve` has not, and sends the reactions.",
    }
)
"""Flows that look after all runs, and what they do."""

ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
"""A run that comes due while the one before still works waits for it."""


def deploy_job(job: Job, *, pause_schedule: bool = False) -> dict[str, Any]:
    """Saves a job as a block and deploys it; once more updates both.

    Args:
        job: A job that compiles; its list paths are absolute.
        pause_schedule: Deploy with the schedule switched off.

    Returns:
        `deployment`, `id`, `block`, `schedule` and `paused`.

    Raises:
        SettingError: Prefect's API cannot be used.
    """
    name = document_name(job.name)
    save_document(job, name, replace=True)
    with prefect_client() as client:
        document = client.read_block_document_by_name(name=name, block_type_slug=Job.get_block_type_slug())
        ensure_work_pool()
        _drop_named_schedules(client, f"{run_job.name}/{job.name}")
        made = _deployment(job, block_id=str(document.id), pause_schedule=pause_schedule)
        identity = made.apply()
    return {
        "deployment": f"{run_job.name}/{job.name}",
        "id": str(identity),
        "block": f"job/{name}",
        "schedule": job.schedule.model_dump(exclude_none=True) if job.schedule else None,
        "paused": job.schedule is not None and pause_schedule,
    }


def _drop_named_schedules(client: SyncPrefectClient, deployment: str) -> None:
    """Drops what a person added to the deployment under a slug: Prefect would keep it, or refuse the update.

    Schedules without a slug, as ours are, it replaces by the job's; and it shows them in words.
    """
    try:
        found = client.read_deployment_by_name(deployment)
    except ObjectNotFound:
        return
    for schedule in found.schedules:
        if schedule.slug:
            client.delete_deployment_schedule(found.id, schedule.id)


def _deployment(job: Job, *, block_id: str, pause_schedule: bool) -> RunnerDeployment:
    schedule = [prefect_schedule(job.schedule, active=not pause_schedule)] if job.schedule else []
    made = run_job.to_deployment(
        name=job.name,
        description=job.description,
        tags=list(job.tags),
        parameters={"job": {"$ref": {"block_document_id": block_id}}},
        schedules=schedule,
        concurrency_limit=ONE_AT_A_TIME,
        work_pool_name=WORK_POOL,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return cast("RunnerDeployment", made)  # a coroutine only inside an event loop


def prefect_schedule(schedule: core.Schedule, *, active: bool) -> PrefectSchedule:
    """The job's schedule as Prefect's.

    Raises:
        SettingError: Prefect does not take the rule.
    """
    options: dict[str, Any] = {"timezone": schedule.timezone, "active": active}
    try:
        if schedule.cron is not None:
            return Cron(schedule.cron, **options)
        if schedule.rrule is not None:
            return RRule(schedule.rrule, **options)
        anchor = datetime.fromisoformat(schedule.anchor_date) if schedule.anchor_date else None
        return Interval(timedelta(seconds=schedule.interval or 0), anchor_date=anchor, **options)
    except ValueError as exc:
        raise SettingError(f"is no schedule: {exc}", where="schedule") from exc


def deploy_services() -> None:
    """Deploys what looks after all runs once a minute; a second time it changes nothing."""
    for service, description in SERVICES.items():
        made = service.to_deployment(
            name=service.name,
            description=description,
            tags=["clarion"],
            schedules=[Interval(SERVE_EVERY)],
            concurrency_limit=ConcurrencyLimitConfig(
                limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
            ),
            work_pool_name=WORK_POOL,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        cast("RunnerDeployment", made).apply()


def ensure_work_pool() -> None:
    """Makes the work pool of `clarion worker` where there is none."""
    from prefect.client.schemas.actions import WorkPoolCreate  # noqa: PLC0415  # slow to import

    with prefect_client() as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        except ObjectAlreadyExists:
            return
