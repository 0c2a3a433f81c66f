"""Writing plans: chunks, duplicates, limits, and plans that are cut off or overtaken."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from clarion.errors import RunConflictError
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import get_run, set_status
from clarion.ledger.workers import live_workers
from clarion.planning import PlannedItem
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    counts,
    leases,
    new_run,
    planned,
    planned_run,
    rows_of,
    skipped,
    statuses,
)


def test_plan_marks_a_recipient_seen_in_an_earlier_chunk(database: Database):
    """The second row of a recipient is stored as a duplicate, in whichever chunk it comes."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(1, recipient="ann"), planned(2, recipient="bob")])
    writer.write([planned(3, recipient="ann"), planned(4)])
    writer.finish(limit=None, bad_rows=3)
    stored = sorted(rows_of(database, run.id, "row", "status", "reason", "dedupe_key", "recipient"))
    assert stored == [
        (1, "pending", None, "ann", "ann"),
        (2, "pending", None, "bob", "bob"),
        (3, "skipped", "duplicate", None, "ann"),
        (4, "pending", None, "r4", "r4"),
    ]
    assert counts(database, run.id) == {"total": 4, "pending": 3, "skipped": 1}
    assert get_run(database, run.id).bad_rows == 3


def test_plan_marks_duplicates_within_one_chunk(database: Database):
    """The first of several rows of a recipient in a chunk is sent to, all others are not."""
    run_id = planned_run(database, [planned(row, recipient="ann") for row in range(1, 6)])
    stored = sorted(rows_of(database, run_id, "row", "status"))
    assert stored == [(1, "pending"), *((row, "skipped") for row in range(2, 6))]


def test_plan_keeps_what_has_no_dedupe_key(database: Database):
    """Rows that the plan leaves out share no key: none of them is another's duplicate."""
    run_id = planned_run(database, [skipped(1, "excluded"), skipped(2, "excluded"), planned(3)])
    assert rows_of(database, run_id, "reason") == ["excluded", "excluded", None]
    assert_counts_add_up(database, run_id)


def test_plan_of_all_matches_sends_each_segment_once_to_a_recipient(database: Database):
    """Under `matching: all` the key is segment and recipient: a repeated row repeats no segment."""

    def both(row: int) -> list[PlannedItem]:
        return [
            planned(row, segment=segment, recipient="ann", dedupe_key=f"{segment}\x1fann")
            for segment in ("gold", "rest")
        ]

    run_id = planned_run(database, both(1) + both(2))
    assert sorted(rows_of(database, run_id, "row", "segment", "status")) == [
        (1, "gold", "pending"),
        (1, "rest", "pending"),
        (2, "gold", "skipped"),
        (2, "rest", "skipped"),
    ]


def test_plan_refuses_the_same_row_and_segment_twice(database: Database):
    """A row is in a segment once: storing it again fails, and leaves nothing of its chunk."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(1)])
    with pytest.raises(IntegrityError):
        writer.write([planned(2), planned(1, recipient="another")])
    assert rows_of(database, run.id, "row") == [1]
    assert counts(database, run.id) == {"total": 1, "pending": 1}


def test_same_recipient_is_free_again_in_another_run(database: Database):
    """A dedupe key is taken within its run only."""
    for _ in range(2):
        run_id = planned_run(database, [planned(1, recipient="ann")])
        assert statuses(database, run_id) == {"pending": 1}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    recipients=st.lists(st.sampled_from("abcdefgh") | st.none(), min_size=1, max_size=40),
    size=st.integers(1, 10),
)
def test_plan_sends_once_to_each_recipient_however_it_is_chunked(
    database: Database, recipients: list[str | None], size: int
):
    """Of each recipient the first row is pending; the counters add up after every chunk."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    items = [
        skipped(row, "invalid-recipient") if who is None else planned(row, recipient=who)
        for row, who in enumerate(recipients, 1)
    ]
    for start in range(0, len(items), size):
        writer.write(items[start : start + size])
        assert_counts_add_up(database, run.id)
    sent = {row for row, status in rows_of(database, run.id, "row", "status") if status == "pending"}
    assert sent == {recipients.index(who) + 1 for who in set(recipients) - {None}}
    assert sorted(rows_of(database, run.id, "row")) == list(range(1, len(items) + 1))


def test_cut_off_plan_is_thrown_away_and_planned_again(database: Database):
    """A restart deletes the half plan, and finds nobody of it a duplicate."""
    run = new_run(database)
    cut_off = PlanWriter(database, run.id)
    cut_off.begin()
    cut_off.write([planned(row) for row in range(1, 6)])
    again = PlanWriter(database, run.id)
    again.begin()
    assert counts(database, run.id) == {}
    again.write([planned(row) for row in range(1, 4)])
    again.finish(limit=None, bad_rows=0)
    assert counts(database, run.id) == {"total": 3, "pending": 3}
    assert statuses(database, run.id) == {"pending": 3}


def test_half_plan_larger_than_one_transaction_is_deleted_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """The deletion goes on until nothing is left, and the counts add up at each of its commits."""
    monkeypatch.setattr("clarion.ledger.plans.DELETED_AT_ONCE", 7)
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(row) for row in range(1, 19)] + [skipped(row, "excluded") for row in (19, 20)])
    left: list[int] = []
    committed = PlanWriter._planning

    @contextmanager
    def watched(self: PlanWriter) -> Generator[Connection]:
        with committed(self) as connection:
            yield connection
        assert_counts_add_up(database, run.id)
        left.append(len(rows_of(database, run.id, "id")))

    monkeypatch.setattr(PlanWriter, "_planning", watched)
    writer.begin()
    assert left == [13, 6, 0, 0]


def test_overtaken_planner_writes_no_more(database: Database):
    """Of two processes that plan the same run the later one does; the earlier one changes nothing."""
    run = new_run(database)
    earlier, later = PlanWriter(database, run.id), PlanWriter(database, run.id)
    earlier.begin()
    earlier.write([planned(1)])
    later.begin()
    later.write([planned(1), planned(2)])
    with pytest.raises(RunConflictError, match="another process plans the run"):
        earlier.write([planned(3)])
    with pytest.raises(RunConflictError, match="another process plans the run"):
        earlier.finish(limit=None, bad_rows=0)
    earlier.discard("the list is gone")
    assert get_run(database, run.id).status == "planning"
    later.finish(limit=None, bad_rows=0)
    assert rows_of(database, run.id, "row") == [1, 2]
    assert get_run(database, run.id).status == "running"


def test_run_that_is_planned_is_never_planned_again(database: Database):
    """What may have been sent already is not deleted."""
    run_id = planned_run(database, 3)
    with pytest.raises(RunConflictError, match="planned already"):
        PlanWriter(database, run_id).begin()
    assert statuses(database, run_id) == {"pending": 3}
    assert get_run(database, run_id).status == "running"


def test_planner_holds_a_lease_until_it_is_done(database: Database):
    """Whoever looks sees that somebody works on the run, and afterwards that nobody does."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    assert live_workers(database, run.id) == 1
    writer.finish(limit=None, bad_rows=0)
    assert leases(database, run.id) == set()


def test_plan_opens_the_run_in_one_commit(database: Database):
    """Before `finish` the run is in planning; after it in running, with the time of the plan."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(1)])
    before = get_run(database, run.id)
    assert (before.status, before.planned_at) == ("planning", None)
    writer.finish(limit=None, bad_rows=0)
    after = get_run(database, run.id)
    assert after.status == "running"
    assert after.started_at is not None
    assert after.planned_at is not None
    assert after.created_at <= after.started_at <= after.planned_at


def test_plan_of_a_run_that_was_stopped_meanwhile_does_not_open_it(database: Database):
    """A person's stop is final, for a planner too."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(1)])
    set_status(database, run.id, "stopped")
    with pytest.raises(RunConflictError, match="ended while"):
        writer.finish(limit=None, bad_rows=0)
    assert get_run(database, run.id).status == "stopped"


@pytest.mark.parametrize(("limit", "kept"), [(1, [2]), (2, [2, 4]), (3, [2, 4, 5]), (99, [2, 4, 5])])
def test_limit_keeps_the_first_that_would_be_sent(database: Database, limit: int, kept: list[int]):
    """The limit counts items that are due, not rows; all after it are skipped(limit)."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([skipped(1, "excluded"), planned(2), planned(3, recipient="r2")])
    writer.write([planned(4), planned(5)])
    writer.finish(limit=limit, bad_rows=0)
    stored = rows_of(database, run.id, "row", "status", "reason")
    assert [row for row, status, _ in stored if status == "pending"] == kept
    assert [row for row, _, reason in stored if reason == "limit"] == [
        row for row in (2, 4, 5) if row not in kept
    ]
    assert_counts_add_up(database, run.id)


def test_discarded_plan_leaves_the_run_failed_without_items(database: Database):
    """The reason stays, nothing that could be sent does."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(row) for row in range(1, 6)])
    writer.discard("an exclude list cannot be read")
    ended = get_run(database, run.id)
    assert (ended.status, ended.reason) == ("failed", "an exclude list cannot be read")
    assert ended.ended_at is not None
    assert counts(database, run.id) == {}
    assert rows_of(database, run.id, "id") == []
    assert leases(database, run.id) == set()


def test_failed_plan_can_be_made_again(database: Database):
    """A run that failed in planning is planned when a person resumes it."""
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.discard("the list is gone")
    writer.begin()
    writer.write([planned(1)])
    writer.finish(limit=None, bad_rows=0)
    again = get_run(database, run.id)
    assert (again.status, again.reason, again.ended_at) == ("running", None, None)


def test_plan_stores_items_as_they_are_written(database: Database):
    """Text of any script, JSON's escapes and long items come back unchanged."""
    item = '{"name":"Zoë 🎈 \\u0000 \\"x\\"","note":"' + "y" * 100_000 + '"}'
    run_id = planned_run(database, [planned(1, item=item, recipient="zoë@example.org", segment="für alle")])
    assert rows_of(database, run_id, "item", "recipient", "segment") == [
        (item, "zoë@example.org", "für alle")
    ]
