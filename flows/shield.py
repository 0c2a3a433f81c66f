"""Keeping signals out of calls that they would spoil."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Protocol, TypeVar

T = TypeVar("T")


class Shielded(Protocol):
    """Calls a function and gives back what it returns."""

    def __call__(self, call: Callable[[], T]) -> T:
        """Calls it."""
        ...


@contextmanager
def shield() -> Generator[Shielded]:
    """Gives the body what makes calls in a thread, where no signal breaks in: it breaks into the waiting.

    The handlers of SIGINT and SIGTERM raise. Raised in the middle of a database call, or where Prefect
    serialises what goes to a cluster, the exception is replaced by what that makes of it, and nobody knows
    any more that it was a signal. To set other handlers is no way: Prefect then takes a Cancel for a crash.

    A call that is under way is waited for before the body is left.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="clarion-shield") as thread:
        thread.submit(bool).result()  # starts the thread: interrupted in that, it would not be waited for

        def shielded(call: Callable[[], T]) -> T:
            return thread.submit(partial(copy_context().run, call)).result()

        yield shielded
