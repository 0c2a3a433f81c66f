"""Times in the ledger: aware, in UTC, and in the same order on both databases."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import StatementError

from clarion.ledger.database import Database, utc_now
from clarion.ledger.runs import find_run
from clarion.ledger.tables import RUN, UtcDateTime
from tests.integration.ledger_runs import new_run

quietly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9000, 1, 1), timezones=zones)  # noqa: DTZ001  # the strategy adds the zones
close_by = st.sampled_from([0, 1, 999, 1_000, 999_999, 1_000_000]).map(lambda us: timedelta(microseconds=us))

WHOLE_SECOND = datetime(2026, 12, 1, 9, 0, 0, tzinfo=UTC)


def stored(moment: datetime) -> sa.BindParameter[datetime]:
    """A time as the ledger stores it."""
    return sa.literal(moment, UtcDateTime())


def test_time_without_a_zone_never_enters_the_ledger(database: Database):
    """A naive time is refused before anything is written."""
    run = new_run(database)
    with (
        pytest.raises(StatementError, match="a time without a zone never enters the ledger"),
        database.write() as connection,
    ):
        connection.execute(RUN.update().values(start_at=datetime(2026, 12, 1)))  # noqa: DTZ001  # on purpose
    assert find_run(database, run.uid).start_at is None


@quietly
@given(moment=moments)
def test_time_comes_back_as_it_was_in_utc(database: Database, moment: datetime):
    """To the microsecond, whatever zone it was given in."""
    with database.read() as connection:
        back = connection.scalar(sa.select(stored(moment)))
    assert back == moment
    assert back is not None
    assert back.tzinfo is UTC


def test_time_comes_back_in_utc_from_a_session_in_another_zone(database: Database):
    """PostgreSQL answers in the session's zone: the ledger does not care."""
    with database.write() as connection:
        if database.dialect == "postgresql":
            connection.exec_driver_sql("SET LOCAL TIME ZONE 'Asia/Tokyo'")
        back = connection.execute(sa.select(stored(WHOLE_SECOND))).scalar_one()
        now = connection.execute(sa.select(utc_now())).scalar_one()
    assert (back, back.tzinfo, now.tzinfo) == (WHOLE_SECOND, UTC, UTC)


@quietly
@given(moment=moments, apart=close_by)
@example(moment=WHOLE_SECOND, apart=timedelta(milliseconds=1))
def test_order_in_the_database_is_the_order_of_time(database: Database, moment: datetime, apart: timedelta):
    """A comparison in SQL says what Python says, also where the times are text."""
    later = (moment + apart).astimezone(UTC)
    with database.read() as connection:
        compared = connection.execute(
            sa.select(
                stored(moment) < stored(later),
                stored(moment) <= stored(later),
                stored(later) <= stored(moment),
            )
        ).one()
    assert tuple(map(bool, compared)) == (moment < later, moment <= later, later <= moment)


def test_database_clock_is_this_machines(database: Database):
    """Between two readings of this machine's clock, which both databases share here, to the millisecond."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    with database.read() as connection:
        now = connection.execute(sa.select(utc_now())).scalar_one()
    assert before <= now <= datetime.now(UTC) + timedelta(milliseconds=1)


def test_database_clock_advances_within_a_transaction(database: Database):
    """A claim that waited for a lock is stamped with the time when it got it."""
    with database.write() as connection:
        first = connection.execute(sa.select(utc_now())).scalar_one()
        while connection.execute(sa.select(utc_now())).scalar_one() == first:
            pass


@quietly
@given(moment=moments)
@example(moment=WHOLE_SECOND)
@example(moment=WHOLE_SECOND - timedelta(milliseconds=1))
def test_sqlite_clock_is_written_as_stored_times_are(moment: datetime):
    """SQLite compares text: at any moment its clock reads as a time stored at that very millisecond."""
    engine = sa.create_engine("sqlite://")
    clock = str(sa.select(utc_now()).compile(engine)).replace("'now'", ":given")
    millisecond = moment.astimezone(UTC)
    millisecond = millisecond.replace(microsecond=millisecond.microsecond // 1_000 * 1_000)
    with engine.connect() as connection:
        given_text = f"{millisecond:%Y-%m-%d %H:%M:%S}.{millisecond.microsecond // 1_000:03d}"
        reads = connection.execute(sa.text(clock), {"given": given_text}).scalar_one()
        bound = connection.execute(sa.select(sa.cast(stored(millisecond), sa.Text))).scalar_one()
    engine.dispose()
    assert reads == bound
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", reads)
