"""What a person sees in the Prefect UI while a run goes on: one progress artifact."""

import time
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext

from clarion.ledger.database import Database
from clarion.ledger.runs import get_run

LEAST_SECONDS = 1.0
"""An update costs the API 15 ms: at most one a second."""


class Progress:
    """The progress artifact of a run; does nothing outside a Prefect run.

    Args:
        database: The ledger.
        run_id: The run.
    """

    def __init__(self, database: Database, run_id: int) -> None:
        self._database = database
        self._run_id = run_id
        self._artifact: UUID | None = None
        self._shown: tuple[float, str] | None = None
        self._next = 0.0

    def update(self, *, at_once: bool = False) -> None:
        """Shows how far the run is, at most once a second unless told to at once."""
        if time.monotonic() < self._next and not at_once:
            return
        self._next = time.monotonic() + LEAST_SECONDS
        if FlowRunContext.get() is None and TaskRunContext.get() is None:
            return
        run = get_run(self._database, self._run_id)
        open_items = run.pending + run.sending
        if run.planned_at is None:
            percent, text = 0.0, "planning"
        else:
            percent = 100.0 * (1 - open_items / max(run.total, 1))
            text = f"{run.total - open_items:,} of {run.total:,} items settled"
        if (percent, text) != self._shown:
            self._show(percent, f"{run.job_name}: {text}")
            self._shown = percent, text

    def _show(self, percent: float, description: str) -> None:
        if self._artifact is None:
            artifact = create_progress_artifact(percent, description=description)
            self._artifact = artifact if isinstance(artifact, UUID) else None
        else:
            update_progress_artifact(self._artifact, percent, description=description)
