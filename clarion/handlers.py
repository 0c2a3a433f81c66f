"""Which handlers react to which events: conditions over a batch of events, whole columns at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from clarion.campaign import Campaign, CompiledHandler
from clarion.rendering import job_scope

SCOPES = ("event", "item", "run_item")
"""The scopes of a handler's condition that differ from event to event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """An event with what it is about, each as conditions and templates of handlers see it.

    `run_item` is the campaign's own, also of an answer to a reaction; `item` are its attributes.
    """

    event: Mapping[str, Any]
    item: Mapping[str, Any]
    run_item: Mapping[str, Any]


def matching_handlers(
    campaign: Campaign, occurrences: Sequence[Occurrence], *, now: datetime
) -> list[list[CompiledHandler]]:
    """For each occurrence the handlers that react to it, in the job's order: all that match, or the first.

    Args:
        campaign: The compiled job of the run that the events belong to.
        occurrences: Events of runs of this job.
        now: The moment that conditions see.
    """
    matched: list[list[CompiledHandler]] = [[] for _ in occurrences]
    if not occurrences:
        return matched
    scopes: dict[str, Any] = {scope: _frame(campaign, occurrences, scope) for scope in SCOPES}
    scopes["job"] = job_scope(campaign)
    open_rows = np.ones(len(occurrences), dtype=np.bool_)
    for handler in campaign.handlers:
        hits = open_rows & handler.condition.matches(scopes, now=now).to_numpy()
        for position in hits.nonzero()[0].tolist():
            matched[position].append(handler)
        if campaign.job.matching_handlers == "first":
            open_rows &= ~hits
    return matched


def _frame(campaign: Campaign, occurrences: Sequence[Occurrence], scope: str) -> pd.DataFrame:
    """One row an occurrence, one column an attribute that some condition names."""
    references = frozenset[tuple[str, str]]().union(
        *(each.condition.references for each in campaign.handlers)
    )
    rows = [getattr(each, scope) for each in occurrences]
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=object)
        for of, name in sorted(references)
        if of == scope
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(rows)))
