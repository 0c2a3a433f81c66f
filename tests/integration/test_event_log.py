"""The log of events: what came back and what runs tell by themselves, filtered, in order, page by page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarion.errors import InputError, RunConflictError
from clarion.ledger.attribution import attribute_batch
from clarion.ledger.attribution_by_hand import attribute_by_hand
from clarion.ledger.database import Database
from clarion.ledger.event_log import EVENT_FIELDS, EVENT_TYPES, EventFilter, read_log
from clarion.ledger.runs import get_run
from tests.integration.ledger_runs import counts, planned_run, skipped
from tests.integration.sent_runs import (
    attributed,
    change_item,
    change_run,
    item_id,
    items_of,
    job_text,
    receipt,
    receive,
    reference,
    reply,
    sent_run,
)

ANN, BOB, EVE = "+447700900001", "+447700900002", "+447700900003"


def log(
    database: Database, *, page_rows: int = 2, newest_first: bool = False, **wanted: Any
) -> list[dict[str, Any]]:
    """All events of a filter, read in small pages."""
    pages = read_log(database, EventFilter(**wanted), newest_first=newest_first, page_rows=page_rows)
    return [row for page in pages for row in page]


def a_run(database: Database) -> int:
    """A run with an item of each fate, and what came back to two of them."""
    run_id = sent_run(database, ANN, BOB, ids=["m1", "m2"])
    change_item(database, item_id(database, run_id, 2), status="failed", reason="refused", error_code="422")
    attributed(database, receipt("delivered", invocation_id="m1"), reply(ANN, "yes"), reply(EVE, "who?"))
    return run_id


def test_run_tells_its_counts_its_items_and_what_came_back(database: Database):
    """In this order; the newest first it is the other way round."""
    run_id = a_run(database)
    uid = get_run(database, run_id).uid
    found = log(database, run=run_id)
    assert [(event["type"], event["value"], event["recipient"]) for event in found] == [
        ("run-items-total", 2, None),
        ("run-items-ready", 2, None),
        ("run-items-excluded", 0, None),
        ("run-item-submitted", None, ANN),
        ("run-item-failed", None, BOB),
        ("action-call-succeeded", None, "447700900001"),
        ("recipient-response", None, "447700900001"),
    ]
    assert log(database, run=run_id, newest_first=True) == found[::-1]
    assert {tuple(event) for event in found} == {EVENT_FIELDS}
    assert {(event["run_id"], event["job"], event["src_type"]) for event in found} == {
        (uid, "renewals", "segmentation")
    }
    items = [reference(database, run_id, number) for number in (1, 2)]
    assert [event["run_item_id"] for event in found[3:]] == [*items, items[0], items[0]]
    assert (found[4]["status"], found[4]["error_code"]) == ("refused", "422")
    assert found[6]["text"] == "yes"
    assert found[6]["attributed_by"] == "recipient"
    assert len({event["id"] for event in found}) == len(found)


def test_skipped_items_are_told_with_their_reason(database: Database):
    """Those who were excluded are counted; an item that waits tells nothing."""
    run_id = planned_run(database, [skipped(1, "excluded"), skipped(2, "duplicate"), skipped(3, "excluded")])
    change_item(database, item_id(database, run_id, 3), status="pending", reason=None)
    found = log(database, run=run_id)
    assert [(event["type"], event["value"] or event["status"]) for event in found] == [
        ("run-items-total", 3), ("run-items-ready", 1), ("run-items-excluded", 1),
        ("run-item-skipped", "excluded"), ("run-item-skipped", "duplicate"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "types"),
    [
        ({}, ["action-call-succeeded", "recipient-response", "recipient-response"]),
        ({"unattributed": True}, ["recipient-response"]),
        ({"recipient": "00447700900001"}, ["action-call-succeeded", "recipient-response"]),
        ({"types": ["recipient-response"]}, ["recipient-response"] * 2),
        ({"types": ["run-item-failed"]}, ["run-item-failed"]),
        ({"types": ["run-item-failed"], "recipient": ANN}, []),
        (
            {"types": EVENT_TYPES, "recipient": "447700900001"},
            ["run-item-submitted", "action-call-succeeded", "recipient-response"],
        ),
        ({"invocation_id": "m1"}, ["action-call-succeeded"]),
        ({"action": "send"}, ["action-call-succeeded", "recipient-response"]),
        ({"action": "other"}, []),
        ({"src_ctx": "all"}, ["action-call-succeeded", "recipient-response"]),
        ({"src_type": "event-handler"}, []),
        ({"src_type": "segmentation"}, ["action-call-succeeded", "recipient-response"]),
        ({"since": datetime(2100, 1, 1, tzinfo=UTC)}, []),
        ({"until": datetime(2100, 1, 1, tzinfo=UTC), "unattributed": True}, ["recipient-response"]),
        ({"types": ["run-items-total"], "since": datetime(2100, 1, 1, tzinfo=UTC)}, []),
    ],
)
def test_filters_narrow_the_log(database: Database, wanted: dict[str, Any], types: list[str]):
    """Each alone; without a run it is what came back, unless a type of the others is asked for."""
    a_run(database)
    assert [event["type"] for event in log(database, **wanted)] == types


def test_events_of_a_run_item_are_all_that_happened_to_it(database: Database):
    """What became of it, and what came back."""
    run_id = a_run(database)
    found = log(database, run=run_id, run_item=item_id(database, run_id))
    assert [event["type"] for event in found] == [
        "run-item-submitted", "action-call-succeeded", "recipient-response",
    ]  # fmt: skip


def test_reactions_belong_to_the_log_of_their_run(database: Database):
    """Their source is a handler: whose name stands where a segment's does."""
    run_id = a_run(database)
    child = sent_run(database, ANN, ids=["r1"], item1={"segment": "thanks", "dedupe_key": "1:thanks"})
    change_run(database, child, parent_id=run_id, kind="reactions")
    attributed(database, receipt("delivered", invocation_id="r1"))
    found = log(database, run=run_id, src_type="event-handler")
    assert [(event["type"], event["src_ctx"]) for event in found if event["src_ctx"]] == [
        ("run-item-submitted", "thanks"), ("action-call-succeeded", "thanks"),
    ]  # fmt: skip


def test_event_is_attributed_by_hand(database: Database):
    """As if a rule had: the receipt counts, the handlers are asked; who said so stays, and once is enough."""
    run_id = sent_run(database, ANN, job=job_text())
    (event,) = attributed(database, receipt("delivered", invocation_id="foreign"))
    assert event.run_id is None
    assert attribute_batch(database, limit=5) == []
    for who in ("ann", "bob"):
        found = attribute_by_hand(database, event.uid[:12], reference(database, run_id), who=who)
        assert (found.attributed_by, found.type, found.run_id) == (
            "hand:ann",
            "action-call-succeeded",
            run_id,
        )
    assert items_of(database, run_id)[0]["delivery"] == "succeeded"
    assert [each.id for each in attribute_batch(database, limit=5)] == [event.id]
    (other,) = (sent_run(database, BOB),)
    with pytest.raises(RunConflictError, match="belongs to another run item"):
        attribute_by_hand(database, event.uid, reference(database, other), who="ann")


def test_receipt_by_hand_settles_an_unknown_item(database: Database):
    """The same as any receipt."""
    run_id = sent_run(database, ANN, status="unknown", reason="no-answer")
    (event,) = attributed(database, receipt("rejected", error_code="1"))
    attribute_by_hand(database, event.uid, reference(database, run_id, call=".0.0"), who="ann")
    assert counts(database, run_id) == {"total": 1, "failed": 1}
    assert get_run(database, run_id).status == "completed"


@pytest.mark.parametrize(
    ("event", "item", "told"),
    [
        ("{event}", "17", "'17' is no id of a run item"),
        ("{event}", "0000000000000000-1", "there is no run item"),
        ("{event}", "{waiting}", "nothing was sent for"),
        ("{event}", "{sending}", "is being sent"),
        ("nosuch", "{item}", "there is no event 'nosuch'"),
        ("", "{item}", "there is no event ''"),
    ],
)
def test_mistake_by_hand_changes_nothing(database: Database, event: str, item: str, told: str):
    """It is told in words, and the event stays as it is."""
    sent, waiting, sending = sent_run(database, ANN), planned_run(database, 1), sent_run(database, BOB)
    change_item(database, item_id(database, sending), status="sending")
    (stored,) = receive(database, receipt("delivered"))
    uid = log(database, unattributed=True)[0]["id"]
    names = {
        "event": uid,
        "item": reference(database, sent),
        "waiting": reference(database, waiting),
        "sending": reference(database, sending),
    }
    with pytest.raises(InputError, match=told):
        attribute_by_hand(database, event.format(**names), item.format(**names), who="ann")
    assert [each["id"] for each in log(database, unattributed=True)] == [uid]
    assert stored


def test_log_is_whole_whatever_the_pages(database: Database):
    """Every event once, in the same order."""
    run_id = a_run(database)
    receive(database, *(reply(EVE, str(number)) for number in range(7)))
    whole = log(database, page_rows=1_000)
    assert len(whole) == 10
    for rows in (1, 3, 10):
        assert log(database, page_rows=rows) == whole
        assert log(database, page_rows=rows, run=run_id) == log(database, page_rows=1_000, run=run_id)
    assert whole[0]["received_at"] - whole[-1]["received_at"] < timedelta(0)
