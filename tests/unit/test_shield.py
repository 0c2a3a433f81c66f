"""Signals do not break into shielded calls."""

import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from flows.shield import shield

NAME: ContextVar[str] = ContextVar("name", default="nobody")


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C raises at once, whatever a command that ran in this process has set."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_signal_waits_for_the_call_that_is_under_way():
    """The call comes to its end, undisturbed, and then the signal's exception is there."""
    steps: list[str] = []
    interrupted = threading.Event()

    def call() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        interrupted.wait(0.2)
        steps.append("called")

    with pytest.raises(KeyboardInterrupt), shield() as shielded:  # noqa: PT012  # the order is the point
        shielded(call)
        steps.append("not reached")
    assert steps == ["called"]


def test_call_has_the_context_of_its_caller():
    """Prefect finds its flow run by it; and the call runs in another thread."""
    NAME.set("somebody")
    with shield() as shielded:
        assert shielded(NAME.get) == "somebody"
        assert shielded(threading.get_ident) != threading.get_ident()


def test_error_of_a_call_is_its_callers():
    """It is raised as it is."""
    with pytest.raises(KeyError), shield() as shielded:
        shielded({}.popitem)
