"""Telling a database that is away from data that it does not take."""

from sqlalchemy import exc

from clarion.errors import LedgerError

_TOO_LARGE = "54"
"""The class of PostgreSQL's states for data beyond its limits: its driver calls that operational too."""


def is_outage(error: BaseException) -> bool:
    """Whether the database, not what it was given, is why something failed: trying again may help."""
    if isinstance(error, exc.OperationalError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return not state.startswith(_TOO_LARGE)
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, LedgerError | exc.InterfaceError | exc.TimeoutError)
