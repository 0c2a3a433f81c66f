"""What a suppression is of, and whom it keeps a message from."""

from collections.abc import Mapping

from clarion.errors import InputError, SettingError, nearest

SUPPRESSED = "suppressed"
"""The reason of what is not sent because of one."""

EVERYTHING = ""
"""The scope of whoever wants nothing more at all."""

CHANNEL = "channel:"
JOB = "job:"

Scopes = Mapping[str, Mapping[str, str]]
"""By recipient, as it was asked for, its suppressions: scope to reason. Who has none is not among it."""


def scope_of(*, channel: str | None = None, job: str | None = None) -> str:
    """The scope of a channel or a job; of everything where neither is given.

    Raises:
        SettingError: Both are given.
    """
    if channel is not None and job is not None:
        raise SettingError("a suppression is of one channel or of one job", where="--channel, --job")
    if channel is not None:
        return f"{CHANNEL}{channel}"
    return EVERYTHING if job is None else f"{JOB}{job}"


def check_scope(scope: str) -> str:
    """The scope, if it is one.

    Raises:
        InputError: It is neither empty nor `channel:NAME` nor `job:NAME`.
    """
    kind, colon, name = scope.partition(":")
    if scope and (f"{kind}{colon}" not in {CHANNEL, JOB} or not name):
        raise InputError(
            f"{scope!r} is no scope",
            where="scope",
            expected="nothing (for everything), channel:NAME or job:NAME",
            nearest=nearest(kind + colon, [CHANNEL, JOB]),
        )
    return scope


def held_by(scopes: Scopes, recipient: str | None, *, job: str, channel: str | None) -> list[str]:
    """The reasons that keep a message of a job by a channel from a recipient; none where it may go.

    Args:
        scopes: The suppressions of the recipients.
        recipient: Who would get it.
        job: The name of the job.
        channel: The action's, if it has one.
    """
    reasons = scopes.get(recipient or "", {})
    wanted = (EVERYTHING, f"{JOB}{job}", *([] if channel is None else [f"{CHANNEL}{channel}"]))
    return [reasons[scope] for scope in wanted if scope in reasons]


def of_event(what: str, uid: str) -> str:
    """The reason of a suppression that an event caused: one answer to that event may still go out."""
    return f"{what} (event {uid})"


def caused_by(reason: str, uid: str) -> bool:
    """Whether a suppression is there for that reason because of that event."""
    return reason.endswith(f" (event {uid})")
