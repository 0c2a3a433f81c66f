"""Reactions without an action: those of the ledger, and those that happen outside it."""

from datetime import UTC, datetime

import sqlalchemy as sa

from clarion.handling import Handled
from clarion.ledger.answer_tables import REACTION, SUPPRESSION, WEBHOOK_DELIVERY
from clarion.ledger.answering import MOST_TRIES, claim_outside, settle_outside
from clarion.ledger.database import Database
from clarion.ledger.managed_lists import NewList, create_list, find_list, get_item
from tests.integration.answered_runs import update_run
from tests.integration.handled_runs import (
    THANKS,
    answered_run,
    built_in,
    child_of,
    handle,
    phone,
    reactions,
    reply,
    store,
)


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
    update_run(database, run.id, against="http://127.0.0.1:1", kind="rehearsal")
    store(database, reply(1))
    handle(database)
    assert reactions(database, "handler", "status", "error") == [
        ("out", "skipped", "rehearsal"),
        ("thanks", "stored", None),
    ]
    assert child_of(database, run).against == "http://127.0.0.1:1"
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(SUPPRESSION)) == 0


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
