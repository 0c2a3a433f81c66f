"""The compiled jobs of runs: an event is read and answered by the snapshot of its run."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cache

import sqlalchemy as sa
from pydantic import ValidationError

from clarion.campaign import Campaign
from clarion.compiling import compile_job
from clarion.errors import ClarionError
from clarion.ledger.database import Database
from clarion.ledger.tables import RUN
from clarion.models.job import Job

logger = logging.getLogger(__name__)

Campaigns = Callable[[str], Campaign | None]
"""The campaign of a run by its uid; None of a run that this version cannot read."""

MOST_KEPT = 64
"""Campaigns kept in memory: a campaign with a dozen templates has some 100 KiB."""

_lock = threading.Lock()
_kept: OrderedDict[str, Campaign] = OrderedDict()


def campaign_of(database: Database, run_uid: str) -> Campaign:
    """The campaign of a run's own snapshot, compiled once: a run's job never changes.

    Args:
        database: The ledger.
        run_uid: The run's id outside the ledger; no two installations give the same one.
    """
    with _lock:
        if run_uid in _kept:
            _kept.move_to_end(run_uid)
            return _kept[run_uid]
    with database.read() as connection:
        job = connection.execute(sa.select(RUN.c.job).where(RUN.c.uid == run_uid)).scalar_one()
    campaign = compile_job(Job.model_validate_json(job))
    with _lock:
        _kept[run_uid] = campaign
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return campaign


def campaigns_of(database: Database) -> Campaigns:
    """The campaigns of runs, for a batch of events: one that cannot be read holds up no other's events."""

    @cache
    def campaign(run_uid: str) -> Campaign | None:
        try:
            return campaign_of(database, run_uid)
        except (ClarionError, ValidationError):
            logger.exception("The job of a run cannot be read", extra={"run": run_uid})
            return None

    return campaign
