"""Suppressions where an item falls back: a step is passed over whose recipient is suppressed by then."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.errors import SettingError
from clarion.fallback import NextStep
from clarion.ledger.suppressed_items import job_facts
from clarion.ledger.suppressions import scopes_of
from clarion.ledger.tables import RUN
from clarion.suppression import held_by


def suppressed_steps(connection: Connection, run_id: int, steps: Sequence[NextStep]) -> frozenset[int]:
    """Those of an item's next steps whose recipient is suppressed for the channel that they use.

    None where this installation's key is not that of the hashes: what came of a call is not lost for it, and
    whoever claims the step is refused until the key is the right one.
    """
    try:
        scopes = scopes_of(connection, [step.recipient for step in steps])
    except SettingError:
        return frozenset()
    if not scopes:
        return frozenset()
    run = connection.execute(sa.select(RUN.c.job_name, RUN.c.job).where(RUN.c.id == run_id)).one()
    channels = job_facts(run.job).channels
    return frozenset(
        step.step
        for step in steps
        if held_by(scopes, step.recipient, job=run.job_name, channel=channels.get(step.action))
    )
