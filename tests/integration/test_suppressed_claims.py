"""Suppression where messages leave: claims, fallback steps, confirmations, refusals, unfinished plans."""

import asyncio
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from clarion.ledger.answer_tables import EVENT
from clarion.ledger.claims import ClaimedItem, Settlement, claim
from clarion.ledger.database import Database
from clarion.ledger.limits import take_permits
from clarion.ledger.named_limits import NamedLimit
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import count_changes, get_run
from clarion.ledger.suppressed_claims import without_suppressed
from clarion.ledger.suppressed_items import Changes, count_moves
from clarion.ledger.suppressions import scopes_of, suppress
from clarion.ledger.tables import RUN, RUN_ITEM
from clarion.sending.writer import Claimed, LedgerWriter, Limit
from clarion.suppression import of_event
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    attempts_of,
    claimed,
    counts,
    new_run,
    planned,
    planned_run,
    result,
    rows_of,
    settled,
    whole,
)
from tests.integration.ledger_writers import FREE, settled_by, with_writer
from tests.integration.test_ledger_fallback import RECORD, refused

ANN = "+447700900001"
ODD = "(0044) 7700-900.001"
"""Ann again, as no plan of phone numbers would spell it: nothing finds her items but a claim."""

JOB = orjson.dumps({"actions": {"send": {"channel": "sms"}, "mail": {"channel": "email"}}}).decode()


def add(database: Database, recipient: str, **changes: Any) -> None:
    """Suppresses somebody."""
    with database.write() as connection:
        suppress(connection, recipient, **({"reason": "why", "who": "me"} | changes))


def claim_by_writer(database: Database, run_id: int, *, limit: Limit = FREE, most: int = 10) -> Claimed:
    """A claim as the sender makes it."""

    async def use(writer: LedgerWriter) -> Claimed:
        return await writer.claim(run_id, whole(), token="t", most=most, limit=limit)

    return with_writer(database, use)


def recipients(items: Any) -> list[str]:
    """Whom claimed items are for."""
    return [item.recipient for item in items]


def test_nobody_who_is_suppressed_is_claimed(database: Database):
    """However the item spells them; the others are claimed, and everything is counted."""
    people = ("r1", ODD, "r3", ANN)
    run_id = planned_run(database, [planned(row, recipient=each) for row, each in enumerate(people, 1)])
    add(database, ANN)
    assert rows_of(database, run_id, "status") == ["pending", "pending", "pending", "skipped"]
    assert recipients(claim_by_writer(database, run_id).items) == ["r1", "r3"]
    assert rows_of(database, run_id, "status", "reason", "claim_token", "claimed_at")[1] == (
        "skipped", "suppressed", None, None,
    )  # fmt: skip
    assert counts(database, run_id) == {"total": 4, "sending": 2, "skipped": 2}
    assert_counts_add_up(database, run_id)


def test_claim_goes_by_channel_and_job(database: Database):
    """The channel of the item's action, and the name of its run's job."""
    run_id = planned_run(database, [planned(1, recipient=ODD)], job=JOB)
    for scope in ("channel:email", "job:others"):
        add(database, ANN, scope=scope)
    (item,) = claim_by_writer(database, run_id).items
    settled(database, run_id, "t", result(item, "pending", attempts=0))
    add(database, ANN, scope="channel:sms")
    assert claim_by_writer(database, run_id).items == []
    assert rows_of(database, run_id, "status", "reason") == [("skipped", "suppressed")]


@pytest.mark.parametrize(
    ("again", "status"),
    [({"attempts": 0}, "skipped"), ({}, "failed"), ({"in_doubt": True, "outcome": "unknown"}, "unknown")],
)
def test_retry_of_who_is_suppressed_meanwhile_is_not_claimed(
    database: Database, again: dict[str, Any], status: str
):
    """Released unsent, tried before, or never answered: it is called what it is."""
    run_id = planned_run(database, [planned(1, recipient=ANN)])
    (item,) = claim_by_writer(database, run_id).items
    add(database, ANN)
    settled(database, run_id, "t", result(item, "pending", **again))
    assert claim_by_writer(database, run_id).items == []
    assert rows_of(database, run_id, "status", "reason") == [(status, "suppressed")]
    assert_counts_add_up(database, run_id)


def test_permits_of_who_is_suppressed_go_back(database: Database):
    """The line of the limit is as long as the messages that leave."""
    run_id = planned_run(database, [planned(1, recipient=ODD), *(planned(row) for row in range(2, 5))])
    add(database, ANN)
    limit = Limit(key="slow", tps=100.0)
    claimed_items = claim_by_writer(database, run_id, limit=limit, most=3)
    assert recipients(claimed_items.items) == ["r2", "r3"]
    assert claimed_items.wait_seconds == 0
    leave_at = [permit.leave_at for permit in claimed_items.permits]
    interval = leave_at[1] - leave_at[0]
    with database.write() as connection:
        state = take_permits(connection, key="slow", tps=100.0, most=1)
    third = state.read_at + state.delays[0]
    # The clocks of database and process are read one after the other: some milliseconds between them.
    assert third - leave_at[0] < 2.9 * interval + 0.05
    assert counts(database, run_id) == {"total": 4, "pending": 1, "sending": 2, "skipped": 1}


def test_named_limits_keep_each_permit_with_its_item(database: Database):
    """What is left of a claim leaves when it may, not when the one before it might have."""
    items = [
        planned(row, recipient=each, limit_keys=f'["{row}"]') for row, each in enumerate(("r1", ODD, "r3"), 1)
    ]
    run_id = planned_run(database, items)
    add(database, ANN)
    limit = Limit(key="own", tps=50.0, named=(NamedLimit(name="by", tps=50.0),))
    found = claim_by_writer(database, run_id, limit=limit)
    assert recipients(found.items) == ["r1", "r3"]
    assert [permit.limit.rpartition("\x1f")[2] for permit in found.permits] == ["1", "3"]
    assert counts(database, run_id) == {"total": 3, "sending": 2, "skipped": 1}


def test_fallback_step_to_who_is_suppressed_is_passed_over(database: Database):
    """When the step is taken, for the step's own channel; the reason is kept."""
    run_id = planned_run(
        database, [planned(row, recipient=f"r{row}", fallback=RECORD) for row in (1, 2)], job=JOB
    )
    first, second = claimed(database, run_id, "t")
    add(database, "a@b.c", scope="channel:sms")
    settled(database, run_id, "t", refused(first, "a@b.c", "x@y.z"))
    add(database, "X@y.z", scope="channel:email")
    settled(database, run_id, "t", refused(second, "x@y.z"))
    assert rows_of(database, run_id, "status", "recipient") == [("pending", "a@b.c"), ("failed", "r2")]
    assert [orjson.loads(each)[0][1] for each in rows_of(database, run_id, "fallback")] == [
        None,
        "suppressed",
    ]
    assert len(attempts_of(database, run_id)) == 1


def store_event(database: Database, number: int) -> tuple[int, str]:
    """An answer of Ann's; its id and uid."""
    row = {"uid": f"u{number}", "type": "recipient-response", "endpoint": "e", "state": "received",
           "provider_event_id": str(number), "recipient": "447700900001", "data": "{}"}  # fmt: skip
    with database.write() as connection:
        key = connection.execute(EVENT.insert().values(row).returning(EVENT.c.id)).scalar_one()
    return key, row["uid"]


def reactions_to(database: Database, *event_ids: int, handlers: int = 1, kind: str = "reactions") -> int:
    """A run of reactions to events of Ann's, each handler's after the one before."""
    items = [
        planned(event_id, segment=f"h{handler}", recipient=ANN, dedupe_key=f"{event_id}:h{handler}")
        for event_id in event_ids
        for handler in range(handlers)
    ]
    run_id = planned_run(database, items)
    with database.write() as connection:
        connection.execute(RUN.update().where(RUN.c.id == run_id).values(kind=kind))
    return run_id


def test_one_reaction_to_an_opt_out_confirms_it(database: Database):
    """The first to the very event that suppresses, tried as often as any; no other one."""
    event_id, uid = store_event(database, 1)
    other_id, _ = store_event(database, 2)
    run_id = reactions_to(database, event_id, other_id, handlers=2)
    add(database, ANN, reason=of_event("opt-out word", uid))
    (item,) = claim_by_writer(database, run_id).items
    assert (item.row, item.segment) == (event_id, "h0")
    settled(database, run_id, "t", result(item, "pending"))
    (again,) = claim_by_writer(database, run_id).items
    assert again.id == item.id
    assert rows_of(database, run_id, "status", "reason")[1:] == [("skipped", "suppressed")] * 3
    assert_counts_add_up(database, run_id)


def test_confirmation_is_held_back_by_any_other_suppression(database: Database):
    """By a person's, or by that of an earlier answer: only the event's own lets it through."""
    event_id, uid = store_event(database, 1)
    add(database, ANN, reason=of_event("opt-out word", uid))
    add(database, ANN, scope="job:renewals", reason="by hand")
    assert claim_by_writer(database, reactions_to(database, event_id)).items == []


def test_only_reactions_confirm(database: Database):
    """A row of a list that has the number of the event is no reaction to it."""
    event_id, uid = store_event(database, 1)
    run_id = reactions_to(database, event_id, kind="run")
    add(database, ANN, reason=of_event("opt-out word", uid))
    assert claim_by_writer(database, run_id).items == []


def refusal(item: ClaimedItem, code: str | None, status: str = "failed") -> Settlement:
    """The provider's answer to a message."""
    return result(item, status, reason="refused", error_code=code)


def settle_by_writer(database: Database, run_id: int, *settlements: Settlement) -> None:
    """Settles in one commit, as the sender does."""

    async def use(writer: LedgerWriter) -> None:
        await asyncio.gather(*(settled_by(writer, run_id, each, token="t") for each in settlements))

    with_writer(database, use)


def test_refusal_because_of_an_opt_out_suppresses(database: Database):
    """With the settlement; what waits for them elsewhere is given up, in everything's counts as well."""
    people = [f"+44770090000{number}" for number in range(4)]
    run_id = planned_run(database, [planned(row, recipient=each) for row, each in enumerate(people, 1)])
    waiting = planned_run(database, [planned(1, recipient=people[0])], job_name="other")
    items = claimed(database, run_id, "t")
    codes = ("1240", "https://developer.vonage.com/api-errors/messages#1240", "1250", None)
    settle_by_writer(
        database, run_id, *(refusal(item, code) for item, code in zip(items, codes, strict=True))
    )
    with database.read() as connection:
        found = scopes_of(connection, people)
    assert {key: set(value) for key, value in found.items()} == {people[0]: {""}, people[1]: {""}}
    assert rows_of(database, run_id, "status") == ["failed"] * 4
    assert rows_of(database, waiting, "status", "reason") == [("skipped", "suppressed")]
    for each in (run_id, waiting):
        assert_counts_add_up(database, each)


def test_refusal_that_is_tried_again_or_of_a_rehearsal_suppresses_nobody(database: Database):
    """The one is no definite answer, the other is made up."""
    run_id = planned_run(database, [planned(1, recipient=ANN)])
    (item,) = claimed(database, run_id, "t")
    settle_by_writer(database, run_id, refusal(item, "1240", "pending"))
    rehearsal = planned_run(database, [planned(1, recipient=ANN)], against="http://127.0.0.1:1", job_name="r")
    (made_up,) = claimed(database, rehearsal, "t")
    settle_by_writer(database, rehearsal, refusal(made_up, "1240"))
    with database.read() as connection:
        assert scopes_of(connection, [ANN]) == {}


def test_plan_that_is_being_made_gives_up_who_is_suppressed_meanwhile(database: Database):
    """Also in a chunk that nobody saw when they were; the run opens with right counts."""
    add(database, "+447700900009")
    run = new_run(database)
    writer = PlanWriter(database, run.id)
    writer.begin()
    writer.write([planned(1, recipient=ANN), planned(2)])
    add(database, ANN)
    assert rows_of(database, run.id, "status") == ["skipped", "pending"]
    add(database, "+447700900003")
    writer.write([planned(3, recipient="+447700900003"), planned(4)])
    writer.finish(limit=1, bad_rows=0)
    assert rows_of(database, run.id, "status", "reason") == [
        ("skipped", "suppressed"), ("pending", None), ("skipped", "suppressed"), ("skipped", "limit"),
    ]  # fmt: skip
    assert_counts_add_up(database, run.id)


def test_claim_of_a_suppressed_person_sees_what_was_committed_just_before(database: Database):
    """Suppressed between two claims of the same sender: the second one is without them."""
    run_id = planned_run(database, [planned(1, recipient=ODD), planned(2, recipient=f"{ODD} ")])

    async def use(writer: LedgerWriter) -> list[Claimed]:
        first = await writer.claim(run_id, whole(), token="t", most=1, limit=FREE)
        await asyncio.to_thread(add, database, ANN)
        return [first, await writer.claim(run_id, whole(), token="t", most=1, limit=FREE)]

    assert [len(each.items) for each in with_writer(database, use)] == [1, 0]


def test_claims_of_a_ledger_without_suppressions_are_as_they_were(database: Database):
    """Whoever is claimed is returned as it is, in one look."""
    run_id = planned_run(database, 3)
    looks: list[str] = []
    with database.write() as connection:
        items = claim(connection, run_id=run_id, part=whole(), token="t", most=3)
        sa.event.listen(
            database.engine, "before_cursor_execute", lambda *given: looks.append(given[2]), named=False
        )
        changes: Changes = Changes()
        assert without_suppressed(connection, run_id, items, changes) is items
        assert not changes
        assert len(looks) == 1
        count_changes(connection, run_id, {"pending": -3, "sending": 3})
        count_moves(connection, changes)
    assert get_run(database, run_id).sending == 3
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(RUN_ITEM.c.status == "sending")) == 3
