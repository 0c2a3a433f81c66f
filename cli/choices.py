"""What a person names on the command line: a run, a reason. What is not there is told with the nearest."""

from collections.abc import Iterable

from clarion.errors import InputError, SettingError, nearest
from clarion.ledger.database import Database
from clarion.ledger.runs import LAST, RunRecord, find_run, list_runs

NEAR_RUNS = 1_000
"""Among how many of the newest runs a misspelt id is looked for."""


def run_named(database: Database, reference: str) -> RunRecord:
    """The run that a person names: an id, the beginning of one, or last.

    Raises:
        InputError: There is none of that name, or there are several.
    """
    expected = "an id of `clarion runs`, the beginning of one, or last"
    if not reference.strip():
        raise SettingError("is empty", where="RUN", expected=expected)
    try:
        return find_run(database, reference)
    except InputError as exc:
        uids = [run.uid for run in list_runs(database, limit=NEAR_RUNS)]
        if not uids:
            raise SettingError(
                "there are no runs yet", where="RUN", expected="`clarion run JOB` first"
            ) from None
        if any(uid.startswith(reference) for uid in uids):
            raise
        raise SettingError(
            f"there is no run {reference!r}",
            where="RUN",
            expected=expected,
            nearest=nearest(reference, [LAST, *uids]),
        ) from exc


def check_known(name: str, known: Iterable[str], *, what: str, option: str) -> None:
    """Whether something of that name exists.

    Raises:
        SettingError: It does not; those that do are told.
    """
    names = list(known)
    if name not in names:
        raise SettingError(
            f"there is no {what} {name!r}",
            where=option,
            expected=f"one of {', '.join(names)}" if names else None,
            nearest=nearest(name, names),
        )
