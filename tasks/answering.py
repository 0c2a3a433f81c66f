"""Sending reactions: the runs beside the campaigns, each for as long as something of it is due."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any

from clarion.error_text import logged_error
from clarion.ledger.answering import SOON_SECONDS, due_actions, finish, may_go_on, runs_to_answer
from clarion.ledger.claims import Slice
from clarion.ledger.control import enforce_control
from clarion.ledger.runs import REACTIONS, RunRecord, get_run
from clarion.ledger.summaries import summarize
from clarion.ledger.workers import RENEW_SECONDS, live_workers, reap_workers
from clarion.sending.sender import SliceResult
from clarion.sending.session import RunSession
from tasks.notify import tell_paused
from tasks.sessions import ledger, own_session, sender

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
REST_SECONDS = 10.0
"""How long a run is left alone that cannot be worked on: its credentials cannot be loaded, or its provider
holds it back for long."""

MOST_RUNS = 16
"""Runs at a time: a slow provider of one holds up no other."""

LAST_ID = 2**62


class Answering:
    """What this process sends of reactions, in threads of its own."""

    def __init__(self) -> None:
        self._leaving = threading.Event()
        self._at_work: dict[int, Future[Any]] = {}
        self._rests_until: dict[int, float] = {}
        """When runs are looked at again that could not be worked on, or of which others send the last."""
        self._threads = ThreadPoolExecutor(MOST_RUNS, thread_name_prefix="clarion-answering")

    @property
    def busy(self) -> bool:
        """Whether something was being sent at the last look: what came up behind it is seen at the next."""
        return bool(self._at_work)

    def look(self) -> None:
        """Begins to send what is due of runs that nobody here works on."""
        self._at_work = {run_id: each for run_id, each in self._at_work.items() if not each.done()}
        if len(self._at_work) >= MOST_RUNS:
            return
        for run in runs_to_answer(ledger()):
            if run.id not in self._at_work and self._rests_until.get(run.id, 0.0) <= time.monotonic():
                self._rests_until.pop(run.id, None)
                # A thread has none of Prefect's settings and contexts, unless it is given them.
                work = copy_context().run
                self._at_work[run.id] = self._threads.submit(work, self._answer, run)

    def leave(self) -> None:
        """Sends nothing more: gives back what is unsent, and waits up to 8 s for answers on their way."""
        self._leaving.set()
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, run: RunRecord) -> None:
        try:
            reap_workers(ledger(), run.id)  # what a dead process has left on its way is unknown
            if run.pending:
                with own_session(run.uid) as session:
                    held = _SendingRun(session, self._leaving).send()
                if held:
                    self._rests_until[run.id] = time.monotonic() + REST_SECONDS
            elif live_workers(ledger(), run.id):
                self._rests_until[run.id] = time.monotonic() + RENEW_SECONDS
            _end(run)
        except Exception as exc:  # noqa: BLE001  # it is tried again
            self._rests_until[run.id] = time.monotonic() + REST_SECONDS
            logger.error(  # noqa: TRY400  # the text may hold a credential
                "Reactions could not be sent: %s", logged_error(exc), extra={"run": run.uid}
            )


class _SendingRun:
    """A run of reactions that is being sent: one slice of each action at a time, all that is due of it."""

    def __init__(self, session: RunSession, leaving: threading.Event) -> None:
        self._session = session
        self._leaving = leaving
        self._out: dict[str, Future[SliceResult]] = {}
        self._held_until: dict[str, float] = {}

    def send(self) -> bool:
        """Sends until nothing is due within half a minute, or a person's word comes between.

        Returns:
            Whether something is held back for longer than that.
        """
        actions = max(1, len(self._session.limits))
        with ThreadPoolExecutor(actions, thread_name_prefix="clarion-reactions") as threads:
            try:
                while self._goes_on():
                    soonest = self._hand_out(threads.submit)
                    if not self._out and soonest > SOON_SECONDS:
                        return self._held
                    self._take_back(soonest)
            except BaseException:
                sender().halt(self._session, "pause")
                raise
        return False

    @property
    def _held(self) -> bool:
        return any(until > time.monotonic() for until in self._held_until.values())

    def _goes_on(self) -> bool:
        """Whether it may be sent; where not, what is on its way is halted."""
        if self._leaving.is_set() or not may_go_on(ledger(), self._session.run.id):
            sender().halt(self._session, "pause")
            return False
        return not self._session.halted.is_set()

    def _hand_out(self, submit: Callable[..., Future[Any]]) -> float:
        """Begins with the actions that are due; the seconds until the first of the others is."""
        soonest = float("inf")
        for action, due_in_seconds in due_actions(ledger(), self._session.run.id).items():
            wait_seconds = max(due_in_seconds, self._held_until.get(action, 0.0) - time.monotonic())
            if action in self._out:
                continue
            if wait_seconds <= 0:
                part = Slice(action=action, first_id=0, last_id=LAST_ID)
                self._out[action] = submit(sender().deliver, self._session, part)
            else:
                soonest = min(soonest, wait_seconds)
        return soonest

    def _take_back(self, soonest: float) -> None:
        if not self._out:
            self._leaving.wait(min(soonest, LOOK_SECONDS))
            return
        wait(self._out.values(), timeout=min(soonest, LOOK_SECONDS), return_when=FIRST_COMPLETED)
        for action in [action for action, each in self._out.items() if each.done()]:
            held = self._out.pop(action).result().held_seconds
            self._held_until[action] = time.monotonic() + held


def _end(run: RunRecord) -> None:
    """Gives a run its status once nobody here works on it."""
    database = ledger()
    if finish(database, run.id):
        if run.kind != REACTIONS:
            summarize(database, run.id)
        return
    if get_run(database, run.id).control == "run":
        return
    enforce_control(database, run.id)
    paused = get_run(database, run.id)
    if paused.control == "pause":
        tell_paused(paused)
