"""Times that pass in the middle of a run: the end of sending, and windows that close while items wait."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, cast

import pytest

from clarion.campaign import Campaign
from clarion.ledger.database import Database
from clarion.planning import PlannedItem
from clarion.sandbox.message import Answer, Request
from clarion.sending import sender as sending_module
from clarion.sending import session as session_module
from clarion.sending.writer import Limit
from clarion.timing import Timing
from tests.integration.ledger_runs import planned, rows_of, statuses
from tests.integration.scripted_provider import Provider, refuse
from tests.integration.sender_runs import (
    FREE,
    assert_sound,
    at_work,
    campaign,
    new_run,
    open_session,
    part_of,
    recipients_by_status,
    sending,
    until,
)

LONDON, TOKYO = "Europe/London", "Asia/Tokyo"
OPENS_AT = datetime(2100, 1, 1, 9, tzinfo=UTC)
ITEMS = 200


@dataclass
class Doors:
    """Windows that a test closes; in the place of a campaign's timing."""

    skips: bool
    closed: set[str | None] = field(default_factory=set)
    closes_at: datetime | None = None

    def closed_until(self, zone: str | None, now: datetime) -> datetime | None:
        too_late = self.closes_at is not None and now >= self.closes_at
        return OPENS_AT if zone in self.closed or too_late else None


def windowed(doors: Doors, **changes: Any) -> Campaign:
    """A campaign whose windows these are."""
    return replace(campaign(**changes), timing=cast("Timing", doors))


def zone_of(row: int) -> str:
    """Every other item is in Tokyo."""
    return TOKYO if row % 2 else LONDON


def zoned(count: int = ITEMS) -> list[PlannedItem]:
    """Items in London and in Tokyo in turn."""
    return [planned(row, timezone=zone_of(row)) for row in range(1, count + 1)]


def rows(recipients: list[str] | set[str]) -> list[int]:
    """The rows of recipients, as they came."""
    return [int(each[1:]) for each in recipients]


@dataclass
class Counted:
    """Counts the calls of a function."""

    real: Callable[..., Any]
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args[1:])
        return self.real(*args)


@pytest.fixture(params=[False, True], ids=["hold", "skip"])
def doors(request: pytest.FixtureRequest) -> Doors:
    """Windows, under both words of `outside_window`."""
    return Doors(skips=request.param)


@pytest.fixture
def moves(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The statements that move a zone."""
    name = "skip_zone" if doors.skips else "hold_zone"
    counted = Counted(getattr(sending_module, name))
    monkeypatch.setattr(sending_module, name, counted)
    return counted


def closing(doors: Doors, zone: str | None, *, after: int) -> Callable[[int, Request], Answer | None]:
    """A script that closes a zone's windows as the request of that number arrives."""

    def script(number: int, _: Request) -> Answer | None:
        if number == after:
            doors.closed.add(zone)
        return None

    return script


def test_windows_that_close_stop_their_zone_alone(database: Database, doors: Doors, moves: Counted):
    """From then on nobody of the zone is sent to; all others are; one statement moves the whole zone."""
    with Provider(closing(doors, TOKYO, after=31)) as provider, sending(database, connections=1) as sender:
        run = new_run(database, provider, zoned())
        session = open_session(sender, run, campaign=windowed(doors))
        sender.deliver(session, part_of(database, run, 1, 100))
        assert sender.leave(session) == 0
        found = recipients_by_status(database, run)
        order = rows(provider.recipients())
        tokyo_left = [row for row in order if zone_of(row) == TOKYO]
        assert all(zone_of(row) == LONDON for row in order[31:])
        assert len([row for row in order if zone_of(row) == LONDON]) == 50
        late = {f"r{row}" for row in range(1, ITEMS + 1) if zone_of(row) == TOKYO and row not in tokyo_left}
        assert found["skipped" if doors.skips else "pending"] >= late  # beyond the slice too
        assert moves.calls == [(run.id, TOKYO, OPENS_AT)]
        again = open_session(sender, run, campaign=windowed(doors))
        sender.deliver(again, part_of(database, run))
        sender.leave(again)
    assert all(zone_of(row) == LONDON for row in rows(provider.recipients())[31:])
    outside = {"skipped" if doors.skips else "pending": len(late)}
    assert_sound(database, run, succeeded=ITEMS - len(late), **outside)
    told = {
        (status, reason, due_at)
        for status, reason, due_at, recipient in rows_of(
            database, run.id, "status", "reason", "due_at", "recipient"
        )
        if recipient in late
    }
    assert told == {("skipped", "outside-window", None) if doors.skips else ("pending", None, OPENS_AT)}
    provider.assert_nobody_twice()


@pytest.mark.parametrize("connections", [4, 64])
def test_windows_that_close_with_many_calls_on_their_way(
    database: Database, doors: Doors, moves: Counted, connections: int
):
    """What has been asked already may still leave, at most one a lane; slices at once agree on the rest."""
    script = closing(doors, TOKYO, after=31)
    with Provider(script) as provider, sending(database, connections=connections) as sender:
        run = new_run(database, provider, zoned())
        session = open_session(sender, run, campaign=windowed(doors))
        parts = [part_of(database, run, first, first + 49) for first in range(1, ITEMS, 50)]
        with at_work(sender, *((session, part) for part in parts)) as results:
            pending = sum(each.result().pending for each in results)
        assert sender.leave(session) == 0
    order = rows(provider.recipients())
    assert len([row for row in order[31:] if zone_of(row) == TOKYO]) <= connections
    assert len(order) == len(set(order))
    late = ITEMS - len(order)
    assert pending == (0 if doors.skips else late)
    assert len(moves.calls) == 1
    assert_sound(database, run, succeeded=len(order), **{"skipped" if doors.skips else "pending": late})
    provider.assert_nobody_twice()


def test_windows_of_items_without_a_zone_close_too(database: Database, doors: Doors, moves: Counted):
    """One after the other, for there is no zone to be moved."""
    with Provider(closing(doors, None, after=5)) as provider, sending(database, connections=1) as sender:
        run = new_run(database, provider, 40)
        session = open_session(sender, run, campaign=windowed(doors))
        sender.deliver(session, part_of(database, run))
        sender.leave(session)
    assert (provider.count(), moves.calls) == (5, [])
    assert_sound(database, run, succeeded=5, **{"skipped" if doors.skips else "pending": 35})


def test_zone_is_moved_before_the_run_is_left(
    database: Database, doors: Doors, monkeypatch: pytest.MonkeyPatch
):
    """Who leaves while it is under way waits for it: a flow would otherwise count what is about to move."""
    name = "skip_zone" if doors.skips else "hold_zone"
    real, order, left = getattr(sending_module, name), [], threading.Event()

    def move(*args: Any) -> Any:
        left.wait(0.3)  # comes back early where nobody waits for this
        moved = real(*args)
        order.append("moved")
        return moved

    monkeypatch.setattr(sending_module, name, move)
    doors.closed.add(TOKYO)
    with Provider() as provider, sending(database) as sender:
        run = new_run(database, provider, zoned(40))
        session = open_session(sender, run, campaign=windowed(doors))
        sender.deliver(session, part_of(database, run, 1, 2))
        sender.leave(session)
        order.append("left")
        left.set()
    assert order == ["moved", "left"]
    counts = {"skipped": 20, "pending": 19} if doors.skips else {"pending": 39}
    assert_sound(database, run, succeeded=1, **counts)


def test_zone_that_cannot_be_moved_is_put_back_one_by_one(
    database: Database, doors: Doors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The statement that moves all at once is for speed: without it nobody is sent to either."""

    def move(*_: Any) -> Any:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(sending_module, "skip_zone" if doors.skips else "hold_zone", move)
    doors.closed.add(TOKYO)
    with Provider() as provider, sending(database) as sender:
        run = new_run(database, provider, zoned(100))
        session = open_session(sender, run, campaign=windowed(doors))
        sender.deliver(session, part_of(database, run))
        sender.leave(session)
    assert all(zone_of(row) == LONDON for row in rows(provider.recipients()))
    assert_sound(database, run, succeeded=50, **{"skipped" if doors.skips else "pending": 50})
    assert "The ledger could not be written" in caplog.text


@pytest.mark.parametrize(("status", "in_doubt"), [(500, False), (502, True)])
def test_retry_that_would_fall_outside_waits_or_ends(
    database: Database, doors: Doors, status: int, in_doubt: bool
):
    """Held it is due as the windows open; skipped it has failed, or is unknown where it may have arrived."""
    doors.closes_at = datetime.now(UTC) + timedelta(hours=1)
    policy = {
        "num_retries": 1,
        "backoff_policy": {"base_interval_seconds": 7_200, "max_interval_seconds": 7_200},
    }
    action = {"retry_policy": policy, "on_unknown": "resend"}
    with Provider(lambda *_: refuse(status)) as provider, sending(database) as sender:
        run = new_run(database, provider, zoned(4))
        session = open_session(sender, run, campaign=windowed(doors, action=action))
        result = sender.deliver(session, part_of(database, run))
        assert sender.leave(session) == 0
    ended = "unknown" if in_doubt else "failed"
    assert_sound(database, run, **{ended if doors.skips else "pending": 4})
    told = set(rows_of(database, run.id, "reason", "due_at", "attempts", "in_doubt"))
    assert told == {("outside-window", None, 1, in_doubt) if doors.skips else (None, OPENS_AT, 1, in_doubt)}
    assert (provider.count(), result.pending) == (4, 0 if doors.skips else 4)


def test_retry_within_the_windows_stays_as_it_was(database: Database, doors: Doors):
    """Its back-off decides."""
    doors.closes_at = datetime.now(UTC) + timedelta(hours=9)
    policy = {
        "num_retries": 1,
        "backoff_policy": {"base_interval_seconds": 7_200, "max_interval_seconds": 7_200},
    }
    with Provider(lambda *_: refuse(500)) as provider, sending(database) as sender:
        run = new_run(database, provider, zoned(2))
        session = open_session(sender, run, campaign=windowed(doors, action={"retry_policy": policy}))
        sender.deliver(session, part_of(database, run))
        sender.leave(session)
    assert_sound(database, run, pending=2)
    assert all(due_at < OPENS_AT for due_at in rows_of(database, run.id, "due_at"))


class Clock:
    """What the session asks for the time, moved by the test."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + cls.ahead


@pytest.mark.parametrize("tps", [None, 40.0])
def test_nothing_is_sent_from_the_end_of_sending_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, tps: float | None
):
    """What is claimed by then goes back, what waits for its permit too; nobody is sent to after it."""
    monkeypatch.setattr(session_module, "datetime", Clock)
    monkeypatch.setattr(Clock, "ahead", timedelta())

    def script(number: int, _: Request) -> Answer | None:
        if number == 7:
            Clock.ahead = timedelta(hours=2)
        return None

    with Provider(script) as provider, sending(database, connections=1) as sender:
        until_ = datetime.now(UTC) + timedelta(hours=1)
        run = new_run(database, provider, 100, send_until=until_)
        session = open_session(sender, run, limits={"send": Limit(key=FREE.key, tps=tps)})
        result = sender.deliver(session, part_of(database, run))
        assert (provider.count(), result.pending, result.held_seconds) == (7, 93, 0.0)
        assert statuses(database, run.id) == {"succeeded": 7, "pending": 93}
        assert sender.deliver(session, part_of(database, run)).pending == 93
        assert sender.leave(session) == 0
    assert provider.count() == 7
    assert set(rows_of(database, run.id, "attempts", "status")) == {(1, "succeeded"), (0, "pending")}
    assert_sound(database, run, succeeded=7, pending=93)
    provider.assert_nobody_twice()


def test_item_that_waits_for_its_permit_goes_back_on_leave(database: Database):
    """Only what was sent can be unknown: not what was claimed for a permit of some moments later."""
    with Provider(latency_ms=600_000) as provider, sending(database, connections=8) as sender:
        run = new_run(database, provider, 20)
        session = open_session(sender, run, limits={"send": Limit(key=FREE.key, tps=2.5)})
        with (
            pytest.MonkeyPatch.context() as patch,
            at_work(sender, (session, part_of(database, run))) as (result,),
        ):
            patch.setattr(sending_module, "LEAVE_SECONDS", 0.05)
            until(provider.count)
            assert len(recipients_by_status(database, run)["sending"]) >= 2
            lost = sender.leave(session)
            assert result.result().pending == 20 - lost
    sent = set(provider.recipients())
    assert recipients_by_status(database, run)["unknown"] == sent
    assert_sound(database, run, unknown=len(sent), pending=20 - len(sent))
    assert set(rows_of(database, run.id, "attempts")) == {0}
    provider.assert_nobody_twice()
