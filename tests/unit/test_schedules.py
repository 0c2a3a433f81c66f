"""A job's schedule is what Prefect makes of it, of each of its three kinds."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from clarion.errors import SettingError
from clarion.models.timing import Schedule
from flows.deployments import prefect_schedule

LONDON = {"timezone": "Europe/London"}
BEGIN = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""The day before London's clocks go forward."""

RULES: list[tuple[dict[str, Any], list[str]]] = [
    ({"cron": "0 9 * * *"}, ["2026-03-29T08:00", "2026-03-30T08:00"]),
    (
        {"interval": 86_400, "anchor_date": "2026-01-01T09:00:00+00:00"},
        ["2026-03-29T08:00", "2026-03-30T08:00"],
    ),
    ({"rrule": "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0"}, ["2026-03-29T08:00", "2026-03-30T08:00"]),
]


def dates_of(rule: dict[str, Any]) -> list[str]:
    """The next two times that Prefect's server makes of a rule, in UTC."""
    made = prefect_schedule(Schedule(**rule, **LONDON), active=True)
    assert made.active
    if made.cron is not None:
        schedule: Any = CronSchedule(cron=made.cron, timezone=made.timezone)
    elif made.rrule is not None:
        schedule = RRuleSchedule(rrule=made.rrule, timezone=made.timezone)
    else:
        assert made.interval is not None
        schedule = IntervalSchedule(
            interval=made.interval, anchor_date=made.anchor_date, timezone=made.timezone
        )
    found = asyncio.run(schedule.get_dates(2, start=BEGIN))
    return [each.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") for each in found]


@pytest.mark.parametrize(("rule", "dates"), RULES, ids=["cron", "interval", "rrule"])
def test_schedule_keeps_its_hour_over_a_change_of_the_clocks(rule: dict[str, Any], dates: list[str]):
    """09:00 in London is 08:00 UTC once the clocks went forward, whichever way the rule is written."""
    assert dates_of(rule) == dates


@pytest.mark.parametrize(("rule"), [{"cron": "99 9 * * *"}, {"rrule": "FREQ=SOMETIMES"}])
def test_rule_that_prefect_does_not_take_is_refused(rule: dict[str, Any]):
    """A mistake in a rule is told as one of the schedule."""
    with pytest.raises(SettingError, match="schedule: is no schedule"):
        prefect_schedule(Schedule(**rule), active=True)
