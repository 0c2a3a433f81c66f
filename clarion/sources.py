"""The lists of a job, opened: what a plan reads, held against what the job asks of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd

from clarion.campaign import Campaign
from clarion.errors import ListError, RowError, nearest
from clarion.lists import ReadReport, read_frames
from clarion.models.job import ListSource, RunList
from clarion.models.lists import ManagedList
from clarion.suppression import Scopes

FRAME_ROWS = 5_000
"""Rows planned at a time: large enough for pandas, small enough for a flat memory."""


class Suppressions(Protocol):
    """Where it is known who is suppressed: the ledger."""

    def __call__(self, recipients: Iterable[str]) -> Scopes:
        """The suppressions of those of `recipients` that have any."""
        ...


def nobody_suppressed(recipients: Iterable[str]) -> Scopes:  # noqa: ARG001
    """Of a plan that is made without a ledger."""
    return {}


class RunItems(Protocol):
    """Where the items of an earlier run come from: the ledger."""

    def __call__(self, source: RunList) -> Iterator[pd.DataFrame]:
        """Frames of the items that `source` chooses."""
        ...


class ManagedItems(Protocol):
    """Where the items of a managed list come from: the database."""

    def __call__(self, source: ManagedList) -> Iterator[pd.DataFrame]:
        """Frames of the items of the list that `source` names."""
        ...


def no_managed_lists(source: ManagedList) -> Iterator[pd.DataFrame]:
    """Of a plan that is made without a database."""
    raise ListError(f"there is no managed list {source.list!r}", where="list")


@dataclass(kw_only=True)
class ListReader:
    """Reads a job's lists: files and inline items by themselves, runs and managed lists by the ledger.

    Args:
        base: Folder that relative paths start from.
        run_items: Reads the items of an earlier run.
        managed_items: Reads the items of a managed list.
        suppressions: Tells who may not be written to.
    """

    base: Path
    run_items: RunItems
    managed_items: ManagedItems = no_managed_lists
    suppressions: Suppressions = nobody_suppressed
    report: ReadReport = field(default_factory=ReadReport)

    def frames(self, source: ListSource) -> Iterator[pd.DataFrame]:
        """The list in frames. Raises ListError."""
        if isinstance(source, RunList):
            return self.run_items(source)
        if isinstance(source, ManagedList):
            return self.managed_items(source)
        return read_frames(source, base=self.base, frame_rows=FRAME_ROWS, report=self.report)

    def opened(self, source: ListSource) -> tuple[pd.DataFrame, Iterator[pd.DataFrame]]:
        """The first frame (empty where the list is), and an iterator over all of them."""
        frames = self.frames(source)
        first = next(frames, pd.DataFrame())
        return first, _chain(first, frames)

    def check(self, campaign: Campaign) -> None:
        """Opens every list, and holds the job against the attributes that they have.

        Raises:
            ListError: A list cannot be opened, or lacks its key. A row that cannot be read is not told here.
            ConditionError: A condition names an attribute that no list has.
        """
        try:
            for index, source in enumerate(campaign.job.recipients.exclude):
                check_exclude(campaign, index, self.opened(source)[0])
            firsts = [self.opened(source)[0] for source in campaign.job.recipients.include]
        except RowError:
            return  # trouble in the rows is the plan's to find
        check_attributes(campaign, firsts)


def check_attributes(campaign: Campaign, firsts: Sequence[pd.DataFrame]) -> None:
    """Holds keys and conditions against the first frames of the include lists, as `ListReader.check`."""
    lists = campaign.job.recipients
    by_key = [(f"recipients.exclude[{n}].key", each.key) for n, each in enumerate(lists.exclude) if each.key]
    for index, (source, first) in enumerate(zip(lists.include, firsts, strict=True)):
        own = f"recipients.include[{index}]"
        # Without a key of its own, a list that lacks the attribute would let through everyone excluded by it.
        for where, attribute in by_key if source.key is None else [(f"{own}.key", source.key)]:
            _require(first, attribute, where=where, told=own)
    if any(len(first.columns) for first in firsts):
        campaign.check_attributes(sorted({str(column) for first in firsts for column in first.columns}))


def check_exclude(campaign: Campaign, index: int, first: pd.DataFrame) -> None:
    """Holds what an exclude list is matched by against its first frame. Raises ListError."""
    source, where = campaign.job.recipients.exclude[index], f"recipients.exclude[{index}]"
    if source.key is not None:
        _require(first, source.key, where=f"{where}.key")
    for attribute in exclude_attributes(campaign, index):
        _require(first, attribute, where=f"{where}.recipient")


def exclude_attributes(campaign: Campaign, index: int) -> list[str]:
    """The attributes that the recipients of an exclude list are made of."""
    template = campaign.exclude_recipients[index]
    references = template.references if template is not None else frozenset()
    return sorted(name for scope, name in references if scope == "item")


def _require(first: pd.DataFrame, attribute: str, *, where: str, told: str = "the list") -> None:
    columns = [str(column) for column in first.columns]
    if columns and attribute not in columns:
        raise ListError(
            f"{told} has no attribute {attribute!r}",
            where=where,
            expected=f"one of {', '.join(columns)}",
            nearest=nearest(attribute, columns),
        )


def _chain(first: pd.DataFrame, rest: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    yield first
    yield from rest
