"""What a report says in words."""

import pytest

from clarion.errors import LedgerError
from clarion.reporting import TERMINATED, error_text, told


class TerminationSignal(BaseException):
    """What Prefect raises on SIGTERM, by its own name: the core must not import it."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), "left by Ctrl-C"),
        (KeyboardInterrupt(TERMINATED), "told to leave (SIGTERM)"),
        (TerminationSignal(15), "told to leave (SIGTERM)"),
        (LedgerError("cannot write to the database"), "cannot write to the database"),
        (ValueError("+447700900123"), "broken off by an error inside Clarion (ValueError); the log has it"),
    ],
)
def test_reason_of_an_interrupted_run_is_in_words(error: BaseException, expected: str):
    """No class name alone, and nothing of the text of an error that may hold a recipient."""
    assert told(error) == expected


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [("401", "no", "401: no"), ("401", None, "401"), (None, "no", "no"), (None, None, "")],
)
def test_error_is_told_by_code_and_text(code: str | None, text: str | None, expected: str):
    """Whichever of the two the provider gave."""
    assert error_text({"error_code": code, "error": text}) == expected
