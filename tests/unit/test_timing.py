"""When an item is due: its own time, its zone, the job's windows; and what a job may say about it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarion.campaign import Campaign
from clarion.errors import InputError, InputErrors, PlanError
from clarion.planning import PlannedItem, Planner
from tests.unit.campaigns import NOW, RUN, make_campaign, make_reader, plan

OFFICE = {"start": "09:00", "end": "20:00", "days": ["mon", "tue", "wed", "thu", "fri"]}
ZONED = {"timezone": "{{ item.zone }}", "fallback_timezone": "Europe/London"}
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
"""NOW is the Sunday before it, 09:00 UTC."""


def timed(*items: dict[str, Any], **changes: Any) -> Campaign:
    """A campaign with one inline list; each item has a number of its own."""
    numbered = [{"phone": str(number), **item} for number, item in enumerate(items)]
    return make_campaign(recipients={"include": [{"items": numbered}]}, **changes)


def times(planned: list[PlannedItem]) -> list[tuple[str, str | None, datetime | None]]:
    """Status, reason and due time of each planned item."""
    return [(each.status, each.reason, each.due_at) for each in planned]


def test_item_waits_for_its_own_zone():
    """On Sunday morning everyone waits for Monday 09:00, each by the clock of their zone."""
    zones = ["Europe/London", "america/new_york", "Asia/Tokyo"]
    planned = plan(timed(*({"zone": zone} for zone in zones), windows=[OFFICE], **ZONED))
    assert [each.timezone for each in planned] == ["Europe/London", "America/New_York", "Asia/Tokyo"]
    assert [each.due_at for each in planned] == [
        MONDAY + timedelta(hours=9),
        MONDAY + timedelta(hours=14),
        MONDAY,
    ]


def test_item_in_its_window_is_due_at_once():
    """What may leave now has no due time."""
    daily = {"start": "08:00", "end": "10:00"}
    (planned,) = plan(timed({"zone": "Europe/London"}, windows=[daily], **ZONED))
    assert (planned.status, planned.due_at, planned.timezone) == ("pending", None, "Europe/London")


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus", "+01:00", 7])
def test_missing_or_bad_zone_falls_back_and_is_counted(zone: Any):
    """Nobody stalls for want of a zone, and the plan knows how many there were."""
    campaign = timed({"zone": zone}, {"zone": "Asia/Tokyo"}, windows=[OFFICE], **ZONED)
    planner = Planner(campaign=campaign, run=RUN, now=NOW, reader=make_reader())
    (planned, other) = [each for chunk in planner.plan() for each in chunk]
    assert (planned.timezone, planned.due_at) == ("Europe/London", MONDAY + timedelta(hours=9))
    assert (other.timezone, planner.fell_back) == ("Asia/Tokyo", 1)


def test_fixed_zone_is_everyones():
    """A zone without a template needs no fallback, and nobody has fallen back to it."""
    campaign = timed({}, windows=[OFFICE], timezone="asia/tokyo")
    planner = Planner(campaign=campaign, run=RUN, now=NOW, reader=make_reader())
    ((planned,),) = planner.plan()
    assert (planned.timezone, planned.due_at, planner.fell_back) == ("Asia/Tokyo", MONDAY, 0)


def test_skip_leaves_out_what_falls_outside():
    """Under `outside_window: skip` who is outside at their time is skipped, and takes nobody's place."""
    items = [{"phone": "1", "zone": "Europe/London"}, {"phone": "1", "zone": "Asia/Tokyo"}]
    window = {"start": "17:00", "end": "19:00"}
    planned = plan(timed(*items, windows=[window], outside_window="skip", **ZONED))
    assert times(planned) == [("skipped", "outside-window", None), ("pending", None, None)]
    assert planned[0].dedupe_key is None


def test_item_due_after_the_run_has_expired():
    """What would be due at or after `send_until` is skipped when the run is planned."""
    campaign = timed({"zone": "Europe/London"}, {"zone": "Asia/Tokyo"}, windows=[OFFICE], **ZONED)
    until = MONDAY + timedelta(hours=9)
    planner = Planner(campaign=campaign, run=RUN, now=NOW, reader=make_reader(), send_until=until)
    planned = [each for chunk in planner.plan() for each in chunk]
    assert times(planned) == [("skipped", "expired", None), ("pending", None, MONDAY)]


def test_start_of_the_run_is_waited_for():
    """Nothing is due before `start_at`, and windows are asked for that time."""
    campaign = timed({}, windows=[OFFICE], timezone="UTC")
    start = MONDAY + timedelta(hours=21)
    planner = Planner(campaign=campaign, run=RUN, now=NOW, reader=make_reader(), start_at=start)
    ((planned,),) = planner.plan()
    assert planned.due_at == MONDAY + timedelta(days=1, hours=9)


@pytest.mark.parametrize(
    ("value", "due"),
    [
        ("2026-03-03T10:00", datetime(2026, 3, 3, 15, tzinfo=UTC)),
        ("2026-03-03 10:00:00+01:00", datetime(2026, 3, 3, 9, tzinfo=UTC)),
        ("2026-03-03T10:00Z", datetime(2026, 3, 3, 10, tzinfo=UTC)),
        ("2026-03-03", datetime(2026, 3, 3, 5, tzinfo=UTC)),
        ("2026-03-08T02:30", datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),  # in the hour left out: 03:30
        ("2026-11-01T01:30", datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),  # comes twice: the first
        ("05:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("03:30", datetime(2026, 3, 2, 8, 30, tzinfo=UTC)),  # past by an hour in New York: tomorrow's
        ("2020-01-01T10:00", None),
        ("", None),
        (None, None),
    ],
)
def test_send_at_is_read_by_the_recipients_clock(value: Any, due: datetime | None):
    """ISO times with or without a zone, and times of day; a past or missing one is no reason to wait."""
    campaign = timed(
        {"best": value}, {"best": "05:00"}, send_at="{{ item.best }}", timezone="America/New_York"
    )
    assert times(plan(campaign))[0] == ("pending", None, due)


@pytest.mark.parametrize("value", ["soon", "2026-13-01", "25:00", "9999-12-31T23:00-05:00", "2051-01-01", 7])
def test_send_at_that_is_no_time_skips_the_item(value: Any):
    """An item whose time cannot be read is not sent at some other time; the reason says why."""
    campaign = timed({"best": value}, send_at="{{ item.best }}", timezone="UTC")
    (planned,) = plan(campaign)
    assert (planned.status, planned.reason) == ("skipped", "template-error")
    assert str(planned.error).startswith("send_at: is ")
    strict = timed({"best": value}, send_at="{{ item.best }}", timezone="UTC", on_template_error="fail")
    with pytest.raises(PlanError, match="row 1: send_at: is "):
        plan(strict)


def test_send_at_outside_the_windows_waits_for_the_next():
    """The item's own time comes first, then the windows."""
    campaign = timed({}, send_at="2026-03-03T21:00", windows=[OFFICE], timezone="UTC")
    (planned,) = plan(campaign)
    assert planned.due_at == datetime(2026, 3, 4, 9, tzinfo=UTC)


def test_job_without_times_has_no_timing():
    """Its plan has nothing to ask, item by item."""
    assert make_campaign().timing is None


def test_send_at_that_fails_on_what_is_there_is_a_mistake():
    """An empty cell is no wish; an expression that fails on a value that is there skips the item."""
    campaign = timed({"hour": "x"}, {"day": "1"}, send_at="{{ item.hour | int }}:00", timezone="UTC")
    first, second = plan(campaign)
    assert (first.status, first.reason) == ("skipped", "template-error")
    assert (second.status, second.due_at) == ("pending", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": [OFFICE]}, "fallback_timezone: is missing"),
        (
            {"windows": [OFFICE], "timezone": "{{ item.phone }}", "fallback_timezone": "Europe/Londn"},
            "fallback_timezone: unknown time zone 'Europe/Londn' (did you mean 'Europe/London'?)",
        ),
        (
            {"windows": [OFFICE], "timezone": "Europe/Londn"},
            "timezone: unknown time zone 'Europe/Londn' (did you mean 'Europe/London'?)",
        ),
        ({"timezone": "UTC"}, "timezone: goes with windows, holidays or send_at"),
        ({"fallback_timezone": "UTC"}, "fallback_timezone: goes with windows, holidays or send_at"),
        ({"outside_window": "skip"}, "outside_window: goes with windows or holidays"),
        ({"windows": [{"start": "9", "end": "10:00"}]}, "windows[0].start: must be a time of day"),
        ({"windows": [{"start": "09:00", "end": "24:01"}]}, "windows[0].end: must be a time of day"),
        ({"windows": [{"start": "09:00", "end": "09:00"}]}, "windows[0]: starts and ends at the same time"),
        (
            {"windows": [{"start": "09:00", "end": "10:00", "days": ["mo"]}]},
            "(did you mean 'mon'?)",
        ),
        ({"holidays": ["25.12.2026"]}, "holidays[0]: must be a date such as 2026-12-25"),
        ({"windows": [{"start": "09:00", "end": "10:00", "day": "mon"}]}, "did you mean 'days'?"),
        ({"send_at": "tomorrow", "timezone": "UTC"}, "send_at: is no time, such as"),
        ({"send_at": "{{ item.", "timezone": "UTC"}, "send_at"),
        ({"outside_window": "drop"}, "outside_window"),
    ],
)
def test_mistake_about_time_is_told_with_its_place(changes: dict[str, Any], message: str):
    """A job whose times cannot be honoured is refused when it is loaded."""
    with pytest.raises((InputError, InputErrors)) as caught:
        make_campaign(**changes)
    assert message in str(caught.value)


def test_zone_of_an_attribute_that_no_list_has_is_refused():
    """A typing error in the job must not put everyone into the fallback zone."""
    campaign = timed(
        {"zone": "Asia/Tokyo"}, windows=[OFFICE], timezone="{{ item.zon }}", fallback_timezone="UTC"
    )
    with pytest.raises(InputError, match="'zon'"):
        plan(campaign)
