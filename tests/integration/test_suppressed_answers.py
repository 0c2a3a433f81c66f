"""Opt-outs of whom only attribution knows: they suppress in the transaction that attributes them."""

from typing import Any

import pytest

from clarion.ledger.attribution import attribute_batch
from clarion.ledger.database import Database, utc_now
from clarion.ledger.events import store_events
from clarion.ledger.suppressions import scopes_of
from clarion.ledger.tables import ATTEMPT
from clarion.optout import suppress_opt_outs
from clarion.receipts import UNDELIVERED
from clarion.receiving.incoming import IncomingEvent
from tests.integration.ledger_runs import assert_counts_add_up, planned, planned_run, rows_of
from tests.integration.sent_runs import SEND, change_item, item_id, job_text, receipt, reply, sent_run

ANN, BOB, MAIL = "+447700900001", "+447700900002", "ann@example.com"


def answered(database: Database, *events: IncomingEvent) -> list[str | None]:
    """Stores events as the receiver does, and attributes them; by which rule."""
    with database.write() as connection:
        store_events(connection, "vonage/main", events)
        suppress_opt_outs(connection, "vonage/main", events)
    return [event.attributed_by for event in attribute_batch(database, limit=100)]


def reasons(database: Database, *recipients: str) -> dict[str, str]:
    """Why those of the recipients are suppressed who are."""
    with database.read() as connection:
        found = scopes_of(connection, recipients)
    return {recipient: scopes[""].partition(" (")[0] for recipient, scopes in found.items()}


def test_refusal_that_names_only_its_call_suppresses(database: Database):
    """What waits for the same person elsewhere is given up in the same transaction."""
    run_id = sent_run(database, ANN, BOB, ids=["m1", "m2"])
    waiting = planned_run(database, [planned(1, recipient=ANN), planned(2, recipient=BOB)], job_name="other")
    refused = receipt("rejected", invocation_id="m1", error_code="1240")
    other = receipt("rejected", invocation_id="m2", error_code="1250")
    assert answered(database, refused, other) == ["invocation-id"] * 2
    assert reasons(database, ANN, BOB) == {ANN: "refused with 1240"}
    assert rows_of(database, waiting, "status", "reason") == [("skipped", "suppressed"), ("pending", None)]
    assert_counts_add_up(database, run_id)
    assert_counts_add_up(database, waiting)


@pytest.mark.parametrize(("said", "suppressed"), [("1240", {ANN}), ("STOP", {ANN, MAIL})])
def test_item_that_has_gone_on_to_another_address(database: Database, said: str, suppressed: set[str]):
    """A network refuses one number, and says nothing of other addresses; a person who says STOP does."""
    run_id = sent_run(database, ANN, ids=["m1"])
    item = item_id(database, run_id)
    change_item(database, item, recipient=MAIL, action="mail", step=1, invocation_id="m2")
    with database.write() as connection:
        connection.execute(ATTEMPT.insert().values(
            run_id=run_id, run_item_id=item, step=0, action="send", recipient=ANN, idempotency_key="k",
            invocation_id="m1", outcome=UNDELIVERED, attempted_at=utc_now(),
        ))  # fmt: skip
    refused = receipt("rejected", invocation_id="m1", error_code="1240")
    event = refused if said == "1240" else reply("447700900001", said, related_id="m1")
    answered(database, event)
    assert set(reasons(database, ANN, MAIL)) == suppressed


def test_code_that_only_the_action_can_read_suppresses(database: Database):
    """From the answer of a provider that no module knows."""
    response = {"status": {"success_statuses": ["ok"]}, "error": {"code": "{{ event.why }}"}}
    sent_run(database, ANN, ids=["m1"], job=job_text(send={"response": SEND["response"] | response}))
    event = receipt("rejected", recipient="447700900001", invocation_id="m1", data={"why": 21610})
    assert answered(database, event) == ["invocation-id"]
    assert reasons(database, ANN) == {ANN: "refused with 21610"}


@pytest.mark.parametrize("spelled", ["07700900001", "C-17"])
def test_stop_that_quotes_a_message_suppresses_the_recipient_of_its_item(database: Database, spelled: str):
    """However the list spells them; START takes both back."""
    sent_run(database, spelled, BOB, ids=["m1", "m2"])
    waiting = planned_run(database, [planned(1, recipient=spelled)], job_name="other")
    assert answered(database, reply("447700900001", "STOP", related_id="m1")) == ["quoted-message"]
    assert reasons(database, ANN, BOB, spelled) == {ANN: "opt-out word", spelled: "opt-out word"}
    assert rows_of(database, waiting, "status", "reason") == [("skipped", "suppressed")]
    assert_counts_add_up(database, waiting)
    answered(database, reply("447700900001", "START", related_id="m1"))
    assert reasons(database, ANN, spelled) == {}


def test_stop_and_start_in_one_batch_leave_nobody_suppressed(database: Database):
    """By the time of the attribution the START has been heard: the STOP does not count again."""
    sent_run(database, ANN)
    sent_run(database, "C-17", ids=["m2"])
    stop, start = reply("447700900001", "STOP"), reply("447700900001", "START")
    quoting = [reply("447700900002", text, related_id="m2") for text in ("STOP", "START")]
    assert answered(database, stop, start, *quoting) == ["recipient"] * 2 + ["quoted-message"] * 2
    assert reasons(database, ANN, BOB, "C-17") == {}


@pytest.mark.parametrize("text", ["yes", "Don't stop", None])
def test_other_answers_suppress_nobody(database: Database, text: Any):
    """However surely they are the person's."""
    sent_run(database, "C-17", ids=["m1"])
    assert answered(database, reply("447700900001", text, related_id="m1")) == ["quoted-message"]
    assert reasons(database, ANN, "C-17") == {}


def test_made_up_answers_to_a_rehearsal_suppress_nobody(database: Database):
    """By the item: whom the event names itself, the receiver has suppressed."""
    sent_run(database, ANN, "C-17", ids=["m1", "m2"], against="http://127.0.0.1:1")
    refused = receipt("rejected", invocation_id="m1", error_code="1240")
    answered(database, refused, reply("447700900002", "STOP", related_id="m2"))
    assert reasons(database, ANN, "C-17") == {}
