"""Events that cannot be handled: each by itself, whatever it holds, and nobody else for it."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from clarion import handling
from clarion.handling import Handled, handle_batch
from clarion.ledger import reaction_writer
from clarion.ledger.answer_tables import EVENT, SUPPRESSION
from clarion.ledger.database import Database
from clarion.ledger.managed_lists import NewList, create_list, find_list, get_item
from clarion.ledger.outages import is_outage
from tests.integration.handled_runs import (
    THANKS,
    answered_run,
    attributed,
    child_of,
    phone,
    reactions,
    reply,
    states,
    store,
)
from tests.integration.ledger_runs import assert_counts_add_up, rows_of

ANY = 'event.type == "recipient-response"'
OUT = {"name": "out", "condition": ANY, "unsubscribe": "everything"}
LIST = {"name": "listed", "condition": ANY, "add_to_list": "answers"}
SECRET = "https://hooks.test/SECRET"


def errors_of(database: Database) -> list[str | None]:
    """The `error` of all events, in the order of their coming."""
    with database.read() as connection:
        return list(connection.scalars(sa.select(EVENT.c.error).order_by(EVENT.c.id)))


def make_list(database: Database) -> None:
    """The list that LIST adds to."""
    with database.write() as connection:
        create_list(connection, NewList(name="answers", key="name"), who="t", why="t")


def nested(levels: int) -> dict[str, Any]:
    """JSON that is read, and that is too deep to be written within something else."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"x": value}


def test_event_that_is_too_deep_fails_its_reaction_and_nothing_else(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """It is handled with a reaction that has failed; its other handlers react, and so do other events."""
    deep = THANKS | {"template": {"message": "{{ event.data.keyword | default('') }}"}}
    run = answered_run(database, people=2, events=[deep, OUT])
    store(database, reply(1), reply(2))
    first, second = attributed(database)
    assert handle_batch(database, [replace(first, data=nested(252)), second]) == Handled(2, 4)
    assert states(database) == ["handled", "handled"]
    assert reactions(database, "handler", "status", "error") == [
        ("out", "done", None),
        ("thanks", "failed", "an error (TypeError)"),
        ("out", "done", None),
        ("thanks", "stored", None),
    ]
    child = child_of(database, run)
    assert rows_of(database, child.id, "recipient") == [phone(2)]
    assert_counts_add_up(database, child.id)
    assert "A reaction could not be made: an error (TypeError)" in caplog.text


@pytest.mark.parametrize("poisoned", [{1}, {64}, {7, 8, 40}])
def test_events_that_break_the_batch_are_found_by_halving_it(
    database: Database, poisoned: set[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """They are handled with an error that tells no text; all others are answered, in their order."""
    matching, asked = handling.matching_handlers, []

    def choking(campaign: Any, occurrences: Sequence[Any], **options: Any) -> Any:
        asked.append(len(occurrences))
        if any(each.event["text"] == "poison" for each in occurrences):
            raise ZeroDivisionError(SECRET)
        return matching(campaign, occurrences, **options)

    monkeypatch.setattr(handling, "matching_handlers", choking)
    run = answered_run(database, people=64)
    store(database, *(reply(row, "poison" if row in poisoned else "yes") for row in range(1, 65)))
    assert handle_batch(database, attributed(database)) == Handled(64, 64 - len(poisoned))
    assert set(states(database)) == {"handled"}
    good = [row for row in range(1, 65) if row not in poisoned]
    assert rows_of(database, child_of(database, run).id, "recipient") == [phone(row) for row in good]
    told = "not handled: an error (ZeroDivisionError)"
    assert errors_of(database) == [told if row in poisoned else None for row in range(1, 65)]
    assert len(asked) <= 1 + len(poisoned) * (2 * 6 + 1)  # two halves a level, and once alone
    assert "SECRET" not in caplog.text
    assert caplog.text.count("An event could not be handled") == len(poisoned)


def test_reaction_that_the_database_refuses_fails_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """What else its event asks for is done, once; half of it has left nothing."""
    put = reaction_writer.put_item

    def refusing(connection: Any, name: str, item: Any, **options: Any) -> Any:
        added = put(connection, name, item, **options)
        if item["name"] == "Ann 2":
            raise ValueError(SECRET)
        return added

    monkeypatch.setattr(reaction_writer, "put_item", refusing)
    make_list(database)
    run = answered_run(database, people=3, events=[THANKS, LIST, OUT])
    store(database, *(reply(row) for row in (1, 2, 3)))
    batch = attributed(database)
    assert handle_batch(database, batch) == Handled(3, 9)
    assert handle_batch(database, batch) == Handled(0, 0)
    assert reactions(database, "status", "error") == [
        *[("done", None), ("done", None), ("stored", None)],
        *[("failed", "an error (ValueError)"), ("done", None), ("stored", None)],
        *[("done", None), ("done", None), ("stored", None)],
    ]
    child = child_of(database, run)
    assert rows_of(database, child.id, "recipient") == [phone(1), phone(2), phone(3)]
    assert_counts_add_up(database, child.id)
    with database.read() as connection:
        answers = find_list(connection, "answers")
        found = [get_item(connection, answers, f"Ann {row}") is not None for row in (1, 2, 3)]
        assert found == [True, False, True]
        assert connection.scalar(sa.select(sa.func.count()).select_from(SUPPRESSION)) == 3
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (psycopg.errors.AdminShutdown("gone"), True),
        (psycopg.errors.DeadlockDetected("again"), True),
        (psycopg.errors.ProgramLimitExceeded("index row size 12000 exceeds maximum"), False),
    ],
)
def test_value_beyond_a_limit_is_no_outage(error: psycopg.OperationalError, away: bool):
    """PostgreSQL's driver calls both operational errors; the one would block every event for ever."""
    assert is_outage(OperationalError("INSERT", {}, error)) is away


def test_database_that_is_away_gives_up_no_event(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Nothing is halved for it, and all is handled once it is there again."""
    asked = 0

    def away(*_: object, **__: object) -> Any:
        nonlocal asked
        asked += 1
        raise OperationalError("SELECT 1", {}, OSError("gone"))

    answered_run(database, people=4)
    store(database, *(reply(row) for row in range(1, 5)))
    with monkeypatch.context() as patch:
        patch.setattr(handling, "store_reactions", away)
        with pytest.raises(OperationalError):
            handle_batch(database, attributed(database))
    assert (asked, set(states(database))) == (1, {"received"})
    assert handle_batch(database, attributed(database)) == Handled(4, 4)


def test_subscribers_that_cannot_be_asked_keep_no_event_from_its_handlers(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The event says that nobody was told of it."""

    def choking(*_: object, **__: object) -> int:
        raise ValueError(SECRET)

    monkeypatch.setattr(reaction_writer, "enqueue", choking)
    answered_run(database)
    store(database, reply(1, error="busy"))
    with caplog.at_level(logging.ERROR):
        assert handle_batch(database, attributed(database)) == Handled(1, 1)
    assert reactions(database, "status") == ["stored"]
    assert errors_of(database) == ["busy; not handled: its subscribers: an error (ValueError)"]
    assert "SECRET" not in caplog.text
