"""Forgetting a person: no table knows the address any more, and every count is as it was."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.addresses import address_of
from clarion.errors import InputError, RunConflictError
from clarion.ledger.answer_tables import (
    EVENT,
    MANAGED_LIST,
    MANAGED_LIST_CHANGE,
    MANAGED_LIST_ITEM,
    SUPPRESSION,
)
from clarion.ledger.answers import count_answers
from clarion.ledger.database import Database
from clarion.ledger.forgetting import forget, look_up
from clarion.ledger.managed_lists import NewList, create_list, put_item
from clarion.ledger.runs import REACTIONS, get_run
from clarion.ledger.second_tries import resolve_unknown, retry_items
from clarion.ledger.summaries import count_items
from clarion.ledger.suppressions import suppress, suppressed
from clarion.ledger.tables import ATTEMPT, FALLBACK_RECIPIENT, RATE_LIMIT, RUN, RUN_ITEM, LedgerTable
from tests.integration.answered_runs import (
    add_event,
    add_reaction_item,
    rows_with,
    update_items,
    update_run,
)
from tests.integration.ledger_runs import claimed, new_run, planned, planned_run, result, settled

PHONE = "+447700900123"
DIGITS = "447700900123"
OTHER = "+447700900999"
WHO = "ann@office"

SPELLINGS = (PHONE, DIGITS, "00447700900123", "+44 7700 900123", "+44 (7700) 900-123", "tel:+447700900123")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret key of the test's own."""
    monkeypatch.setenv("CLARION_HOME", str(tmp_path))


def texts(database: Database) -> Iterator[tuple[str, str]]:
    """Every text of every column of every table, with its place."""
    with database.read() as connection:
        for table in LedgerTable.metadata.sorted_tables:
            for row in connection.execute(table.select()).mappings():
                for name, value in row.items():
                    if isinstance(value, str):
                        yield f"{table.name}.{name}", value


def places_of(database: Database, address: str) -> set[str]:
    """The columns that hold an address in any spelling: its digits in a row, or the very text."""
    found = set()
    for place, text in texts(database):
        digits = re.sub(r"[^\d,:\"]", "", text)
        if address.lower() in text.lower() or (address.isdigit() and address in digits):
            found.add(place)
    return found


def counts(database: Database) -> dict[int, Any]:
    """All that is counted of each run: its items by segment, status and reason, and its answers."""
    with database.read() as connection:
        runs = list(connection.scalars(sa.select(RUN.c.id)))
    return {
        run: (get_run(database, run).counts, count_items(database, run), count_answers(database, run))
        for run in runs
    }


def is_suppressed(database: Database, recipient: str) -> bool:
    """Whether a plan leaves a recipient out."""
    with database.read() as connection:
        return bool(suppressed(connection, [recipient], job="renewals", channels=["sms"]))


def fill(database: Database, spelling: str, spellings: list[str]) -> int:
    """A ledger with a person in every corner of it, beside another person; the run of both."""
    job = orjson.dumps(
        {
            "name": "renewals",
            "recipients": {
                "include": [
                    {
                        "items": [
                            {"n": 1, "phone": spelling, "name": "Ann"},
                            {"n": 2, "phone": OTHER, "name": "Bob"},
                        ]
                    },
                    {"list": "vips"},
                ]
            },
        }
    ).decode()
    theirs = orjson.dumps(
        {"phone": spelling, "name": "Ann", "id": "c7", "more": {"mobile": spellings[0]}}
    ).decode()
    items = [
        planned(1, recipient=spelling, item=theirs, fallback=orjson.dumps([["+1", None, None]]).decode()),
        planned(2, recipient=OTHER, item=orjson.dumps({"phone": OTHER, "friend": spelling}).decode()),
        planned(3, recipient=None, dedupe_key=None, status="skipped", reason="duplicate", item=theirs),
    ]  # fmt: skip
    run_id = planned_run(database, items, job=job)
    first, second = claimed(database, run_id, "t")
    refused = f"no such number {spelling}"
    settled(
        database,
        run_id,
        "t",
        result(first, "failed", reason="refused", error=refused, invocation_id="m1", latency_ms=1.0),
        result(second, "succeeded", invocation_id="m2", latency_ms=1.0),
    )
    update_items(database, [first.id], delivery="failed", delivery_reason=f"{spelling} is off")
    update_run(database, run_id, status="completed", reason=f"because of {spelling}")
    with database.write() as connection:
        call = {
            "run_id": run_id, "run_item_id": first.id, "step": 0, "action": "send", "recipient": spelling,
            "idempotency_key": "k.0.0", "outcome": "retry", "error": refused,
        }  # fmt: skip
        connection.execute(ATTEMPT.insert().values(call))
        connection.execute(
            FALLBACK_RECIPIENT.insert().values(run_id=run_id, dedupe_key=spelling, run_item_id=first.id)
        )
        connection.execute(
            RATE_LIMIT.insert().values(key=f"sms\x1fto\x1f{spelling}", next_at=0, held_until=0)
        )
        create_list(connection, NewList(name="vips", key="id"), who=WHO, why="test")
        put_item(
            connection, "vips", {"id": "c7", "phone": "07700 900123"}, who=WHO, why=f"asked by {spelling}"
        )
        put_item(connection, "vips", {"id": "c8", "phone": spellings[1]}, who=WHO, why="test")
        put_item(
            connection, "vips", {"id": "c9", "phone": OTHER, "note": f"see {spelling}"}, who=WHO, why="test"
        )
        suppress(connection, spelling, scope="channel:sms", reason=f"{spelling} rang us", who=WHO)
    add_event(
        database, "recipient-response", run_id=run_id, run_item_id=first.id, recipient=DIGITS,
        text=f"I am {spelling}", invocation_id="m1", provider_event_id=f"in:{DIGITS}",
    )  # fmt: skip
    add_event(database, "unknown", recipient=DIGITS, text="hello", error=refused)
    add_event(database, "recipient-response", run_id=run_id, run_item_id=second.id, recipient="447700900999",
              text=f"ask {spelling}")  # fmt: skip
    click = add_event(database, "click", run_id=run_id, run_item_id=first.id, recipient=DIGITS, name="offer")
    child = new_run(database, kind=REACTIONS, parent_id=run_id).id
    add_reaction_item(
        database,
        child,
        event_id=click,
        recipient=spelling,
        dedupe_key="4:thanks",
        item=theirs,
        invocation_id="m3",
    )
    return run_id


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_forgotten_person_is_in_no_column_and_every_count_stays(database: Database, data: st.DataObject):
    """Whatever the spelling, in the ledger and in the command: erased, counted as before, suppressed."""
    wipe(database)
    spelling = data.draw(st.sampled_from(SPELLINGS))
    spellings = data.draw(st.lists(st.sampled_from(SPELLINGS), min_size=2, max_size=2))
    run_id = fill(database, spelling, spellings)
    before = counts(database)
    assert len(places_of(database, DIGITS)) > 12
    erased = forget(database, data.draw(st.sampled_from(SPELLINGS)), who=WHO)
    assert places_of(database, DIGITS) == set()
    assert counts(database) == before
    assert all(is_suppressed(database, each) for each in SPELLINGS)
    assert erased["run_items"] == 3
    assert erased["list_items"] == 2
    assert places_of(database, OTHER[1:]) >= {"run_item.recipient", "run_item.item", "managed_list_item.item"}
    (kept,) = rows_with(database, RUN_ITEM, run_id=run_id, row=2)
    assert orjson.loads(kept["item"]) == {"phone": OTHER, "friend": None}
    again = forget(database, PHONE, who=WHO)
    assert set(again.values()) == {0}
    assert counts(database) == before


def wipe(database: Database) -> None:
    """Empties the tables: Hypothesis asks for the database once."""
    with database.write() as connection:
        for table in reversed(LedgerTable.metadata.sorted_tables):
            connection.execute(table.delete())


def test_forgetting_names_and_attributes_too(database: Database):
    """What else the items and answers of a person say is gone with the address."""
    fill(database, PHONE, [PHONE, PHONE])
    forget(database, PHONE, who=WHO)
    assert not [place for place, text in texts(database) if "Ann" in text]
    assert [place for place, text in texts(database) if "Bob" in text] == ["run.job"]


def test_forgetting_leaves_the_list_a_true_count(database: Database):
    """The list counts what it has, and its log tells that an entry went, without its key."""
    fill(database, PHONE, [PHONE, PHONE])
    forget(database, PHONE, who=WHO)
    (vips,) = rows_with(database, MANAGED_LIST)
    left = rows_with(database, MANAGED_LIST_ITEM)
    assert vips["items_count"] == len(left) == 1
    assert orjson.loads(left[0]["item"])["note"] == "see [forgotten]"
    log = rows_with(database, MANAGED_LIST_CHANGE, change="forget")
    assert {(row["key"], row["deleted"], row["who"]) for row in log} == {(None, 1, WHO)}
    assert {row["key"] for row in rows_with(database, MANAGED_LIST_CHANGE)} == {None, "c9"}


@pytest.mark.parametrize("recipient", ["Ann.Lee@Example.com", "mailto:ann.lee@example.com"])
def test_forgetting_an_email_address_takes_every_case_of_it(database: Database, recipient: str):
    """Upper and lower case, within texts and as values; a longer address is another."""
    items = [
        planned(1, recipient="ann.lee@example.com", item='{"Email":"ANN.LEE@example.com"}'),
        planned(2, recipient="joann.lee@example.com", item='{"Email":"joann.lee@example.com"}'),
    ]
    run_id = planned_run(database, items)
    for item in claimed(database, run_id, "t"):
        settled(database, run_id, "t", result(item, "failed", error="bounced: <Ann.Lee@example.com>"))
    forget(database, recipient, who=WHO)
    found = [text for _, text in texts(database) if re.search(r"(?<!jo)ann\.lee@", text, re.IGNORECASE)]
    assert found == []
    assert rows_with(database, RUN_ITEM, row=2)[0]["recipient"] == "joann.lee@example.com"
    assert is_suppressed(database, "ann.lee@EXAMPLE.com")


def test_forgetting_an_id_touches_only_recipients(database: Database):
    """A short id may be anybody's age: it is looked for where recipients stand, and nowhere else."""
    run_id = planned_run(
        database, [planned(1, recipient="17", item='{"id":"17"}'), planned(2, item='{"age":17}')]
    )
    for item in claimed(database, run_id, "t"):
        settled(database, run_id, "t", result(item, "succeeded"))
    assert forget(database, "17", who=WHO)["run_items"] == 1
    first, second = rows_with(database, RUN_ITEM, run_id=run_id)
    assert (first["recipient"], first["item"]) == (None, "{}")
    assert second["item"] == '{"age":17}'


def test_forgetting_gives_up_what_waits_and_refuses_what_is_on_its_way(database: Database):
    """A pending message is not sent any more; one that is being sent keeps everything as it is."""
    run_id = planned_run(database, [planned(1, recipient=PHONE), planned(2, recipient=OTHER)])
    (item, _) = claimed(database, run_id, "t")
    with pytest.raises(RunConflictError, match="on its way"):
        forget(database, PHONE, who=WHO)
    assert places_of(database, DIGITS) >= {"run_item.recipient"}
    assert not is_suppressed(database, PHONE)
    settled(database, run_id, "t", result(item, "pending", attempts=0))
    forget(database, PHONE, who=WHO)
    (row,) = rows_with(database, RUN_ITEM, run_id=run_id, row=1)
    assert (row["status"], row["reason"], row["recipient"]) == ("skipped", "suppressed", None)
    assert get_run(database, run_id).counts["pending"] == 0


def test_forgetting_waits_for_a_plan(database: Database):
    """A run that is being planned may be about to write the person down."""
    run = new_run(database)
    update_run(database, run.id, status="planning")
    with pytest.raises(RunConflictError, match="being planned"):
        forget(database, PHONE, who=WHO)


def test_forgotten_items_are_never_sent_again(database: Database):
    """Neither a retry nor a resend of unknown ones takes them up."""
    run_id = planned_run(database, [planned(1, recipient=PHONE), planned(2, recipient=PHONE, dedupe_key="2")])
    failed, unknown = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(failed, "failed"), result(unknown, "unknown"))
    update_run(database, run_id, status="unresolved")
    forget(database, PHONE, who=WHO)
    assert retry_items(database, run_id) == 0
    assert resolve_unknown(database, run_id, "resend") == 0
    assert resolve_unknown(database, run_id, "failed") == 1


def test_forgetting_somebody_unknown_suppresses_them_all_the_same(database: Database):
    """Who is not in the ledger yet never gets in: no message of a later list reaches them."""
    assert set(forget(database, PHONE, who=WHO).values()) == {0}
    assert is_suppressed(database, PHONE)
    assert DIGITS not in {row["address"] for row in rows_with(database, SUPPRESSION)}
    assert not is_suppressed(database, OTHER)


def test_looking_up_changes_nothing(database: Database):
    """What would be erased is counted without being touched."""
    fill(database, PHONE, [PHONE, PHONE])
    before = list(texts(database))
    found = look_up(database, PHONE)
    assert list(texts(database)) == before
    assert found.counts()["run_items"] == 3


def test_nobody_cannot_be_forgotten(database: Database):
    """An empty address would be everybody's."""
    with pytest.raises(InputError, match="is empty"):
        forget(database, "  ", who=WHO)


def test_file_of_the_embedded_ledger_has_nothing_left(tmp_path: Path):
    """What SQLite deletes is overwritten, in the file and in its log."""
    file = tmp_path / "ledger.db"
    database = Database(f"sqlite:///{file}")
    fill(database, PHONE, [PHONE, PHONE])
    forget(database, PHONE, who=WHO)
    database.close()
    raw = b"".join(each.read_bytes() for each in tmp_path.glob("ledger.db*"))
    assert OTHER.encode() in raw
    assert DIGITS.encode() not in raw
    assert b"Ann" not in raw


def test_late_answer_is_forgotten_the_next_time(database: Database):
    """A receipt that comes afterwards brings the number back, until it is forgotten once more."""
    run_id = fill(database, PHONE, [PHONE, PHONE])
    forget(database, PHONE, who=WHO)
    add_event(database, "action-call-info", run_id=run_id, invocation_id="m1", recipient=address_of(PHONE))
    assert "event.recipient" in places_of(database, DIGITS)
    assert forget(database, PHONE, who=WHO)["events"] == 1
    assert places_of(database, DIGITS) == set()
    assert rows_with(database, EVENT, type="action-call-info")[0]["invocation_id"] == "m1"
