"""The exclude lists of a job: who is left out, by key attribute or by recipient."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from clarion.campaign import Campaign
from clarion.errors import PlanError, RecipientError, RenderError
from clarion.keyset import KeySet
from clarion.lists import frame_items
from clarion.lists.keys import key_texts
from clarion.models.job import ListSource
from clarion.recipients import Kind, normalise
from clarion.rendering import job_scope
from clarion.sources import ListReader, check_exclude, exclude_attributes
from clarion.templating import Compiled

Rows = npt.NDArray[np.bool_]
"""One truth a row."""


class Excluded:
    """The exclude lists of a job, as sets on disk. Use as a context manager."""

    def __init__(self, campaign: Campaign, reader: ListReader) -> None:
        self._campaign = campaign
        self._stack = ExitStack()
        self._by_attribute: dict[str, KeySet] = {}
        self._by_recipient: KeySet | None = None
        try:
            for index, source in enumerate(campaign.job.recipients.exclude):
                self._read(source, index=index, reader=reader)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def keys(self, frame: pd.DataFrame, *, key: str | None) -> Rows:
        """For each row, whether an exclude list names its key.

        Args:
            frame: Items.
            key: The include list's own key attribute; None looks under the exclude list's name for it.
        """
        hit = np.zeros(len(frame), dtype=np.bool_)
        for attribute, keys in self._by_attribute.items():
            column = frame.get(key or attribute)
            if column is not None:
                texts = key_texts(column)
                found = keys.found(text for text in texts if text is not None)
                hit |= [text in found for text in texts]
        return hit

    def recipients(self, recipients: Sequence[str]) -> frozenset[str]:
        """Those of `recipients` that an exclude list names."""
        return self._by_recipient.found(recipients) if self._by_recipient else frozenset()

    def _read(self, source: ListSource, *, index: int, reader: ListReader) -> None:
        where = f"recipients.exclude[{index}]"
        first, frames = reader.opened(source)
        check_exclude(self._campaign, index, first)
        if source.key is not None:
            keys = self._by_attribute.setdefault(source.key, self._new_set())
            for frame in frames:
                if source.key in frame.columns:
                    keys.add(text for text in key_texts(frame[source.key]) if text is not None)
            return
        self._by_recipient = self._by_recipient or self._new_set()
        for frame in frames:
            self._by_recipient.add(self._normalised(frame, index=index, where=where))

    def _new_set(self) -> KeySet:
        return self._stack.enter_context(KeySet())

    def _normalised(self, frame: pd.DataFrame, *, index: int, where: str) -> Iterator[str]:
        template = self._campaign.exclude_recipients[index]
        attributes = exclude_attributes(self._campaign, index)
        job = job_scope(self._campaign)
        for row, item in zip(frame.index, frame_items(frame), strict=True):
            scope = {"item": item, "job": job, "run": {}}
            try:
                value = template.render(scope) if template is not None else None
                if not _is_blank(value):
                    yield from _spellings(self._campaign, value, scope)
            except (RenderError, RecipientError) as exc:
                if (
                    isinstance(exc, RenderError)
                    and attributes
                    and all(name not in item for name in attributes)
                ):
                    continue  # the cells are empty: nobody is named here
                # An entry that cannot be compared would let someone through who asked not to be written to.
                raise PlanError(
                    f"{where} row {int(row) + 1}: {exc.message}; what cannot be read cannot be excluded"
                ) from None


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def normal_recipient(campaign: Campaign, value: Any, scope: dict[str, Any]) -> str:
    """A recipient as the job's rule wants it. Raises RecipientError."""
    return _normal(value, scope, kind=campaign.job.recipient.type, region=campaign.region)


def _spellings(campaign: Campaign, value: Any, scope: dict[str, Any]) -> frozenset[str]:
    """An entry of an exclude list, spelled as the job's recipient and as those of the fallback steps.

    Raises:
        RecipientError: It is none of these; what would be taken as any text says nothing there.
    """
    steps = [step for segment in campaign.segments for step in segment.fallback if step.recipient is not None]
    rules = dict.fromkeys((step.kind, step.region) for step in steps)
    found: set[str] = set()
    refusal = None
    try:
        found.add(normal_recipient(campaign, value, scope))
    except RecipientError as exc:
        refusal = exc
    for kind, region in rules:
        with suppress(RecipientError):
            found.add(_normal(value, scope, kind=kind, region=region))
            refusal = refusal if kind == "text" else None
    if refusal is not None:
        raise refusal
    return frozenset(found)


def _normal(value: Any, scope: dict[str, Any], *, kind: Kind, region: Compiled | None) -> str:
    country = None
    # A number that begins with its country code is the same anywhere: no need to ask where it is from.
    international = kind == "phone" and isinstance(value, str) and value.startswith("+")
    if region is not None and not international:
        # Without a country only international numbers can be read.
        with suppress(RenderError):
            found = region.render(scope)
            country = None if found is None else str(found)
    return normalise(value, kind=kind, region=country)
