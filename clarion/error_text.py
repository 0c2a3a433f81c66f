"""What is told of an error: nothing that it was not meant to tell.

The text of an error that is not Clarion's own may hold anything: the URL of a webhook, which is its key, the
values of a person. So logs and the ledger tell its type; only logs, where it came up.
"""

import traceback
from pathlib import Path

from clarion.errors import ClarionError


def error_text(error: BaseException) -> str:
    """What may be kept of an error: the message of one of Clarion's own, else its type."""
    return error.message if isinstance(error, ClarionError) else f"an error ({type(error).__name__})"


def logged_error(error: BaseException) -> str:
    """An error in one line of a log: what may be kept of it, and the place in the code."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return error_text(error)
    return f"{error_text(error)} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
