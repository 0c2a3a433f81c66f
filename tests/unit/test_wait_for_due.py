"""When a run leaves its worker to come back by itself, and when it waits in place."""

from datetime import UTC, datetime, timedelta

import pytest

from clarion.ledger.claims import OpenWork
from clarion.models.timing import Schedule
from flows import wait_for_due
from flows.catch_up import missed
from flows.wait_for_due import LONG_SECONDS, HeldError, leave_if_held, leave_until_start

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
LONG, SHORT = timedelta(seconds=LONG_SECONDS + 1), timedelta(seconds=LONG_SECONDS - 1)


def work(pending: int, wait: timedelta | None) -> OpenWork:
    """So many pending items, the first of them due after a wait, or at once."""
    return OpenWork(pending=pending, due_at=None if wait is None else NOW + wait, now=NOW)


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow run is one of a deployment."""
    monkeypatch.setattr(wait_for_due, "may_suspend", lambda: True)


@pytest.mark.usefixtures("deployed")
def test_run_leaves_its_worker_where_everything_is_held_for_long():
    """The error says until when, in words for the run's reason as well."""
    with pytest.raises(HeldError, match="waits until 2026-06-01 09:02 UTC") as caught:
        leave_if_held(work(3, LONG))
    assert caught.value.until == NOW + LONG


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("left", [work(3, SHORT), work(3, None), work(0, None)])
def test_run_stays_where_something_is_due_soon(left: OpenWork):
    """A short wait, work at hand, and nothing left at all are no reasons to leave."""
    leave_if_held(left)


@pytest.mark.usefixtures("deployed")
def test_run_comes_back_when_its_time_of_sending_ends():
    """What is due later than that is to be ended then; a run whose time is up soon stays."""
    with pytest.raises(HeldError) as caught:
        leave_if_held(work(3, 3 * LONG), send_until=NOW + LONG)
    assert caught.value.until == NOW + LONG
    leave_if_held(work(3, LONG), send_until=NOW + SHORT)


def test_run_without_a_deployment_waits_in_place():
    """Nobody would bring it back."""
    leave_if_held(work(3, LONG))
    leave_until_start(datetime.now(UTC) + LONG)


@pytest.mark.usefixtures("deployed")
def test_run_leaves_its_worker_until_it_starts():
    """A start that is far off holds no worker either; one that is near or past is waited for."""
    leave_until_start(datetime.now(UTC) + timedelta(seconds=5))
    with pytest.raises(HeldError):
        leave_until_start(datetime.now(UTC) + timedelta(hours=1))


def test_run_that_no_schedule_started_is_never_missed():
    """Whoever starts a run by hand gets it, whatever the schedule says of missed ones."""
    assert missed(None) is None
    assert missed(Schedule(cron="0 9 * * *")) is None
