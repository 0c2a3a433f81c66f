"""Handling events: reactions stored once, with the events as handled."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from clarion.handling import Handled, handle_batch
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord
from clarion.ledger.tables import RUN
from tests.integration.answered_runs import update_run
from tests.integration.handled_runs import (
    ANY,
    THANKS,
    answered_run,
    attributed,
    built_in,
    child_of,
    handle,
    phone,
    reactions,
    receipt,
    reply,
    states,
    store,
    texts,
)
from tests.integration.ledger_runs import assert_counts_add_up, claimed, counts, result, rows_of, settled


def test_reply_that_matches_becomes_an_item_of_the_reactions_run(database: Database):
    """It is to be sent to who answered, as the handler, with the item and what is asked of the event."""
    run = answered_run(database, people=2)
    first, second = store(database, reply(2, "yes please"), reply(1, "no"))
    assert handle(database) == Handled(2, 1)
    child = child_of(database, run)
    assert (child.kind, child.status, child.job_name, child.planned_at is not None) == (
        "reactions",
        "running",
        run.job_name,
        True,
    )
    columns = ("row", "segment", "recipient", "dedupe_key", "status", "action")
    assert rows_of(database, child.id, *columns) == [
        (first, "thanks", phone(2), f"{first}:thanks", "pending", "send")
    ]
    (item,) = texts(rows_of(database, child.id, "item"))
    assert item == {
        "id": 2,
        "name": "Ann 2",
        "phone": phone(2),
        "@reaction": {"segment": "all", "event": {"text": "yes please"}},
    }
    assert reactions(database, "event_id", "handler", "kind", "status", "run_id") == [
        (first, "thanks", "action", "stored", child.id)
    ]
    assert states(database) == ["handled", "handled"]
    assert_counts_add_up(database, child.id)
    assert second > first


def test_events_that_are_handled_twice_are_answered_once(database: Database):
    """The second who read them finds them handled; an event that is heard again keeps its reaction."""
    run = answered_run(database)
    (event,) = store(database, reply(1))
    batch = attributed(database)
    assert handle_batch(database, batch) == Handled(1, 1)
    assert handle_batch(database, batch) == Handled(0, 0)
    with database.write() as connection:
        connection.execute(EVENT.update().values(state="received"))
    assert handle(database) == Handled(1, 0)
    assert counts(database, child_of(database, run).id) == {"total": 1, "pending": 1}
    assert reactions(database, "event_id") == [event]


@pytest.mark.parametrize(("matching", "expected"), [("all", ["first", "second"]), ("first", ["first"])])
def test_matching_handlers_says_how_many_react(database: Database, matching: str, expected: list[str]):
    """All that match, each once, or the first of them."""
    handlers = [THANKS | {"name": "never", "condition": 'event.text == "?"'}]
    handlers += [THANKS | {"name": name} for name in ("first", "second")]
    run = answered_run(database, events=handlers, matching_handlers=matching)
    store(database, reply(1))
    handle(database)
    assert rows_of(database, child_of(database, run).id, "segment") == expected


def test_events_of_no_run_and_of_jobs_without_handlers_are_only_called_handled(database: Database):
    """There is no run of reactions, and nothing is evaluated."""
    answered_run(database, events=[])
    store(database, reply(1), reply(99))
    assert handle(database) == Handled(2, 0)
    assert states(database) == ["handled", "handled"]
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(RUN)) == 1


def test_run_that_listens_no_more_does_not_react(database: Database):
    """What comes after its time is kept with its message, without reactions."""
    run = answered_run(database)
    update_run(database, run.id, end_at=datetime(2026, 1, 1, tzinfo=UTC))
    store(database, reply(1, related_id="m-1"))
    assert [event.run_id for event in attributed(database)] == [run.id]
    assert handle(database) == Handled(1, 0)


def test_receipt_of_a_reaction_is_answered_by_nobody(database: Database):
    """A handler of receipts would answer its own reactions for ever; of the campaign's own it may."""
    told = THANKS | {"name": "told", "condition": 'event.type == "action-call-info"'}
    run = answered_run(database, people=2, events=[THANKS, told])
    store(database, reply(1))
    handle(database)
    child = child_of(database, run)
    (item,) = claimed(database, child.id, "token")
    settled(database, child.id, "token", result(item, "succeeded", invocation_id="r-1"))
    own, other = store(database, receipt("r-1"), receipt("m-2"))
    assert [event.run_kind for event in attributed(database)] == ["reactions", "run"]
    assert handle(database) == Handled(2, 1)
    assert (own, "told") not in reactions(database, "event_id", "handler")
    assert (other, "told") in reactions(database, "event_id", "handler")


def test_answer_to_a_reaction_is_answered_as_one_to_the_campaign(database: Database):
    """Handlers see the campaign's own item; what they answer joins the same run of reactions."""
    run = answered_run(database)
    store(database, reply(1, "yes"))
    handle(database)
    child = child_of(database, run)
    (item,) = claimed(database, child.id, "token")
    settled(database, child.id, "token", result(item, "succeeded", invocation_id="r-1"))
    (second,) = store(database, reply(1, "yes!", related_id="r-1"))
    assert [event.run_id for event in attributed(database)] == [child.id]
    assert handle(database) == Handled(1, 1)
    first, again = texts(rows_of(database, child.id, "item"))
    assert again == first | {"@reaction": {"segment": "all", "event": {"text": "yes!"}}}
    assert reactions(database, "event_id", "run_id")[-1] == (second, child.id)


class _CrashError(BaseException):
    """The process dies here: nothing catches that."""


@pytest.mark.parametrize("statement", range(1, 14))
def test_crash_within_the_transaction_leaves_all_or_nothing(
    database: Database, statement: int, monkeypatch: pytest.MonkeyPatch
):
    """Whichever statement is the last one, the event is still to be handled, with no trace of a reaction.

    The next one handles it once.
    """
    run = answered_run(database, events=[THANKS, built_in("out", unsubscribe="everything")])
    store(database, reply(1))
    batch = attributed(database)
    executed = 0

    def die(*_: object) -> None:
        nonlocal executed
        executed += 1
        if executed == statement:
            raise _CrashError

    write = database.write

    def dying() -> Any:
        sa.event.listen(database.engine, "before_cursor_execute", die)
        return write()

    monkeypatch.setattr(database, "write", dying)
    try:
        with pytest.raises(_CrashError):
            handle_batch(database, batch)
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", die)
        monkeypatch.undo()
    assert states(database) == ["received"]
    assert reactions(database, "event_id") == []
    assert handle(database) == Handled(1, 2)
    child = child_of(database, run)
    assert counts(database, child.id) == {"total": 1, "pending": 1}
    assert_counts_add_up(database, child.id)


ALL_TEN = [f"yes {turn}" for turn in range(10)]


def said(database: Database, run: RunRecord) -> dict[str, list[str]]:
    """What the reactions to a run's answers quote, by recipient, in the order of the ledger."""
    found: dict[str, list[str]] = {}
    for recipient, item in rows_of(database, child_of(database, run).id, "recipient", "item"):
        found.setdefault(recipient, []).append(texts([item])[0]["@reaction"]["event"]["text"])
    return found


def test_many_replies_are_handled_in_order(database: Database):
    """Batch by batch; each recipient's reactions are stored in the order of the replies."""
    run = answered_run(database, people=300)
    for turn in range(10):
        store(database, *(reply(number, f"yes {turn}") for number in range(1, 301)))
    assert [handle(database).events for _ in range(7)] == [500] * 6 + [0]
    assert said(database, run) == {phone(number): ALL_TEN for number in range(1, 301)}
    assert counts(database, child_of(database, run).id) == {"total": 3_000, "pending": 3_000}


def test_two_who_handle_at_once_answer_each_event_once_and_in_order(database: Database):
    """Processes may handle at the same time: each batch is one's, whoever comes first."""
    run = answered_run(database, people=150)
    for turn in range(10):
        store(database, *(reply(number, f"yes {turn}") for number in range(1, 151)))

    def handle_all() -> int:
        handled = 0
        while events := attributed(database):
            handled += handle_batch(database, events).events
        return handled

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(lambda _: handle_all(), range(2))) == 1_500
    assert said(database, run) == {phone(number): ALL_TEN for number in range(1, 151)}
    assert counts(database, child_of(database, run).id) == {"total": 1_500, "pending": 1_500}


def test_answer_from_another_address_is_answered_there(database: Database):
    """Who was written to on an earlier step answers by that; the item has gone on since."""
    handler = {"name": "x", "condition": ANY, "action": "send", "template": {"message": "{{ recipient }}"}}
    run = answered_run(database, events=[handler, handler | {"name": "desk", "recipient": "desk"}])
    store(database, reply(1, recipient="+49 30 12345", related_id="m-1"))
    handle(database)
    rows = rows_of(database, child_of(database, run).id, "segment", "recipient")
    assert rows == [("x", "493012345"), ("desk", "desk")]


def test_recipient_that_does_not_render_is_skipped_with_the_reason(database: Database):
    """As in a plan; the event is handled all the same."""
    handler = THANKS | {"recipient": {"value": "{{ item.nothing }}", "type": "phone"}}
    run = answered_run(database, events=[handler])
    store(database, reply(1))
    assert handle(database) == Handled(1, 1)
    child = child_of(database, run)
    assert rows_of(database, child.id, "status", "reason") == [("skipped", "invalid-recipient")]
    assert reactions(database, "status", "error") == [("skipped", "invalid-recipient")]
    assert_counts_add_up(database, child.id)
