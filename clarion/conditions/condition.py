"""A condition as the rest of Clarion uses it."""

import datetime as dt
from collections.abc import Collection, Mapping
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd

from clarion.conditions.grammar import read_condition
from clarion.conditions.scalar import Compiled, compile_node
from clarion.conditions.tree import attributes
from clarion.conditions.vectorised import Evaluation
from clarion.errors import ConditionError, nearest


class Condition:
    """A condition that has been read, by `parse`; equal to any other with the same source and scopes.

    Args:
        source: The condition as it was written.
        scopes: The names it may use in front of attributes.
    """

    def __init__(self, source: str, *, scopes: frozenset[str]) -> None:
        self._source = source
        self._scopes = scopes
        self._tree = read_condition(source, scopes=scopes)
        named = dict.fromkeys((leaf.scope, str(leaf.path[0])) for leaf in attributes(self._tree))
        self._named = tuple(named)
        self._used = frozenset(scope for scope, _ in named)

    @property
    def source(self) -> str:
        """The condition as it was written."""
        return self._source

    @property
    def references(self) -> frozenset[tuple[str, str]]:
        """The (scope, attribute) pairs it names; of `response.body.status` that is (response, body)."""
        return frozenset(self._named)

    def depth(self, path: tuple[str, str]) -> int:
        """How far it looks below an attribute, as `("response", "body")`: 1 for `response.body.id`.

        0 where it takes the attribute as a whole; -1 where it does not name it.
        """
        scope, name = path
        depths = [
            len(leaf.path) - 1
            for leaf in attributes(self._tree)
            if (leaf.scope, str(leaf.path[0])) == (scope, name)
        ]
        return max(depths, default=-1)

    def check(self, known: Mapping[str, Collection[str]]) -> None:
        """Refuses attributes that no row can have.

        Args:
            known: By scope, the names of its attributes, such as a list's header. Others are not checked.

        Raises:
            ConditionError: It names an attribute that its scope does not have; the error names the nearest.
        """
        for scope, name in self._named:
            names = known.get(scope)
            if names is not None and name not in names:
                raise ConditionError(f"{scope} has no attribute {name!r}", nearest=nearest(name, names))

    def matches(
        self, scopes: Mapping[str, pd.DataFrame | Mapping[str, Any]], *, now: dt.datetime
    ) -> pd.Series:
        """Whether the condition holds in each row of the frames; what is missing makes a comparison false.

        A row's verdict depends on that row and `now` alone: not on rows beside it, not on a column's dtype.

        Args:
            scopes: By name, a frame with one row per verdict, or a mapping that all rows share. At least one
                is a frame; several have the same index. What has no column is missing in every row.
            now: The moment of the evaluation, with a time zone; `today()` is its date in UTC.

        Returns:
            One bool per row, with the frames' index, none of them missing.

        Raises:
            ValueError: The caller's mistake: a scope that the condition uses is not given, no frame is, the
                frames differ in their index, a column is there twice, or `now` has no time zone.
        """
        today = _date_of(now)
        self._check_scopes(scopes)
        index = _common_index(scopes)
        verdicts = Evaluation(scopes, today=today, length=len(index)).verdicts(self._tree)
        return pd.Series(np.asarray(verdicts, dtype=np.bool_), index=index)

    def holds(self, scopes: Mapping[str, Any], *, now: dt.datetime) -> bool:
        """Whether the condition holds for one row of plain Python values, by the same rules as `matches`.

        Args:
            scopes: By name, a mapping of attributes; values may be nested mappings and lists.
            now: The moment of the evaluation, with a time zone; `today()` is its date in UTC.

        Raises:
            ValueError: The caller's mistake: a scope that the condition uses is not given, or `now` has no
                time zone.
        """
        self._check_scopes(scopes)
        return self._compiled(scopes, _date_of(now)) is True

    @cached_property
    def _compiled(self) -> Compiled:
        return compile_node(self._tree)

    def _check_scopes(self, scopes: Mapping[str, Any]) -> None:
        if not self._used <= scopes.keys():
            missing = ", ".join(sorted(self._used - scopes.keys()))
            raise ValueError(f"the condition {self._source!r} needs the scopes {missing}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Condition):
            return NotImplemented
        return (self._source, self._scopes) == (other._source, other._scopes)

    def __hash__(self) -> int:
        return hash((self._source, self._scopes))

    def __repr__(self) -> str:
        return f"Condition({self._source!r}, scopes={sorted(self._scopes)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _parse, (self._source, self._scopes)


def parse(source: str, *, scopes: Collection[str]) -> Condition:
    """Reads a condition; docs/conditions.md describes the language.

    Args:
        source: The condition, at most 4,000 characters.
        scopes: The names that may stand in front of an attribute, such as item and job.

    Raises:
        ConditionError: It is no condition; what is wrong, at which character, and the nearest valid name.
    """
    return _parse(source, frozenset(scopes))


@lru_cache(maxsize=1024)
def _parse(source: str, scopes: frozenset[str]) -> Condition:
    return Condition(source, scopes=scopes)


def _date_of(now: dt.datetime) -> dt.date:
    if now.tzinfo is None:
        raise ValueError("`now` has no time zone")
    return now.astimezone(dt.UTC).date()


def _common_index(scopes: Mapping[str, Any]) -> pd.Index:
    first, *others = [frame.index for frame in scopes.values() if isinstance(frame, pd.DataFrame)] or [None]
    if first is None:
        raise ValueError("no frame is given: a condition on mappings alone is for `holds`")
    if not all(first.equals(other) for other in others):
        raise ValueError("the frames differ in their index")
    return first
