"""Visits: a process of a cluster at a run whose flow is in another process, maybe on another machine."""

import logging
import threading

from clarion.ledger.control import AT_WORK
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run
from clarion.sending.sender import Sender
from clarion.sending.session import RunSession

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5


class Visit:
    """A session for as long as slices of its run are at work in this process.

    It hears through the ledger that the flow has left the run, and then sends nothing more: nobody else could
    tell this process.

    Args:
        sender: The process's.
        session: An open session of it; the visit leaves it.
        database: The ledger.
    """

    def __init__(self, sender: Sender, session: RunSession, database: Database) -> None:
        self.session = session
        self._sender = sender
        self._database = database
        self._slices = 1
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._look()
        threading.Thread(target=self._watch, daemon=True).start()

    def join(self) -> bool:
        """Begins another slice. False where the visit is over, or its lease was lost."""
        with self._lock:
            lost = self.session.halted.is_set() and self.session.control == "run"
            if not self._slices or lost:
                return False
            self._slices += 1
            return True

    def end(self) -> None:
        """Ends a slice; the last of them leaves the run."""
        with self._lock:
            self._slices -= 1
            last = not self._slices
        if last:
            self._over.set()
            self._sender.leave(self.session)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception:
                logger.exception("A run could not be watched", extra={"run": self.session.run.uid})

    def _look(self) -> None:
        run = get_run(self._database, self.session.run.id)
        if run.control != "run" or run.status not in AT_WORK:
            self._sender.halt(self.session, run.control if run.control != "run" else run.status)
