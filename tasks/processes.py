"""The flow's end of the sender processes: who gets which slice, and what becomes of those that die."""

import logging
import multiprocessing
import threading
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import Context, copy_context

from prefect.settings import get_current_settings

from clarion.errors import ClarionError
from clarion.ledger.claims import Slice
from clarion.sending.sender import LEAVE_SECONDS, SliceResult
from tasks.sender_process import ProcessFailure, serve

GONE_SECONDS = LEAVE_SECONDS + 1.0
"""A process that is told to leave is gone by then, or it is killed."""

MOST_FAILURES = 3
"""After so many processes in a row that ended before they finished a slice no other is started."""

_spawn = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang


class SliceError(ClarionError):
    """A slice could not be sent."""


class ProcessLostError(ClarionError):
    """A sender process ended in the middle of its work."""


class SenderProcess:
    """One process that sends for a run, and the slices that it has.

    Args:
        run_uid: The run.
        context: Where its log records belong; entered by this process alone.
    """

    def __init__(self, run_uid: str, context: Context) -> None:
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        log_level = logging.getLogger("clarion").getEffectiveLevel()
        asked, self._requests = _spawn.Pipe(duplex=False)
        self._answers, answering = _spawn.Pipe(duplex=False)
        arguments = (asked, answering, run_uid, settings, log_level)
        self._process = _spawn.Process(target=serve, args=arguments, name="clarion-sender", daemon=True)
        self._process.start()
        for theirs in (asked, answering):  # else their end would never be seen
            theirs.close()
        self._lock = threading.Lock()
        self._count = 0
        self._waiting: dict[int, Future[SliceResult]] = {}
        self.gone = False
        self.finished = 0
        self._reader = threading.Thread(target=context.run, args=(self._read,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    @property
    def slices(self) -> list[Future[SliceResult]]:
        """What it is at work on."""
        with self._lock:
            return list(self._waiting.values())

    def deliver(self, part: Slice) -> Future[SliceResult]:
        """Hands it a slice; the future raises ProcessLostError where it ends before it has finished."""
        future: Future[SliceResult] = Future()
        with self._lock:
            self._count += 1
            try:
                if self.gone:
                    raise BrokenPipeError
                self._waiting[self._count] = future
                self._requests.send((self._count, part))
            except OSError:
                self._waiting.pop(self._count, None)
                future.set_exception(ProcessLostError())
        return future

    def halt(self, control: str) -> None:
        """Has it send nothing more."""
        with self._lock, suppress(OSError):
            self._requests.send((0, control))

    def leave(self) -> None:
        """Tells it to leave."""
        with self._lock:
            self._requests.close()

    def join(self, seconds: float) -> None:
        """Waits until it is gone; kills it where that takes longer."""
        self._reader.join(max(0.0, seconds))
        if self._reader.is_alive():
            self._process.kill()
            self._reader.join()

    def _read(self) -> None:
        try:
            while True:
                number, answer = self._answers.recv()
                if isinstance(answer, logging.LogRecord):
                    _log(answer)
                else:
                    self._answer(number, answer)
        except (EOFError, OSError):
            self._bury()

    def _answer(self, number: int, answer: SliceResult | ProcessFailure) -> None:
        with self._lock:
            future = self._waiting.pop(number)
            self.finished += 1
        if isinstance(answer, ProcessFailure):
            future.set_exception(SliceError(answer.reason))
        else:
            future.set_result(answer)

    def _bury(self) -> None:
        with self._lock:
            self.gone = True
            lost, self._waiting = self._waiting, {}
            self._requests.close()
        self._answers.close()
        self._process.join()
        for future in lost.values():
            future.set_exception(ProcessLostError())


class SenderProcesses:
    """The sender processes of a run. One that dies is replaced, and its slices go to the others.

    What the dead one had claimed becomes unknown; the slices touch only what is still pending.

    Args:
        run_uid: The run.
        count: How many.
    """

    def __init__(self, run_uid: str, count: int) -> None:
        self._run_uid = run_uid
        self._context = copy_context()
        self._lock = threading.Lock()
        self._leaving = False
        self._failures = 0
        self._processes = [self._start() for _ in range(count)]

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [process.pid for process in self._processes]

    def deliver(self, part: Slice) -> SliceResult:
        """Sends what is due of a slice in the process that has the fewest, as `Sender.deliver` does.

        Raises:
            SliceError: It could not be sent.
            ProcessLostError: The processes are told to leave, or they end as soon as they start.
        """
        while True:
            with self._lock:
                future = self._least_busy().deliver(part)
            with suppress(ProcessLostError):
                return future.result()

    def halt(self, control: str) -> None:
        """Has all of them send nothing more."""
        for process in self._processes:
            process.halt(control)

    def drain(self) -> None:
        """Waits for the answers that are on their way to halted processes, however long they take."""
        for process in self._processes:
            wait(process.slices)

    def leave(self) -> None:
        """Has all of them leave, and waits until they are gone: at most 9 s."""
        until = time.monotonic() + GONE_SECONDS
        with self._lock:
            self._leaving = True
        for process in self._processes:
            process.leave()
        for process in self._processes:
            process.join(until - time.monotonic())

    def _start(self) -> SenderProcess:
        return SenderProcess(self._run_uid, self._context.copy())

    def _least_busy(self) -> SenderProcess:
        if self._leaving:
            raise ProcessLostError("the sender processes are leaving")
        for index, process in enumerate(self._processes):
            if process.gone:
                self._failures = 0 if process.finished else self._failures + 1
                if self._failures >= MOST_FAILURES:
                    raise ProcessLostError("sender processes end as soon as they start; the log may tell why")
                self._processes[index] = self._start()
        return min(self._processes, key=lambda each: len(each.slices))


def _log(record: logging.LogRecord) -> None:
    """Logs a record of a sender process as if it were this process's."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
