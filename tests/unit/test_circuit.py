"""The circuit: a provider's failures in a row, told from refusals of single recipients."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.sending.circuit import Circuit
from clarion.sending.verdict import Verdict

DOWN = Verdict(outcome="retry", answered=False, error_code="ConnectError", error="connection refused")
ERROR = Verdict(outcome="retry", answered=True, status_code=500, error_code="500")
LOST = Verdict(outcome="unknown", answered=False, error_code="ReadTimeout", error="no answer in time")
GATEWAY = Verdict(outcome="unknown", answered=False, status_code=502, error_code="502", error="bad gateway")
ACCEPTED = Verdict(outcome="succeeded", answered=True, status_code=202)
REFUSED = Verdict(outcome="refused", answered=True, status_code=422)
UNSENDABLE = Verdict(outcome="refused", answered=False, error="no such header")
THROTTLED = Verdict(outcome="held", answered=True, status_code=429)
PATIENCE = Verdict(outcome="retry", answered=True, status_code=200)

FAILURES = [DOWN, ERROR, LOST, GATEWAY]
NEUTRAL = [UNSENDABLE, THROTTLED, PATIENCE]


def broken_by(*verdicts: Verdict, threshold: int | None = 3) -> list[bool]:
    """At which of the calls the circuit broke."""
    circuit = Circuit(threshold)
    return [circuit.record(number, verdict) for number, verdict in enumerate(verdicts)]


def test_failures_in_a_row_break_the_circuit_once():
    """Whatever kind they are of; the call that breaks it is told, and no other."""
    assert broken_by(DOWN, ERROR, LOST, GATEWAY, DOWN) == [False, False, True, False, False]
    assert broken_by(DOWN, threshold=1) == [True]


@pytest.mark.parametrize("verdict", [ACCEPTED, REFUSED])
def test_answer_to_a_single_recipient_ends_the_row(verdict: Verdict):
    """The provider works: it said yes, or no to one."""
    assert broken_by(DOWN, DOWN, verdict, DOWN, DOWN) == [False] * 5


@pytest.mark.parametrize("verdict", NEUTRAL)
def test_what_says_nothing_of_the_provider_leaves_the_row(verdict: Verdict):
    """Throttling, a request never written and a body that asks for patience neither count nor end it."""
    assert broken_by(*[verdict] * 9) == [False] * 9
    assert broken_by(DOWN, verdict, DOWN, verdict, DOWN) == [False, False, False, False, True]


def test_circuit_without_a_threshold_never_breaks():
    """As without `pause_after_errors`; nothing is remembered either."""
    circuit = Circuit(None)
    assert not any(circuit.record(number, DOWN) for number in range(1_000))
    assert (circuit.broken, circuit.burned) == (False, Counter())


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (DOWN, "2 provider errors in a row: connection refused"),
        (ERROR, "2 provider errors in a row: status 500"),
        (GATEWAY, "2 provider errors in a row: status 502, bad gateway"),
        (Verdict(outcome="unknown", answered=False), "2 provider errors in a row: no answer"),
    ],
)
def test_reason_tells_how_many_and_the_last_error(last: Verdict, told: str):
    """What a person reads of a paused run."""
    circuit = Circuit(2)
    circuit.record(1, DOWN)
    assert circuit.reason is None
    circuit.record(2, last)
    assert (circuit.reason, circuit.broken) == (told, True)


def test_burned_tries_are_those_of_the_row_and_of_what_was_on_its_way():
    """Not what may have arrived, nor what failed before the provider last worked."""
    circuit = Circuit(3)
    for item, verdict in [
        (1, DOWN),
        (9, ACCEPTED),
        (2, DOWN),
        (2, ERROR),
        (3, LOST),
        (4, DOWN),
        (5, ACCEPTED),
    ]:
        circuit.record(item, verdict)
    assert circuit.take_burned() == {2: 2, 4: 1}
    assert circuit.take_burned() == {}


def test_tries_are_not_given_back_while_the_circuit_holds():
    """A few errors are what tries are for."""
    circuit = Circuit(3)
    circuit.record(1, DOWN)
    assert circuit.take_burned() == {}


@given(
    verdicts=st.lists(st.sampled_from([*FAILURES, *NEUTRAL, ACCEPTED, REFUSED]), max_size=40),
    threshold=st.integers(1, 6),
)
def test_circuit_breaks_where_a_row_is_long_enough(verdicts: list[Verdict], threshold: int):
    """The same as counting the failures since the last answer, told in another way."""
    rows: list[Any] = [[]]
    for verdict in verdicts:
        if verdict in (ACCEPTED, REFUSED):
            rows.append([])
        elif verdict in FAILURES:
            rows[-1].append(verdict)
    assert any(broken_by(*verdicts, threshold=threshold)) is any(len(row) >= threshold for row in rows)
