"""Working on one part while the next is made: two threads, one order."""

import gc
from collections.abc import Generator
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import Generic, TypeVar

Part = TypeVar("Part")


def made_ahead(parts: Generator[Part]) -> Generator[Part]:
    """The parts in their order; while the caller works on one, a thread makes the next, and no more.

    It pays where the caller's work is done without the interpreter's lock, as most of a database's is.

    The first part is made in the caller's thread: often most of the reading goes before it. An error in
    making a part is raised where the part would have come, after the work on those before it. Close it, as
    with `contextlib.closing`: that waits for the part at hand, then no thread is left and `parts` is closed.
    The threads do not keep the process from ending.

    Args:
        parts: What makes them. It runs in one thread at a time, though not always in the same.
    """
    # What is loaded by now stays: a fourth of a plan's time went into looking through it for garbage.
    gc.freeze()
    making = None
    try:
        part = next(parts, None)
        while part is not None:
            making = _Making(parts)
            making.start()
            yield part
            part = making.made.result()
    finally:
        if making is not None:
            making.join()
        parts.close()


class _Making(Thread, Generic[Part]):
    """Makes one part, None after the last; logs as the thread that starts it does."""

    def __init__(self, parts: Generator[Part]) -> None:
        super().__init__(name="made-ahead", daemon=True)
        self.made: Future[Part | None] = Future()
        self._parts = parts
        self._context = copy_context()

    def run(self) -> None:
        """What the thread does."""
        try:
            self.made.set_result(self._context.run(self._next))
        except BaseException as exc:  # noqa: BLE001  # whoever waits for the part raises it
            self.made.set_exception(exc)

    def _next(self) -> Part | None:
        return next(self._parts, None)
