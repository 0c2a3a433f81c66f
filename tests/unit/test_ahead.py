"""Parts made ahead: their order, their errors, and what is left behind."""

import threading
from collections.abc import Generator
from contextlib import closing
from contextvars import ContextVar

import pytest

from clarion.ahead import made_ahead
from clarion.errors import PlanError

PATIENCE_SECONDS = 10


def test_parts_come_in_their_order():
    """Every part comes once, in the order in which they were made."""
    with closing(made_ahead(part for part in range(1, 50))) as parts:
        assert list(parts) == list(range(1, 50))


def test_nothing_is_made_of_nothing():
    """Without parts there is nothing to take."""
    with closing(made_ahead(part for part in ())) as parts:
        assert list(parts) == []


def test_next_part_is_made_while_one_is_worked_on():
    """While the caller holds a part, the next one is made, aside; the first is made by the caller."""
    made_by: list[threading.Thread] = []
    second = threading.Event()

    def make() -> Generator[int]:
        made_by.append(threading.current_thread())
        yield 1
        made_by.append(threading.current_thread())
        second.set()
        yield 2

    with closing(made_ahead(make())) as parts:
        assert next(parts) == 1
        assert second.wait(PATIENCE_SECONDS)
    assert made_by[0] is threading.current_thread()
    assert made_by[1] is not threading.current_thread()


def test_error_comes_after_the_parts_before_it():
    """What cannot be made is told where it would have come, so that all before it is worked on."""

    def make() -> Generator[int]:
        yield 1
        yield 2
        raise PlanError("row 3 is wrong")

    with closing(made_ahead(make())) as parts:
        assert [next(parts), next(parts)] == [1, 2]
        with pytest.raises(PlanError, match="row 3 is wrong"):
            next(parts)


def test_error_in_the_first_part_is_told():
    """An error before the first part, such as a list that cannot be read, is the caller's at once."""

    def make() -> Generator[int]:
        raise PlanError("the list is wrong")
        yield 1

    with closing(made_ahead(make())) as parts, pytest.raises(PlanError, match="the list is wrong"):
        next(parts)


def test_interruption_ends_the_making():
    """A signal's exception in the caller waits for the part at hand, makes no other, and leaves no thread."""
    made: list[int] = []
    closed: list[threading.Thread] = []

    def make() -> Generator[int]:
        try:
            for part in range(100):
                made.append(part)
                yield part
        finally:
            closed.append(threading.current_thread())

    def work() -> None:
        with closing(made_ahead(make())) as parts:
            next(parts)
            raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        work()
    assert made == [0, 1]
    assert closed == [threading.current_thread()]
    assert set(threading.enumerate()) == before


def test_parts_see_the_context_of_the_caller():
    """What the caller's context says, such as which run logs, holds while parts are made aside."""
    run: ContextVar[str] = ContextVar("run")
    run.set("r1")

    def make() -> Generator[str]:
        yield run.get()
        yield run.get()

    with closing(made_ahead(make())) as parts:
        assert list(parts) == ["r1", "r1"]
