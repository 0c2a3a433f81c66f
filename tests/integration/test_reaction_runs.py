"""The run of a run's reactions: when it goes on, what it waits for, and what it leaves out."""

from datetime import UTC, datetime, timedelta

from clarion.handling import Handled
from clarion.ledger.answer_tables import REACTION
from clarion.ledger.answering import due_actions, finish, may_go_on, runs_to_answer
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run
from clarion.ledger.tables import RUN_ITEM
from tests.integration.answered_runs import update_run
from tests.integration.handled_runs import (
    ANY,
    THANKS,
    answered_run,
    built_in,
    child_of,
    handle,
    reactions,
    reply,
    store,
)
from tests.integration.ledger_runs import assert_counts_add_up, claimed, result, rows_of, settled


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
    update_run(database, run.id, status="paused", control="pause")
    store(database, reply(1))
    handle(database)
    child = child_of(database, run)
    assert (runs_to_answer(database), may_go_on(database, child.id)) == ([], False)
    update_run(database, run.id, status="running", control="run")
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
    update_run(database, run.id, status="stopped", control="stop")
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
    update_run(database, run.id, status="stopped", control="stop")
    child = child_of(database, run)
    assert [each.id for each in runs_to_answer(database)] == [child.id]
    assert rows_of(database, child.id, "status", "reason") == [("skipped", "stopped"), ("pending", None)]
    assert_counts_add_up(database, child.id)


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
