"""When items may be sent: windows, holidays, and the schedule of a job's runs."""

import re
from datetime import date, datetime
from functools import cache, lru_cache
from typing import Annotated, Literal, Self, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, model_validator

from clarion.errors import nearest
from clarion.models.base import Model, Text

DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAY_NAMES: tuple[DayName, ...] = get_args(DayName)
"""Monday first, as `date.weekday` counts."""

MINUTES_A_DAY = 24 * 60
MOST_HOLIDAYS = 4_000

_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})")


@cache
def _zones() -> dict[str, str]:
    """The names of all zones, by themselves in lower case."""
    return {name.casefold(): name for name in available_timezones()}


def zone_names() -> list[str]:
    """The names of all zones."""
    return list(_zones().values())


@lru_cache(4_096)
def known_zone(name: str) -> str | None:
    """The IANA zone of that name, whatever its case and the blanks around it; None where there is none."""
    found = _zones().get(name.strip().casefold())
    if found is not None:
        ZoneInfo(found)  # read once: never in the middle of a run
    return found


def zone_or_error(name: str) -> str:
    """The IANA zone of that name.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    found = known_zone(name)
    if found is None:
        close = nearest(name, zone_names())
        hint = f" (did you mean {close!r}?)" if close else ""
        raise ValueError(f"unknown time zone {name!r}{hint}")
    return found


TimeZone = Annotated[Text, AfterValidator(zone_or_error)]
"""An IANA time zone, such as Europe/London."""


def clock_minutes(text: str) -> int:
    """Minutes since midnight of `HH:MM`, up to `24:00`.

    Raises:
        ValueError: It is no time of day.
    """
    found = _CLOCK.fullmatch(text.strip())
    minutes = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else -1  # noqa: PLR2004  # minutes an hour
    if not 0 <= minutes <= MINUTES_A_DAY:
        raise ValueError("must be a time of day such as 09:00, at most 24:00")
    return minutes


def _is_clock(text: str) -> str:
    clock_minutes(text)
    return text


def _is_date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("must be a date such as 2026-12-25") from None


ClockTime = Annotated[Text, AfterValidator(_is_clock)]
Holiday = Annotated[Text, AfterValidator(_is_date)]


class Window(Model):
    """Hours of the day in which messages may leave, by the recipient's clock."""

    start: ClockTime = Field(description="Time of day at which it opens, as HH:MM.")
    end: ClockTime = Field(
        description="Time of day at which it closes, at most 24:00; before the start, it is the next day's."
    )
    days: list[DayName] = Field(
        default_factory=list, description="Days on which it opens; none given means every day."
    )

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if clock_minutes(self.start) == clock_minutes(self.end):
            raise ValueError("starts and ends at the same time; the whole day is 00:00 to 24:00")
        if clock_minutes(self.start) == MINUTES_A_DAY:
            raise ValueError("starts at 24:00; the start of a day is 00:00")
        return self


class Schedule(Model):
    """When runs start: exactly one of cron, interval and rrule."""

    cron: Text | None = Field(default=None, description="Cron expression.")
    interval: int | None = Field(default=None, ge=60, description="Seconds from run to run.")
    rrule: Text | None = Field(default=None, description="iCalendar recurrence rule.")
    anchor_date: Text | None = Field(
        default=None, description="ISO date and time that an interval is counted from."
    )
    timezone: TimeZone = Field(default="UTC", description="IANA time zone of the schedule.")
    catch_up: Literal["skip", "latest", "all"] = Field(
        default="skip", description="Which runs to make up for that were missed while nothing was up."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if sum(rule is not None for rule in (self.cron, self.interval, self.rrule)) != 1:
            raise ValueError("takes exactly one of cron, interval and rrule")
        if self.anchor_date is not None:
            if self.interval is None:
                raise ValueError("anchor_date goes with interval")
            try:
                datetime.fromisoformat(self.anchor_date)
            except ValueError:
                raise ValueError("anchor_date must be an ISO date and time") from None
        return self
