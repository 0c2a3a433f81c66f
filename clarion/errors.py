"""Everything Clarion raises, one tree.

ClarionError
├── InputError              a person's mistake: what, where, what was expected (exit code 2)
│   ├── JobError            a job, action or block that does not validate
│   ├── ConditionError      a condition that does not parse, or names what does not exist
│   ├── TemplateError       a template that does not parse
│   ├── ListError           a list that cannot be read
│   │   └── RowError        one row of it
│   ├── SettingError        a setting or a command line value
│   ├── RunConflictError    a command that the run's state does not allow
│   └── InputErrors         several of these found in one go
├── ItemError               one item cannot be sent; the run goes on
│   ├── RenderError         its template does not render
│   └── RecipientError      its recipient is no phone number or address
├── UnverifiedError         a request that is not proven to come from whom it names
├── PlanError               the run cannot be planned; it ends as failed with no items
└── LedgerError             the database
    └── LedgerVersionError  written by a newer Clarion
"""

import difflib
import re
from collections.abc import Iterable


class ClarionError(Exception):
    """Something in Clarion went wrong."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)


class InputError(ClarionError):
    """The input is not valid.

    Args:
        message: What is wrong, one sentence without a full stop.
        where: The place: a path in a file (`segments[1].condition`), a file with its line, a setting.
        expected: What would have been right.
        nearest: The valid name closest to the one given.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        nearest: str | None = None,
    ) -> None:
        self.where = where
        self.expected = expected
        self.nearest = nearest
        self.problem = message
        parts = [f"{where}: {message}" if where else message]
        if expected:
            parts.append(f"expected {expected}")
        text = "; ".join(parts)
        super().__init__(f"{text} (did you mean {nearest!r}?)" if nearest else text)

    def at(self, where: str) -> "InputError":
        """The same error told from further out: `condition` seen from `segments[1]`."""
        inner = self.where or ""
        joined = f"{where}{inner}" if not inner or inner[0] == "[" else f"{where}.{inner}"
        return type(self)(self.problem, where=joined, expected=self.expected, nearest=self.nearest)


class JobError(InputError):
    """A job, action or block does not validate."""


class ConditionError(InputError):
    """A condition does not parse, or names what does not exist."""


class TemplateError(InputError):
    """A template does not parse."""


class ListError(InputError):
    """A list cannot be read."""


class RowError(ListError):
    """A row of a list cannot be read."""


class SettingError(InputError):
    """A setting or a command line value is not valid."""


class RunConflictError(InputError):
    """The state of the run does not allow this."""


class InputErrors(InputError):  # noqa: N818  # plural, because it holds several
    """Several mistakes found in one go, so that a person mends them in one go.

    Args:
        problems: At least one mistake.
    """

    def __init__(self, problems: Iterable[InputError]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def at(self, where: str) -> "InputErrors":
        """Each of them told from further out."""
        return InputErrors(problem.at(where) for problem in self.problems)


class ItemError(ClarionError):
    """One item cannot be sent; the run goes on."""


class RenderError(ItemError):
    """A template does not render with this item."""


class RecipientError(ItemError):
    """The recipient is not valid."""


class UnverifiedError(ClarionError):
    """The request is not proven to come from whom it names."""


class PlanError(ClarionError):
    """The run cannot be planned."""


class LedgerError(ClarionError):
    """The database cannot be used."""


class LedgerVersionError(LedgerError):
    """The database was written by a newer Clarion."""


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `name`, or None where nothing comes close."""
    choices = list(candidates)
    folded = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


_WORD = re.compile(r"\w[\w-]*")


def path_text(steps: Iterable[str | int]) -> str:
    """`("segments", 1, "condition")` as `segments[1].condition`; a name that is no word stands in quotes."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _WORD.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text
