"""Suppressions where an item falls back: a step is passed over whose recipient is suppressed by then."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.fallback import NextStep
from clarion.ledger.suppressed_items import job_facts
from clarion.ledger.suppressions import scopes_of
from clarion.ledger.tables import RUN
from clarion.suppression import held_by


def suppressed_steps(connection: Connection, run_id: int, steps: Sequence[NextStep]) -> frozenset[int]:
    """Those of an item's next steps whose recipient is suppressed for the channel that they use."""
    scopes = scopes_of(connection, [step.recipient for step in steps])
    if not scopes:
        return frozenset()
    run = connection.execute(sa.select(RUN.c.job_name, RUN.c.job).where(RUN.c.id == run_id)).one()
    channels = job_facts(run.job).channels
    return frozenset(
        step.step
        for step in steps
        if held_by(scopes, step.recipient, job=run.job_name, channel=channels.get(step.action))
    )
