"""Following a run on a terminal: how far it is, how fast it goes, when it is done, and what it waits for."""

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from clarion.ledger.progress import first_due, held_seconds, pending_by_action
from clarion.ledger.runs import RunRecord
from clarion.pace import OpenAction, Rate, Standing, duration, left_seconds, rate_text, waits_for
from clarion.sending.writer import Limit
from tasks.sessions import compiled, ledger, limits_of

LOOK_SECONDS = 0.25
STAND_SECONDS = 1.0
STAND_SHARE = 0.05
"""Of a long list the pending items take long to count: no more than this share of the time goes into it."""

Look = Callable[[], RunRecord | None]
Stand = Callable[[RunRecord], Standing]


def standing_of(run: RunRecord) -> Standing:
    """How a run stands by the ledger."""
    if run.planned_at is None or run.ended:
        return Standing(
            status=run.status,
            control=run.control,
            now=datetime.now(UTC),
            start_at=run.start_at,
            planned=run.planned_at is not None,
        )
    database, limits = ledger(), _limits(run)
    held = held_seconds(database, [limit.key for limit in limits.values()])
    actions = [
        OpenAction(
            action=name,
            pending=pending,
            tps=limits[name].tps if name in limits else None,
            held_seconds=held.get(limits[name].key, 0.0) if name in limits else 0.0,
        )
        for name, pending in pending_by_action(database, run.id).items()
    ]
    due = first_due(database, run.id)
    return Standing(
        status=run.status,
        control=run.control,
        now=due.now,
        sending=run.sending,
        actions=actions,
        due_at=due.at,
        tried=due.tried,
    )


_SNAPSHOTS: dict[str, dict[str, Limit]] = {}


def _limits(run: RunRecord) -> dict[str, Limit]:
    """The limits of a run's own snapshot, which does not change."""
    if run.uid not in _SNAPSHOTS:
        _SNAPSHOTS[run.uid] = limits_of(compiled(run), run)
    return _SNAPSHOTS[run.uid]


@dataclass(frozen=True, kw_only=True)
class View:
    """What the bar shows: `total` None while it is not known; `pace` and `note` in words."""

    status: str
    settled: int
    total: int | None
    pace: str
    note: str


class Follower:
    """Makes views of what is seen of a run.

    Args:
        stand: Tells how the run stands; asked at most once a second.
        clock: Seconds that only advance.
    """

    def __init__(self, stand: Stand, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stand = stand
        self._clock = clock
        self._rate = Rate()
        self._standing: Standing | None = None
        self._next_stand_at = 0.0

    def view(self, run: RunRecord) -> View:
        """What to show of the run as it is now."""
        counts = run.counts
        settled = counts["total"] - counts["pending"] - counts["sending"]
        begun = self._clock()
        planned = run.planned_at is not None
        if planned:
            self._rate.note(settled, at=begun)
        if self._standing is None or begun >= self._next_stand_at:
            self._standing = self._stand(run)
            now = self._clock()
            self._next_stand_at = now + max(STAND_SECONDS, (now - begun) / STAND_SHARE)
        waits = waits_for(self._standing)
        outcomes = [f"{counts[name]:,} {name}" for name in ("succeeded", "failed", "unknown") if counts[name]]
        return View(
            status=run.status,
            settled=settled if planned else counts["total"],
            total=counts["total"] if planned else None,
            pace=self._pace(open_items=counts["pending"] + counts["sending"]) if planned else "",
            note=", ".join(outcomes) + ("; " if outcomes and waits else "") + (waits or ""),
        )

    def _pace(self, *, open_items: int) -> str:
        rate = self._rate.per_second()
        actions = self._standing.actions if self._standing else ()
        left = left_seconds(actions, open_items=open_items, rate=rate)
        parts = [] if rate is None else [rate_text(rate)]
        parts += [] if left is None else [f"{duration(left)} left"]
        return ", ".join(parts)


class _Bar(Progress):
    """A bar with a line of words below it."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.note:
            yield Text(self.note, style="dim")


@contextmanager
def following(look: Look, *, stand: Stand = standing_of, out: Console | None = None) -> Generator[None]:
    """Shows a run's progress on a terminal while the body works on it.

    Args:
        look: Gives the run, or None while there is none yet.
        stand: Tells how the run stands.
        out: Where to show it; standard error where none is given, and nothing where that is no terminal.
    """
    out = out or Console(stderr=True)
    if not out.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
    )
    done = threading.Event()
    with _Bar(*columns, console=out, transient=True, expand=True) as bar:
        task = bar.add_task("starting", total=None, pace="")
        arguments = (bar, task, look, Follower(stand), done)
        watcher = threading.Thread(target=_watch, args=arguments, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _watch(bar: _Bar, task: TaskID, look: Look, follower: Follower, done: threading.Event) -> None:
    while not done.wait(LOOK_SECONDS):
        run = look()
        if run is None:
            continue
        view = follower.view(run)
        bar.note = view.note
        bar.update(task, description=view.status, completed=view.settled, total=view.total, pace=view.pace)
