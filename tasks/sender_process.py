"""A sender process: sends the slices of one run that it is handed, until its pipe is closed.

Its parent closes the pipe when the run is left; the kernel does where the parent was killed. So no process
outlives its flow. What is imported here is imported before the settings are there: nothing of Prefect.
"""

import logging
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from clarion.ledger.claims import Slice
    from clarion.sending.session import RunSession

logger = logging.getLogger("clarion.sending.process")

THREADS = 64
"""Slices at work at once: more than a flow hands out."""


def serve(
    requests: Connection, answers: Connection, run_uid: str, settings: Mapping[str, str], log_level: int
) -> None:
    """The life of a sender process.

    Args:
        requests: Brings `(number, slice)`, or `(0, control)` to be halted by; its end means: leave.
        answers: Takes `(number, result)`, `(number, error)` and `(0, log record)`.
        run_uid: The run.
        settings: Prefect's settings as environment variables.
        log_level: From which level on records are passed to the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well, which decides
    signal.signal(signal.SIGTERM, _exit)
    os.environ.update(settings)
    answering = Answers(answers)
    logging.root.handlers[:] = [RecordSender(answering)]
    logging.root.setLevel(log_level)
    part_in_run = PartInRun(run_uid, answering)
    try:
        while True:
            number, asked = requests.recv()
            if number:
                part_in_run.take(number, asked)
            else:
                part_in_run.halt(asked)
    except (EOFError, OSError, SystemExit):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    finally:
        part_in_run.leave()


def _exit(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit


class Answers:
    """The way back to the parent, for all threads; a parent that is gone is not told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def put(self, number: int, answer: Any) -> None:
        """Sends an answer."""
        with self._lock, suppress(OSError):
            self._connection.send((number, answer))


class RecordSender(QueueHandler):
    """Passes log records on to the parent, which logs them as its own."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(answers)  # ty: ignore[invalid-argument-type]  # `enqueue` is all that uses it
        self._answers = answers

    def enqueue(self, record: logging.LogRecord) -> None:
        """Sends a record whose message is formatted by now."""
        self._answers.put(0, record)


class PartInRun:
    """The process's session of the run, opened with the first slice, and the slices at work in it."""

    def __init__(self, run_uid: str, answers: Answers) -> None:
        from tasks import sessions  # noqa: PLC0415  # once the settings are there

        self._sessions = sessions
        self._run_uid = run_uid
        self._answers = answers
        self._left = False
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS)

    def take(self, number: int, part: "Slice") -> None:
        """Sends a slice, and answers when that is done."""
        self._threads.submit(self._deliver, number, part)

    def halt(self, control: str) -> None:
        """Sends nothing more."""
        self._sessions.halt(self._run_uid, control)

    def leave(self) -> None:
        """Gives back what is unsent, and waits up to 8 s for answers on their way."""
        with self._lock:
            self._left = True
        self._sessions.leave(self._run_uid)
        self._threads.shutdown()

    def _deliver(self, number: int, part: "Slice") -> None:
        try:
            session = self._session()
            if session is not None:
                self._answers.put(number, self._sessions.sender().deliver(session, part))
        except Exception as exc:
            logger.exception("A slice could not be sent", extra={"run": self._run_uid})
            self._answers.put(number, ProcessFailure(exc))

    def _session(self) -> "RunSession | None":
        """The session, a new one where the lease ran out, as after the machine slept; None while leaving."""
        with self._lock:
            if self._left:
                return None
            session = self._sessions.session_of(self._run_uid)
            lost = session.halted.is_set() and session.control == "run"
            return self._sessions.open_session(self._run_uid) if lost else session


class ProcessFailure:
    """What went wrong with a slice, in words: not every exception can be sent from process to process."""

    def __init__(self, error: Exception) -> None:
        self.reason = getattr(error, "message", None) or type(error).__name__
