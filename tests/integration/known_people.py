"""A ledger that knows a person in every corner, as the tests of forgetting need it."""

from typing import Any

import orjson

from clarion.ledger.database import Database
from clarion.ledger.managed_lists import NewList, create_list, put_item
from clarion.ledger.runs import REACTIONS
from clarion.ledger.suppressions import suppress
from clarion.ledger.tables import ATTEMPT, FALLBACK_RECIPIENT, RATE_LIMIT
from tests.integration.answered_runs import add_event, add_reaction_item, update_items, update_run
from tests.integration.ledger_runs import claimed, new_run, planned, planned_run, result, settled

PHONE = "+447700900123"
DIGITS = "447700900123"
OTHER = "+447700900999"
WHO = "ann@office"


def fill(database: Database, spelling: str, spellings: list[str]) -> int:
    """A ledger with a person in every corner of it, beside another person; the run of both."""
    theirs = _json({"phone": spelling, "name": "Ann", "id": "c7", "more": {"mobile": spellings[0]}})
    run_id, first, second = _sent_run(database, spelling, theirs)
    _add_beside_items(database, spelling, run_id=run_id, item_id=first)
    _add_to_lists(database, spelling, spellings[1])
    click = _add_answers(database, spelling, run_id=run_id, first=first, second=second)
    child = new_run(database, kind=REACTIONS, parent_id=run_id).id
    add_reaction_item(
        database, child, event_id=click, recipient=spelling, dedupe_key="4:thanks", item=theirs,
        invocation_id="m3",
    )  # fmt: skip
    return run_id


def _sent_run(database: Database, spelling: str, theirs: str) -> tuple[int, int, int]:
    """A run whose message to the person failed; its key, and those of their item and of the other's."""
    written_out = [{"n": 1, "phone": spelling, "name": "Ann"}, {"n": 2, "phone": OTHER, "name": "Bob"}]
    job = {"name": "renewals", "recipients": {"include": [{"items": written_out}, {"list": "vips"}]}}
    items = [
        planned(1, recipient=spelling, item=theirs, fallback=_json([["+1", None, None]])),
        planned(2, recipient=OTHER, item=_json({"phone": OTHER, "friend": spelling})),
        planned(3, recipient=None, dedupe_key=None, status="skipped", reason="duplicate", item=theirs),
    ]
    run_id = planned_run(database, items, job=_json(job))
    first, second = claimed(database, run_id, "t")
    refused = {"reason": "refused", "error": f"no such number {spelling}"}
    settled(
        database, run_id, "t",
        result(first, "failed", invocation_id="m1", latency_ms=1.0, **refused),
        result(second, "succeeded", invocation_id="m2", latency_ms=1.0),
    )  # fmt: skip
    update_items(database, [first.id], delivery="failed", delivery_reason=f"{spelling} is off")
    update_run(database, run_id, status="completed", reason=f"because of {spelling}")
    return run_id, first.id, second.id


def _add_beside_items(database: Database, spelling: str, *, run_id: int, item_id: int) -> None:
    """A call before the last, a step that may follow, and a limit of the person's own."""
    call = {
        "run_id": run_id, "run_item_id": item_id, "step": 0, "action": "send", "recipient": spelling,
        "idempotency_key": "k.0.0", "outcome": "retry", "error": f"no such number {spelling}",
    }  # fmt: skip
    step = {"run_id": run_id, "dedupe_key": spelling, "run_item_id": item_id}
    limit = {"key": f"sms\x1fto\x1f{spelling}", "next_at": 0, "held_until": 0}
    with database.write() as connection:
        for table, row in ((ATTEMPT, call), (FALLBACK_RECIPIENT, step), (RATE_LIMIT, limit)):
            connection.execute(table.insert().values(row))


def _add_to_lists(database: Database, spelling: str, other_spelling: str) -> None:
    """On a managed list twice, and in the note of another entry; suppressed on one channel."""
    entries = (
        ({"id": "c7", "phone": "07700 900123"}, f"asked by {spelling}"),
        ({"id": "c8", "phone": other_spelling}, "test"),
        ({"id": "c9", "phone": OTHER, "note": f"see {spelling}"}, "test"),
    )
    with database.write() as connection:
        create_list(connection, NewList(name="vips", key="id"), who=WHO, why="test")
        for entry, why in entries:
            put_item(connection, "vips", entry, who=WHO, why=why)
        suppress(connection, spelling, scope="channel:sms", reason=f"{spelling} rang us", who=WHO)


def _add_answers(database: Database, spelling: str, *, run_id: int, first: int, second: int) -> int:
    """What came back from the person, and what somebody else said of them; the key of their click."""
    theirs = {"run_id": run_id, "run_item_id": first, "recipient": DIGITS}
    others = {"run_id": run_id, "run_item_id": second, "recipient": OTHER.removeprefix("+")}
    add_event(
        database, "recipient-response", **theirs, text=f"I am {spelling}", invocation_id="m1",
        provider_event_id=f"in:{DIGITS}",
    )  # fmt: skip
    add_event(database, "unknown", recipient=DIGITS, text="hello", error=f"no such number {spelling}")
    add_event(database, "recipient-response", **others, text=f"ask {spelling}")
    return add_event(database, "click", **theirs, name="offer")


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
