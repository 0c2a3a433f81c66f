"""Forgetting a person: no table knows the address any more, and every count is as it was."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.addresses import address_of
from clarion.errors import InputError, RunConflictError
from clarion.handling import Handled, handle_batch
from clarion.ledger.answer_tables import (
    EVENT,
    MANAGED_LIST,
    MANAGED_LIST_CHANGE,
    MANAGED_LIST_ITEM,
    SUPPRESSION,
)
from clarion.ledger.answers import count_answers
from clarion.ledger.clicks import Click, store_clicks
from clarion.ledger.conversions import Hints, store_conversion, touch_before
from clarion.ledger.database import Database
from clarion.ledger.forgetting import forget, look_up
from clarion.ledger.reactions import STARTED, add_reactions, started_run_key
from clarion.ledger.runs import get_run
from clarion.ledger.second_tries import resolve_unknown, retry_items
from clarion.ledger.summaries import count_items
from clarion.ledger.suppressions import suppressed
from clarion.ledger.tables import RUN, RUN_ITEM, LedgerTable
from clarion.ledger.unsubscribing import unsubscribe
from clarion.receiving.incoming import IncomingEvent
from tests.integration.answered_runs import (
    NOW,
    add_event,
    rows_with,
    update_run,
)
from tests.integration.handled_runs import (
    THANKS,
    answered_run,
    attributed,
    child_of,
    phone,
    reply,
    store,
)
from tests.integration.known_people import DIGITS, OTHER, PHONE, WHO, fill
from tests.integration.ledger_runs import claimed, new_run, planned, planned_run, result, settled
from tests.integration.link_servers import fell_back, item_ids, linked_run

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


def test_reaction_that_told_somebody_else_of_a_person_is_forgotten_too(database: Database):
    """It has the attributes of their item, and quotes what they wrote; other people's stay."""
    run = answered_run(database, people=2, events=[THANKS | {"recipient": "desk"}])
    at_home = reply(1, "Yes, I am at home", provider_event_id="m-1")
    store(database, at_home, reply(2, "Yes, at work", provider_event_id="m-2"))
    handle_batch(database, attributed(database))
    before = counts(database)
    assert forget(database, phone(1), who=WHO)["run_items"] == 2
    left = [text for _, text in texts(database)]
    assert not [text for text in left if "Ann 1" in text or "at home" in text]
    assert [text for text in left if "Ann 2" in text and "at work" in text]
    first, second = rows_with(database, RUN_ITEM, run_id=child_of(database, run).id)
    assert (first["status"], second["status"]) == ("skipped", "pending")
    after = counts(database)
    assert after[run.id] == before[run.id]


def test_reply_of_a_forgotten_person_is_answered_by_nobody(database: Database):
    """Not even by a process that had read it before: it would write down again what it quotes."""
    answered_run(database, events=[THANKS | {"recipient": "desk"}])
    store(database, reply(1, "Yes, I am at home", provider_event_id="m-1"))
    batch = attributed(database)
    forget(database, phone(1), who=WHO)
    assert handle_batch(database, batch) == Handled(0, 0)
    assert not [text for _, text in texts(database) if "at home" in text]


def test_run_that_an_answer_has_started_is_forgotten_with_it(database: Database):
    """It has their item too, and may reach them at another address."""
    answered_run(database, events=[{"name": "on", "condition": THANKS["condition"], "run_job": "welcome"}])
    store(database, reply(1, "Yes", provider_event_id="m-1"))
    handle_batch(database, attributed(database))
    (event,) = rows_with(database, EVENT)
    item = planned(1, recipient="ann@example.com", item='{"name":"Ann 1"}')
    key = started_run_key(event["uid"], "on")
    job = orjson.dumps({"recipients": {"include": [{"items": [{"name": "Ann 1"}]}]}}).decode()
    started = planned_run(database, [item], job=job, job_name="welcome", kind=STARTED, run_key=key)
    forget(database, phone(1), who=WHO)
    (row,) = rows_with(database, RUN_ITEM, run_id=started)
    assert (row["recipient"], row["item"], row["status"]) == (None, "{}", "skipped")
    assert not [text for _, text in texts(database) if "Ann 1" in text]


def test_links_of_a_forgotten_message_are_nobodys(database: Database):
    """Also of a step before the item's own: nobody without an address is suppressed, or written down."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    fell_back(database, run, item)
    forget(database, phone(1), who=WHO)
    before = rows_with(database, SUPPRESSION)
    order = IncomingEvent(type="conversion", provider_event_id="order-1")
    with database.write() as connection:
        done = unsubscribe(
            connection, run_uid=run.uid, run_item_id=item, step=0, scope="everything", one_click=True
        )
        click = Click(
            run_id=run.id, run_item_id=item, name="offer", visitor=None, occurred_at=NOW, user_agent="x"
        )
        store_clicks(connection, [click])
        touch = touch_before(connection, Hints(clicked_item_id=item), at=datetime.now(UTC))
        store_conversion(connection, "generic-webhook/conversions", order, touch=touch)
    assert not done
    assert rows_with(database, SUPPRESSION) == before
    assert {row["recipient"] for row in rows_with(database, EVENT)} == {None}


def test_message_that_somebody_else_has_answered_keeps_its_recipient(database: Database):
    """Their answer goes, and the reaction that could not be made; the item that it is noted with stays."""
    run = answered_run(database, people=2)
    (event,) = store(database, reply(1, "Yes", provider_event_id="m-1", related_id="m-2"))
    attributed(database)
    second = item_ids(database, run)[1]
    failed = {
        "event_id": event, "handler": "thanks", "kind": "action", "run_id": run.id, "run_item_id": second,
        "status": "failed", "error": "an error", "attempts": 0, "due_at": None,
    }  # fmt: skip
    with database.write() as connection:
        add_reactions(connection, [failed])
    assert forget(database, phone(1), who=WHO)["events"] == 1
    (item,) = rows_with(database, RUN_ITEM, id=second)
    assert item["recipient"] == phone(2)
