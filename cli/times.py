"""Times on the command line."""

from datetime import UTC, datetime

from clarion.errors import SettingError

FORM = "ISO 8601, as 2026-12-01T09:00+01:00"


def parse_time(text: str | None, option: str) -> datetime | None:
    """An ISO time as aware UTC; without an offset it is this machine's local time.

    Raises:
        SettingError: It is none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SettingError(f"{text!r} is no time", where=option, expected=FORM) from None


def check_times(
    *, start_at: datetime | None, send_until: datetime | None, end_at: datetime | None, now: datetime
) -> None:
    """Whether there is time left to send in.

    Raises:
        SettingError: A time to end at is past, or comes before the run may begin.
    """
    begin = max(start_at or now, now)
    for option, moment in (("--send-until", send_until), ("--end-at", end_at)):
        if moment is None or moment > begin:
            continue
        if moment <= now:
            raise SettingError(
                f"{_told(moment)} is past", where=option, expected=f"a time after {_told(now)}"
            )
        raise SettingError(
            f"{_told(moment)} is not after --start-at", where=option, expected=f"a time after {_told(begin)}"
        )


def _told(moment: datetime) -> str:
    """In this machine's time zone, as a person would type it."""
    return moment.astimezone().isoformat(timespec="seconds")
