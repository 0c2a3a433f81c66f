"""Jobs, campaigns and plans for tests: a job that works, and what a test changes about it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from clarion.campaign import Campaign, CompiledAction
from clarion.compiling import compile_action, compile_job
from clarion.jobfile import parse_model
from clarion.models.action import Action
from clarion.models.job import Job, RunList
from clarion.planning import PlannedItem, Planner
from clarion.sources import ListReader

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
RUN = {"id": "r1", "name": None, "start_at": NOW.isoformat()}
SEND = {"command": {"url": "https://api.test/messages", "payload": {"to": "{{ recipient }}"}}}


def job_data(**changes: Any) -> dict[str, Any]:
    """The data of a job with one item, one segment and one action; changed keys replace the job's own."""
    data: dict[str, Any] = {
        "name": "greetings",
        "recipients": {"include": [{"items": [{"id": 1, "phone": "+447700900001"}]}]},
        "recipient": "{{ item.phone }}",
        "segments": [{"name": "all", "action": "send"}],
        "actions": {"send": SEND},
    }
    return data | changes


def make_job(**changes: Any) -> Job:
    """The job of `job_data`."""
    return parse_model(Job, job_data(**changes), source="job.yaml")


def make_campaign(**changes: Any) -> Campaign:
    """The compiled job of `job_data`."""
    return compile_job(make_job(**changes))


def make_action(name: str = "send", **fields: Any) -> CompiledAction:
    """A compiled action; it calls `SEND`'s command where no other is given."""
    action = parse_model(Action, SEND | fields, source="action.yaml")
    return compile_action(action, name=name, where=f"actions.{name}")


def no_runs(source: RunList) -> Iterator[pd.DataFrame]:
    """Earlier runs of a job that never ran: none is asked for."""
    raise AssertionError(f"no test asks for the run {source.run}")


def make_reader(base: Path | None = None) -> ListReader:
    """Reads inline lists, and files from `base`."""
    return ListReader(base=base or Path("nowhere"), run_items=no_runs)


def plan(campaign: Campaign, *, reader: ListReader | None = None) -> list[PlannedItem]:
    """Everything that is planned, in order."""
    planner = Planner(campaign=campaign, run=RUN, now=NOW, reader=reader or make_reader())
    return [item for chunk in planner.plan() for item in chunk]
