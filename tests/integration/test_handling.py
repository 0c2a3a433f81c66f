"""Handling events: reactions stored once, with the events as handled."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from clarion.handling import Handled, handle_batch
from clarion.ledger.answer_tables import EVENT, REACTION, SUPPRESSION, WEBHOOK_DELIVERY
from clarion.ledger.answering import (
    MOST_TRIES,
    claim_outside,
    due_actions,
    finish,
    may_go_on,
    runs_to_answer,
    settle_outside,
)
from clarion.ledger.database import Database
from clarion.ledger.managed_lists import NewList, create_list, find_list, get_item
from clarion.ledger.runs import get_run
from clarion.ledger.tables import RUN, RUN_ITEM
from tests.integration.handled_runs import (
    THANKS,
    answered_run,
    attributed,
    child_of,
    phone,
    reactions,
    receipt,
    reply,
    states,
    store,
    texts,
)
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    claimed,
    counts,
    result,
    rows_of,
    settled,
)

ANY = 'event.type == "recipient-response"'


def handle(database: Database, **options: Any) -> Handled:
    """Attributes and handles what is received."""
    return handle_batch(database, attributed(database), **options)


def built_in(name: str, **reaction: Any) -> dict[str, Any]:
    """A handler of every reply."""
    return {"name": name, "condition": ANY, **reaction}


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
    _set(database, run.id, end_at=datetime(2026, 1, 1, tzinfo=UTC))
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


def test_handler_reacts_to_one_person_ten_times_an_hour(database: Database):
    """Two machines that answer each other stop; others are answered, lists changed, and so it is later."""
    tell = built_in("tell", notify={"block": "slack-webhook/desk", "body": "{{ event.text }}"})
    run = answered_run(database, people=2, events=[THANKS, tell, built_in("out", unsubscribe="everything")])
    store(database, *(reply(1, f"yes {number}") for number in range(7)))
    handle(database)
    store(database, *(reply(1, f"yes {number}") for number in range(7, 13)), reply(2))
    assert handle(database) == Handled(7, 21)
    expected = [("out", "done", None), ("tell", "pending", None), ("thanks", "stored", None)]
    over = [("out", "done", None), ("tell", "skipped", "too_often"), ("thanks", "skipped", "too_often")]
    assert reactions(database, "handler", "status", "error") == expected * 10 + over * 3 + expected
    child = child_of(database, run)
    assert rows_of(database, child.id, "status", "reason")[9:] == [
        ("pending", None),
        *[("skipped", "too_often")] * 3,
        ("pending", None),
    ]
    assert_counts_add_up(database, child.id)
    with database.write() as connection:
        long_ago = datetime(2026, 1, 1, tzinfo=UTC)
        connection.execute(REACTION.update().values(created_at=long_ago))
    store(database, reply(1, "yes, later"))
    handle(database)
    assert reactions(database, "handler", "status", "error")[-3:] == expected


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


def test_reactions_run_ends_and_goes_on(database: Database):
    """Its status follows what is left of it; a pause of it stays."""
    run = answered_run(database, people=3)
    store(database, reply(1))
    handle(database)
    child = child_of(database, run)
    assert not finish(database, child.id)
    items = claimed(database, child.id, "token")
    settled(database, child.id, "token", *(result(item, "succeeded") for item in items))
    assert finish(database, child.id)
    assert get_run(database, child.id).status == "completed"
    assert runs_to_answer(database) == []
    store(database, reply(2))
    handle(database)
    now = get_run(database, child.id)
    assert (now.status, now.ended_at, now.counts["total"]) == ("running", None, 2)
    assert [each.id for each in runs_to_answer(database)] == [child.id]


def test_paused_run_keeps_its_reactions_until_it_goes_on(database: Database):
    """The answers are handled at once, their reactions wait."""
    run = answered_run(database)
    _set(database, run.id, status="paused", control="pause")
    store(database, reply(1))
    handle(database)
    child = child_of(database, run)
    assert (runs_to_answer(database), may_go_on(database, child.id)) == ([], False)
    _set(database, run.id, status="running", control="run")
    assert [each.id for each in runs_to_answer(database)] == [child.id]
    assert may_go_on(database, child.id)


def test_stopped_run_answers_nothing_but_an_opt_out(database: Database):
    """What the ledger does itself is done all the same; the one confirmation goes out."""
    handlers = [
        built_in("out", unsubscribe="job") | {"condition": 'event.text == "enough"'},
        THANKS | {"condition": ANY},
        THANKS | {"name": "again", "condition": ANY},
    ]
    run = answered_run(database, people=2, events=handlers)
    _set(database, run.id, status="stopped", control="stop")
    store(database, reply(1, "yes"), reply(2, "enough"))
    handle(database)
    child = child_of(database, run)
    assert rows_of(database, child.id, "segment", "status", "reason") == [
        ("thanks", "skipped", "stopped"),
        ("again", "skipped", "stopped"),
        ("thanks", "pending", None),
        ("again", "skipped", "stopped"),
    ]
    assert_counts_add_up(database, child.id)


def test_run_that_is_stopped_drops_the_reactions_that_wait(database: Database):
    """Only confirmations of an opt-out still go out."""
    handlers = [
        built_in("out", unsubscribe="job") | {"condition": 'event.text == "enough"'},
        THANKS | {"condition": ANY},
    ]
    run = answered_run(database, people=2, events=handlers)
    store(database, reply(1, "yes"), reply(2, "enough"))
    handle(database)
    _set(database, run.id, status="stopped", control="stop")
    child = child_of(database, run)
    assert [each.id for each in runs_to_answer(database)] == [child.id]
    assert rows_of(database, child.id, "status", "reason") == [("skipped", "stopped"), ("pending", None)]
    assert_counts_add_up(database, child.id)


def test_built_in_reactions_of_the_ledger_are_done_with_the_event(database: Database):
    """A suppression, and changes of managed lists, in the order of the handlers."""
    handlers = [
        built_in("keep", add_to_list="answers"),
        built_in("mark", set_attribute={"list": "answers", "attributes": {"said": "{{ event.text }}"}}),
        built_in("drop", remove_from_list={"list": "leads", "key": "{{ item.id }}"}),
        built_in("out", unsubscribe="channel"),
    ]
    answered_run(database, events=handlers)
    with database.write() as connection:
        for name in ("answers", "leads"):
            create_list(connection, NewList(name=name, key="id"), who="test", why="test")
    store(database, reply(1, "hm"))
    assert handle(database) == Handled(1, 4)
    assert dict(reactions(database, "handler", "status")) == dict.fromkeys(
        ("keep", "mark", "drop", "out"), "done"
    )
    with database.read() as connection:
        kept = get_item(connection, find_list(connection, "answers"), "1")
        suppressed = connection.execute(sa.select(SUPPRESSION.c.address, SUPPRESSION.c.scope)).all()
    assert kept == {"id": 1, "name": "Ann 1", "phone": phone(1), "said": "hm"}
    assert [tuple(row) for row in suppressed] == [(phone(1).removeprefix("+"), "channel:sms")]


def test_built_in_reaction_that_cannot_be_done_says_why_and_holds_up_nothing(database: Database):
    """A list that is no more, and an item that is not on it."""
    handlers = [
        built_in("gone", add_to_list="nowhere"),
        built_in("absent", set_attribute={"list": "leads", "attributes": {"a": 1}}),
        THANKS,
    ]
    answered_run(database, events=handlers)
    with database.write() as connection:
        create_list(connection, NewList(name="leads", key="id"), who="test", why="test")
    store(database, reply(1))
    assert handle(database) == Handled(1, 3)
    assert reactions(database, "handler", "status", "error") == [
        ("absent", "failed", "the item is not on the list 'leads'"),
        (
            "gone",
            "failed",
            "list: there is no managed list 'nowhere'; expected one of leads",
        ),
        ("thanks", "stored", None),
    ]


def test_rehearsal_changes_no_list_and_unsubscribes_nobody(database: Database):
    """Its answers are made up; what its actions send goes where the rehearsal goes."""
    run = answered_run(database, events=[THANKS, built_in("out", unsubscribe="everything")])
    _set(database, run.id, against="http://127.0.0.1:1", kind="rehearsal")
    store(database, reply(1))
    handle(database)
    assert reactions(database, "handler", "status", "error") == [
        ("out", "skipped", "rehearsal"),
        ("thanks", "stored", None),
    ]
    assert child_of(database, run).against == "http://127.0.0.1:1"
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(SUPPRESSION)) == 0


def test_ten_thousand_replies_are_handled_in_order(database: Database):
    """Batch by batch; each recipient's reactions are stored in the order of the replies."""
    run = answered_run(database, people=1_000)
    for turn in range(10):
        store(database, *(reply(number, f"yes {turn}") for number in range(1, 1_001)))
    handled = 0
    for _ in range(20):
        handled += handle_batch(database, attributed(database)).events
    assert handled == 10_000
    child = child_of(database, run)
    rows = rows_of(database, child.id, "recipient", "item")
    said: dict[str, list[str]] = {}
    for recipient, item in rows:
        said.setdefault(recipient, []).append(texts([item])[0]["@reaction"]["event"]["text"])
    assert len(said) == 1_000
    assert set(map(tuple, said.values())) == {tuple(f"yes {turn}" for turn in range(10))}
    assert counts(database, child.id) == {"total": 10_000, "pending": 10_000}


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
    child = child_of(database, run)
    said: dict[str, list[str]] = {}
    for recipient, item in rows_of(database, child.id, "recipient", "item"):
        said.setdefault(recipient, []).append(texts([item])[0]["@reaction"]["event"]["text"])
    assert set(map(tuple, said.values())) == {tuple(f"yes {turn}" for turn in range(10))}
    assert counts(database, child.id) == {"total": 1_500, "pending": 1_500}


def test_handler_that_respects_windows_waits_for_them(database: Database):
    """It is held until they open, in its recipient's zone; the others leave at once, and stay so."""
    night = [{"start": "00:00", "end": "00:01", "days": ["mon"]}]
    run = answered_run(
        database,
        windows=night,
        fallback_timezone="Europe/London",
        events=[THANKS, THANKS | {"name": "later", "windows": "respect"}],
    )
    store(database, reply(1))
    handle(database, now=datetime(2026, 3, 4, 12, tzinfo=UTC))
    child = child_of(database, run)
    assert rows_of(database, child.id, "segment", "due_at", "timezone") == [
        ("thanks", None, None),
        ("later", datetime(2026, 3, 9, tzinfo=UTC), "Europe/London"),
    ]


def test_what_is_due_later_keeps_nobody_at_work(database: Database):
    """Only what is due, or soon, is looked for; the rest waits for whoever comes then."""
    run = answered_run(database)
    store(database, reply(1))
    handle(database)
    child = child_of(database, run)
    with database.write() as connection:
        later = datetime.now(UTC) + timedelta(hours=1)
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.run_id == child.id).values(due_at=later))
    assert runs_to_answer(database) == []
    assert 3_590 < due_actions(database, child.id)["send"] <= 3_600
    assert not finish(database, child.id)


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


def test_event_is_queued_for_the_subscriber_that_a_handler_names(database: Database):
    """Whatever types the subscriber asked for."""
    subscriber = {
        "name": "crm",
        "url": "https://crm.test/events",
        "secret": "webhook-secret/crm",
        "events": ["conversion"],
    }
    answered_run(database, webhooks=[subscriber], events=[built_in("tell", emit="crm")])
    (event,) = store(database, reply(1))
    handle(database)
    with database.read() as connection:
        queued = connection.execute(
            sa.select(WEBHOOK_DELIVERY.c.event_id, WEBHOOK_DELIVERY.c.subscriber)
        ).all()
    assert [tuple(row) for row in queued] == [(event, "greetings/crm")]


def test_outside_reaction_is_tried_again_until_it_is_done_or_given_up(database: Database):
    """One process at a time; who dies with it is followed by another; after five tries it has failed."""
    notify = {"block": "slack-webhook/desk", "body": "{{ event.text }}"}
    answered_run(database, events=[built_in("tell", notify=notify)])
    store(database, reply(1))
    handle(database)
    for tries in range(1, MOST_TRIES + 1):
        (reaction,) = claim_outside(database, most=9)
        assert (reaction.kind, reaction.attempts) == ("notify", tries)
        assert claim_outside(database, most=9) == []
        if tries == 1:  # nobody says what became of it
            _make_due(database)
            continue
        status = settle_outside(database, reaction, error="away", final=False)
        assert status == ("failed" if tries == MOST_TRIES else "pending")
        assert claim_outside(database, most=9) == []
        _make_due(database)
    assert claim_outside(database, most=9) == []
    assert reactions(database, "status", "attempts", "error") == [("failed", 5, "away")]


def test_late_word_on_an_outside_reaction_that_another_has_taken_up_is_not_heard(database: Database):
    """Its lease ran out: the other's word counts."""
    notify = {"block": "slack-webhook/desk", "body": "{{ event.text }}"}
    answered_run(database, events=[built_in("tell", notify=notify)])
    store(database, reply(1))
    handle(database)
    (first,) = claim_outside(database, most=9)
    _make_due(database)
    (second,) = claim_outside(database, most=9)
    settle_outside(database, first, error="away", final=True)
    assert reactions(database, "status") == ["pending"]
    settle_outside(database, second, error=None, final=True)
    assert reactions(database, "status") == ["done"]


def _make_due(database: Database) -> None:
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    with database.write() as connection:
        connection.execute(REACTION.update().where(REACTION.c.status == "pending").values(due_at=long_ago))


def _set(database: Database, run_id: int, **values: Any) -> None:
    with database.write() as connection:
        connection.execute(RUN.update().where(RUN.c.id == run_id).values(**values))
