"""The suppression list in the ledger: who is on it, who put them there, and what waits for them."""

from typing import Any

import orjson
import pytest

from clarion.ledger.database import Database
from clarion.ledger.suppression_log import count_suppressions, history_of, suppression_pages
from clarion.ledger.suppressions import (
    Suppressed,
    hide_address,
    scopes_for_plan,
    suppress,
    suppressed,
    unsuppress,
)
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
    claimed,
    counts,
    new_run,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
)
from tests.integration.test_ledger_fallback import RECORD, refused

ANN, BOB = "+447700900001", "Bob@example.com"
JOB = orjson.dumps({"actions": {"send": {"channel": "sms"}, "mail": {"channel": "email"}}}).decode()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARION_SECRET_KEY", "k" * 40)


def add(database: Database, recipient: str, **changes: Any) -> Suppressed:
    """Suppresses somebody."""
    with database.write() as connection:
        return suppress(connection, recipient, **({"reason": "why", "who": "me"} | changes))


def remove(database: Database, recipient: str, **changes: Any) -> bool:
    """Takes somebody off the list."""
    with database.write() as connection:
        return unsuppress(connection, recipient, **({"reason": "back", "who": "you"} | changes))


def held(database: Database, *recipients: str, job: str = "renewals", channels: Any = ()) -> frozenset[str]:
    """Those of the recipients whom a job may not reach."""
    with database.read() as connection:
        return suppressed(connection, recipients, job=job, channels=channels)


def history(database: Database, recipient: str) -> list[tuple[str, str, str, str]]:
    """Who did what to an address, the newest change first."""
    with database.read() as connection:
        rows = history_of(connection, recipient)
    return [(row["change"], row["scope"], row["reason"], row["who"]) for row in rows]


def test_suppressed_address_is_found_in_every_spelling(database: Database):
    """As the list, the provider and a person write it; nobody else is."""
    add(database, "+44 7700 900001")
    add(database, BOB)
    asked = (ANN, "447700900001", "00447700900001", "bob@EXAMPLE.com", "+447700900002", "x")
    assert held(database, *asked) == set(asked[:4])
    assert held(database) == frozenset()
    assert scopes_for_plan(database, [ANN, "x"]) == {ANN: {"": "why"}}


def test_nobody_is_suppressed_in_an_empty_list(database: Database):
    """Asked as a plan asks, and as a claim does."""
    assert scopes_for_plan(database, [ANN]) == {}
    assert held(database, ANN, channels=["sms"]) == frozenset()


def test_suppression_holds_in_its_scope(database: Database):
    """Of everything, of a channel, of a job."""
    add(database, ANN, scope="channel:sms")
    add(database, BOB, scope="job:renewals")
    assert held(database, ANN, BOB, job="other", channels=["email"]) == frozenset()
    assert held(database, ANN, BOB, job="other", channels=["email", "sms"]) == {ANN}
    assert held(database, ANN, BOB) == {BOB}


def test_suppression_is_made_once_and_keeps_who_when_and_why(database: Database):
    """Who suppressed first is who did; whoever takes it back is written down as well."""
    assert (add(database, ANN).added, add(database, ANN, reason="again").added) == (1, 0)
    assert add(database, ANN, scope="job:a").added == 1
    assert remove(database, "447700900001")
    assert not remove(database, ANN)
    assert held(database, ANN) == frozenset()
    assert history(database, ANN) == [
        ("remove", "", "back", "you"),
        ("add", "job:a", "why", "me"),
        ("add", "", "why", "me"),
    ]
    (page,) = suppression_pages(database)
    assert [(row["address"], row["scope"], row["reason"], row["who"]) for row in page] == [
        ("447700900001", "job:a", "why", "me")
    ]
    assert page[0]["created_at"].endswith("+00:00")


def test_list_is_read_in_pages(database: Database):
    """All of it, the first few, or one scope, in the order of the addresses."""
    for number in range(12):
        add(database, f"+4477009000{number:02}", scope="" if number % 2 else "channel:sms")
    rows = [row["address"] for page in suppression_pages(database) for row in page]
    assert rows == sorted(f"4477009000{number:02}" for number in range(12))
    some = [row["address"] for page in suppression_pages(database, scope="", most=3) for row in page]
    assert some == ["447700900001", "447700900003", "447700900005"]
    assert (count_suppressions(database), count_suppressions(database, scope="")) == (12, 6)


def test_forgotten_address_stays_suppressed(database: Database):
    """As a hash alone, in every scope that it had; it can be found, and taken off, by the address."""
    add(database, ANN)
    add(database, ANN, scope="channel:sms")
    with database.write() as connection:
        assert hide_address(connection, ANN) == 2
        assert hide_address(connection, ANN) == 0
    assert held(database, ANN, BOB) == {ANN}
    add(database, ANN, scope="channel:sms")
    with database.write() as connection:
        assert hide_address(connection, ANN) == 0
    listed = [row for page in suppression_pages(database) for row in page]
    assert {row["scope"] for row in listed} == {"", "channel:sms"}
    assert all(row["address"].startswith("hash:") and len(row["address"]) > 60 for row in listed)
    assert {change for change, *_ in history(database, ANN)} == {"add"}
    assert remove(database, ANN)
    assert held(database, ANN) == frozenset()
    assert held(database, ANN, channels=["sms"]) == {ANN}


def test_hash_of_an_export_holds_where_it_is_imported(database: Database):
    """With the same key."""
    add(database, ANN)
    with database.write() as connection:
        hide_address(connection, ANN)
    (row,) = [row for page in suppression_pages(database) for row in page]
    remove(database, ANN)
    assert held(database, ANN) == frozenset()
    add(database, row["address"])
    assert held(database, ANN) == {ANN}


@pytest.mark.parametrize("recipient", [ANN, "447700900001", "00447700900001"])
def test_what_waits_is_given_up_at_once(database: Database, recipient: str):
    """In every run that has not ended, however plans spell the number."""
    first = planned_run(database, [planned(1, recipient=recipient), planned(2)])
    second = planned_run(database, [planned(1, recipient=recipient)], job_name="other")
    assert add(database, ANN).moved == 2
    assert rows_of(database, first, "status", "reason") == [("skipped", "suppressed"), ("pending", None)]
    assert rows_of(database, second, "status", "reason") == [("skipped", "suppressed")]
    assert counts(database, first) == {"total": 2, "pending": 1, "skipped": 1}
    assert_counts_add_up(database, first)
    assert_counts_add_up(database, second)
    assert add(database, ANN).moved == 0


def test_what_waits_under_matching_all_is_given_up_in_every_segment(database: Database):
    """Where the recipient is the key of an item only within its segment."""
    job = orjson.dumps({"matching": "all", "segments": [{"name": "a"}, {"name": "b"}]}).decode()
    items = [planned(1, segment=each, recipient=ANN, dedupe_key=f"{each}\x1f{ANN}") for each in ("a", "b")]
    run_id = planned_run(database, items, job=job)
    assert add(database, ANN).moved == 2
    assert rows_of(database, run_id, "reason") == ["suppressed", "suppressed"]


def test_what_waits_is_given_up_in_the_scope_alone(database: Database):
    """Another channel's items, and another job's, stay."""
    items = [planned(1, recipient=ANN), planned(2, recipient=BOB, action="mail")]
    run_id = planned_run(database, items, job=JOB)
    for scope in ("channel:email", "channel:voice", "job:other"):
        assert add(database, ANN, scope=scope).moved == 0
    assert add(database, BOB, scope="job:renewals").moved == 1
    assert add(database, ANN, scope="channel:sms").moved == 1
    assert set(rows_of(database, run_id, "reason")) == {"suppressed"}
    assert_counts_add_up(database, run_id)


def test_what_was_tried_before_has_failed_or_stays_unknown(database: Database):
    """Nobody is called skipped whom something may have reached; what is on its way is left alone."""
    people = [f"+44770090000{number}" for number in range(5)]
    run_id = planned_run(database, [planned(row, recipient=each) for row, each in enumerate(people, 1)])
    items = claimed(database, run_id, "t", most=4)
    settled(
        database,
        run_id,
        "t",
        result(items[0], "pending", outcome="retry"),
        result(items[1], "pending", in_doubt=True, outcome="unknown"),
        result(items[2], "succeeded"),
    )
    assert sum(add(database, each).moved for each in people) == 3
    assert rows_of(database, run_id, "status", "reason") == [
        ("failed", "suppressed"),
        ("unknown", "suppressed"),
        ("succeeded", None),
        ("sending", None),
        ("skipped", "suppressed"),
    ]
    assert counts(database, run_id) == {
        "total": 5, "failed": 1, "unknown": 1, "succeeded": 1, "sending": 1, "skipped": 1,
    }  # fmt: skip


def test_item_that_has_fallen_back_is_given_up_by_its_present_recipient(database: Database):
    """The recipient that it had before is no reason any more."""
    run_id = planned_run(database, [planned(1, recipient=ANN, fallback=RECORD)])
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", refused(item, "a@b.c"))
    assert add(database, ANN).moved == 0
    assert add(database, "A@B.c").moved == 1
    assert rows_of(database, run_id, "status", "reason") == [("failed", "suppressed")]
    assert len(attempts_of(database, run_id)) == 1


def test_ended_runs_are_left_alone(database: Database):
    """What was left of them when they ended is what their reports say."""
    run_id = planned_run(database, [planned(1, recipient=ANN)])
    (item,) = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(item, "succeeded"))
    unplanned = new_run(database)
    assert add(database, ANN).moved == 0
    assert rows_of(database, run_id, "status") == ["succeeded"]
    assert rows_of(database, unplanned.id, "status") == []
