"""Cutting what is due into slices, and handing them out in a rolling window."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from clarion.ledger.claims import OpenWork, Slice, next_slice, open_work, release_due
from clarion.ledger.database import Database

SHORT_RUN_ITEMS = 200
"""Up to so many items each row is a slice of its own, a task run that a person sees in the UI."""

MOST_ITEMS = 5_000
"""A task run costs Prefect 30 ms of work in a thread and 70 on a cluster, whatever it does: in slices of a
thousand 30 us an item, where sending one takes some 200."""

LEAST_ITEMS = 50
SLICES_OF_A_WORKER = 16
"""Of a run that is not very long: so many that at the end no worker waits long for another."""

WINDOW = 32
"""Slices handed out at once. A slice that waits for its retries keeps its place, so there are many."""


def slice_size(total: int, *, workers: int = 1) -> int:
    """Items a slice for a run of `total` items: few slices for each worker, within bounds."""
    if total <= SHORT_RUN_ITEMS:
        return 1
    return min(MOST_ITEMS, max(LEAST_ITEMS, total // (SLICES_OF_A_WORKER * workers)))


KEPT_PLACES = WINDOW // 2
"""Most places kept for actions that have no slice out: most of them may have nothing left to send."""

LEAST_WAIT_SECONDS = 0.02


@dataclass(kw_only=True)
class SliceFeed:
    """The slices of a run that are due, action by action in turn, none of them twice at a time.

    A place is kept for every action that has no slice out: one with a low limit would else take them all.

    Args:
        database: The ledger.
        run_id: The run.
        actions: Names of its actions.
        size: Items a slice.
    """

    database: Database
    run_id: int
    actions: Sequence[str]
    size: int
    _position: dict[str, int] = field(default_factory=dict)
    _out: dict[str, int] = field(default_factory=dict)
    _held: dict[str, float] = field(default_factory=dict)
    _turn: int = 0

    def take(self, most: int) -> list[Slice]:
        """Up to `most` slices that are due and not handed out."""
        release_due(self.database, self.run_id)
        parts: list[Slice] = []
        while len(parts) < most and (part := self._due(most - len(parts))) is not None:
            parts.append(part)
        return parts

    def done(self, part: Slice, *, held_seconds: float) -> None:
        """A slice has come back; where its limit was held, its action rests for so many seconds."""
        self._out[part.action] -= 1
        if held_seconds:
            self._held[part.action] = time.monotonic() + held_seconds

    def wait_seconds(self, most: float) -> float:
        """How long to wait before asking again when no slice is out, at most `most`."""
        if any(until > time.monotonic() for until in self._held.values()):
            return most
        return min(most, max(LEAST_WAIT_SECONDS, self.open_work().due_in_seconds))

    def open_work(self) -> OpenWork:
        """What of the whole run is pending."""
        with self.database.read() as connection:
            return open_work(connection, run_id=self.run_id)

    def _due(self, free: int) -> Slice | None:
        """The next slice while so many places are free; None where there is none."""
        waiting = sum(not self._out.get(action) for action in self.actions)
        for _ in self.actions:
            action = self.actions[self._turn % len(self.actions)]
            self._turn += 1
            if self._out.get(action) and free <= min(waiting, KEPT_PLACES):
                continue
            part = self._next(action)
            if part is not None:
                return part
        return None

    def _next(self, action: str) -> Slice | None:
        if self._held.get(action, 0.0) > time.monotonic():
            return None
        with self.database.read() as connection:
            part = self._after(connection, action)
            if part is None and not self._out.get(action):
                self._position[action] = 0  # from the front again: what was put back is due now, or later
                part = self._after(connection, action)
        if part is not None:
            self._position[action] = part.last_id
            self._out[action] = self._out.get(action, 0) + 1
        return part

    def _after(self, connection: Connection, action: str) -> Slice | None:
        position = self._position.get(action, 0)
        return next_slice(connection, run_id=self.run_id, action=action, after_id=position, size=self.size)
