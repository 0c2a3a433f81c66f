"""Opt-outs in the transaction that stores them: words, refusals, and the way back."""

from typing import Any

import pytest

from clarion.errors import SettingError
from clarion.ledger.database import Database
from clarion.ledger.events import store_each
from clarion.ledger.suppression_log import history_of
from clarion.ledger.suppressions import scopes_of, suppress
from clarion.optout import suppress_opt_outs
from clarion.receiving.incoming import IncomingEvent
from tests.integration.ledger_runs import assert_counts_add_up, planned, planned_run, rows_of

ANN, BOB = "+447700900001", "+447700900002"


def reply(
    text: str | None, *, recipient: str | None = "447700900001", number: int = 1, **changes: Any
) -> IncomingEvent:
    """What somebody answered."""
    fields = {
        "type": "recipient-response",
        "provider_event_id": f"e{number}",
        "recipient": recipient,
        "text": text,
    }
    return IncomingEvent(**(fields | changes))


def receive(database: Database, *events: IncomingEvent) -> None:
    """Stores events as the receiver does: what is new suppresses, in the same transaction."""
    with database.write() as connection:
        numbers = store_each(connection, "vonage/main", events)
        new = [event for event, number in zip(events, numbers, strict=True) if number is not None]
        suppress_opt_outs(connection, "vonage/main", new)


def reasons(database: Database, recipient: str = ANN) -> dict[str, str]:
    """Why somebody is suppressed, by scope."""
    with database.read() as connection:
        return scopes_of(connection, [recipient]).get(recipient, {})


def test_opt_out_word_suppresses_from_everything(database: Database):
    """The reason names the event, not the word; what waits in a run is given up in the same transaction."""
    run_id = planned_run(database, [planned(1, recipient=ANN), planned(2, recipient=BOB)])
    receive(database, reply("hello"), reply("Stop!", number=2), reply("yes", recipient=BOB, number=3))
    assert rows_of(database, run_id, "status", "reason") == [("skipped", "suppressed"), ("pending", None)]
    assert_counts_add_up(database, run_id)
    ((scope, reason),) = reasons(database).items()
    assert scope == ""
    assert reason.startswith("opt-out word (event ")
    assert reasons(database, BOB) == {}
    with database.read() as connection:
        (row,) = history_of(connection, ANN)
    assert (row["who"], row["change"], row["reason"]) == ("endpoint vonage/main", "add", reason)


@pytest.mark.parametrize("code", ["1240", "21610"])
def test_refusal_in_a_receipt_suppresses(database: Database, code: str):
    """Whoever has told their network is as suppressed as whoever has told us."""
    receipt = reply(None, type="action-call-info", status="rejected", error_code=code)
    other = reply(None, type="action-call-info", error_code="1250", recipient=BOB, number=2)
    receive(database, receipt, other)
    assert list(reasons(database)) == [""]
    assert reasons(database, BOB) == {}


def test_words_count_in_answers_alone(database: Database):
    """A click on a link that is named so, a call without a recipient: nobody has said anything."""
    receive(
        database, reply("STOP", type="click"), reply("STOP", recipient=None, number=2), reply(None, number=3)
    )
    assert reasons(database) == {}


def test_opt_in_word_takes_back_what_a_word_did(database: Database):
    """In one delivery or in two; a later STOP counts again."""
    receive(database, reply("STOP"), reply("start", number=2))
    assert reasons(database) == {}
    receive(database, reply("STOP", number=3))
    assert reasons(database)
    receive(database, reply("Unstop", number=4), reply("stop", number=5))
    assert reasons(database)
    receive(database, reply("START", number=6))
    with database.read() as connection:
        changes = [row["change"] for row in history_of(connection, ANN)]
    assert changes == ["remove", "add", "remove", "add", "remove", "add"]


def test_opt_in_word_takes_back_nothing_else(database: Database):
    """Not what a person, a page or a refusal did."""
    with database.write() as connection:
        suppress(connection, ANN, reason="asked us", who="me")
        suppress(connection, ANN, scope="channel:sms", reason="unsubscribe page (event u)", who="page")
    receive(database, reply("START"))
    assert set(reasons(database)) == {"", "channel:sms"}
    receive(database, reply("STOP", number=2), reply("START", number=3))
    assert set(reasons(database)) == {"", "channel:sms"}


@pytest.mark.parametrize("first", ["word", "person"])
def test_reason_of_a_person_outlasts_an_opt_in_word(database: Database, first: str):
    """Whichever came first; who gave it, and when, is written down."""
    if first == "word":
        receive(database, reply("STOP"))
    with database.write() as connection:
        made = suppress(connection, "+44 7700 900001", reason="legal complaint", who="operator")
        again = suppress(connection, ANN, reason="another complaint", who="other")
    assert (made.added, again.added) == (first == "person", 0)
    if first == "person":
        receive(database, reply("STOP"))
    receive(database, reply("START", number=2))
    assert reasons(database) == {"": "legal complaint"}
    with database.read() as connection:
        newest, *_ = history_of(connection, ANN)
    assert (newest["change"], newest["reason"], newest["who"]) == ("add", "legal complaint", "operator")


def test_handler_of_the_same_event_does_not_take_an_opt_out_word_over(database: Database):
    """It is one wish, told once: START takes it back. A handler of another event is another wish."""
    receive(database, reply("STOP"))
    ((_, reason),) = reasons(database).items()
    with database.write() as connection:
        suppress(connection, ANN, reason=reason.replace("opt-out word", "handler stops"), who="job a")
    assert reasons(database) == {"": reason}
    with database.write() as connection:
        suppress(connection, ANN, reason="handler stops (event other)", who="job a")
    receive(database, reply("START", number=2))
    assert reasons(database) == {"": "handler stops (event other)"}


def test_redelivered_stop_suppresses_nobody_anew(database: Database):
    """Whom a person has taken off the list in between stays off it."""
    receive(database, reply("STOP"), reply("START", number=2))
    receive(database, reply("STOP"))
    assert reasons(database) == {}


def test_words_are_those_of_the_setting(database: Database, monkeypatch: pytest.MonkeyPatch):
    """And a setting that is none is told, before anything is stored."""
    monkeypatch.setenv("CLARION_OPT_OUT_WORDS", "BASTA")
    receive(database, reply("STOP"))
    assert reasons(database) == {}
    receive(database, reply("basta", number=2))
    assert reasons(database)
    monkeypatch.setenv("CLARION_OPT_OUT_WORDS", "")
    with pytest.raises(SettingError):
        receive(database, reply("x", number=3))
