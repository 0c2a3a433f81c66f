"""The rules of attribution against a plain reading of them, over runs and events of any kind."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.ledger.answer_tables import EVENT
from clarion.ledger.attribution import attribute_batch
from clarion.ledger.database import Database
from clarion.ledger.runs import get_run
from clarion.receiving.incoming import IncomingEvent
from tests.integration.sent_runs import (
    change_item,
    change_run,
    items_of,
    job_text,
    now,
    receipt,
    receive,
    reply,
    sent_run,
)

OURS = ("447000000001", "447000000002")
SPELLED = ("+{}", "{}", "00{}")
_EXAMPLES = count(1)


@dataclass(frozen=True)
class Sent:
    """One message: to which person, by which spelling, how it stands, how long ago it left.

    Less than no minutes ago is after the events came.
    """

    person: int
    spelled: int
    status: str
    invocation: int | None
    minutes: int


@dataclass(frozen=True)
class Made:
    """One run: from which of our numbers, how long ago it ended, and what its end_at says."""

    sender: int | None
    every_segment: bool
    ended_days: float | None
    end_in_hours: int | None
    rehearsal: bool
    messages: tuple[Sent, ...]


@dataclass(frozen=True)
class Came:
    """One event: about whom, and what it names. `reference` is a run and one of its messages."""

    is_receipt: bool
    person: int | None
    sender: int | None
    invocation: int | None
    quoted: int | None
    reference: tuple[int, int] | None


PEOPLE, IDS = st.integers(0, 2), st.none() | st.integers(0, 3)
RARELY = st.sampled_from([None, None, None, None, 0, 1, 2, 3])
SENT = st.builds(
    Sent,
    person=PEOPLE,
    spelled=st.integers(0, 2),
    status=st.sampled_from(["succeeded", "succeeded", "unknown", "failed"]),
    invocation=IDS,
    minutes=st.integers(-2, 500),
)
MADE = st.builds(
    Made,
    sender=st.none() | st.integers(0, 1),
    every_segment=st.booleans(),
    ended_days=st.sampled_from([None, 0, 6.9, 7.1]),
    end_in_hours=st.sampled_from([None, None, None, -1, 1]),
    rehearsal=st.sampled_from([False, False, True]),
    messages=st.lists(SENT, min_size=1, max_size=3, unique_by=lambda sent: sent.person).map(tuple),
)
CAME = st.builds(
    Came,
    is_receipt=st.booleans(),
    person=st.sampled_from([0, 1, 2, 0, 1, 2, 3, None]),
    sender=st.sampled_from([None, 0, 1]),
    invocation=RARELY,
    quoted=RARELY,
    reference=st.none() | st.none() | st.tuples(st.integers(0, 3), st.integers(0, 2)),
)

Facts = dict[str, Any]


def expected(came: Came, messages: list[Facts], received_at: datetime) -> tuple[str | None, int | None]:
    """The rule and the item, read off the page of docs one sentence after the other."""

    def newest(found: list[Facts]) -> int:
        same = [each for each in found if each["person"] == came.person] or found
        return max(same, key=lambda each: (each["sent_at"] <= received_at, each["sent_at"], each["id"]))["id"]

    for rule, wanted in (("invocation-id", came.invocation), ("quoted-message", came.quoted)):
        named = [each for each in messages if wanted is not None and each["invocation"] == wanted]
        if named:
            return rule, newest(named)
    ours = [each for each in messages if came.reference is not None and each["place"] == came.reference]
    if ours:
        return "client-ref", ours[0]["id"]
    reached = [
        each
        for each in messages
        if each["person"] == came.person
        and not (came.is_receipt and came.reference is not None)
        and each["sent_at"] <= received_at
        and each["status"] != "failed"
        and (each["listens_until"] is None or received_at <= each["listens_until"])
        and (came.sender is None or each["sender"] is None or came.sender == each["sender"])
        and not (came.is_receipt and came.invocation is not None and each["status"] != "unknown")
    ]
    return ("recipient", newest(reached)) if reached else (None, None)


def numbers(example: int, person: int) -> str:
    """The digits of a person of an example; nobody else has them."""
    return f"4477{example:06d}{person}"


def build(database: Database, runs: list[Made], example: int) -> list[Facts]:
    """Makes the runs; what is known of their messages."""
    messages: list[Facts] = []
    today = now(database)
    for place, made in enumerate(runs):
        recipients = [SPELLED[sent.spelled].format(numbers(example, sent.person)) for sent in made.messages]
        keys = {
            f"item{row}": {"dedupe_key": f"all\x1f{each}" if made.every_segment else each}
            for row, each in enumerate(recipients, 1)
        }
        parameters = [] if made.sender is None else [{"name": "sender", "default": OURS[made.sender]}]
        job = job_text(send={"parameters": parameters}, matching="all" if made.every_segment else "first")
        ids = [None if sent.invocation is None else f"{example}-{sent.invocation}" for sent in made.messages]
        run_id = sent_run(database, *recipients, ids=ids, job=job, **keys)
        ended_at = None if made.ended_days is None else today - timedelta(days=made.ended_days)
        end_at = None if made.end_in_hours is None else today + timedelta(hours=made.end_in_hours)
        change_run(
            database, run_id, ended_at=ended_at, end_at=end_at, against="http://x" if made.rehearsal else None
        )
        listening = timedelta(minutes=15) if made.rehearsal else timedelta(days=7)
        until = end_at or (ended_at and ended_at + listening)
        for number, (sent, item) in enumerate(zip(made.messages, items_of(database, run_id), strict=True)):
            sent_at = today - timedelta(minutes=sent.minutes)
            unanswered = sent.status == "unknown"
            change_item(
                database, item["id"], status=sent.status, claimed_at=sent_at,
                invocation_id=None if unanswered else item["invocation_id"],
                reason={"failed": "refused", "unknown": "no-answer"}.get(sent.status),
            )  # fmt: skip
            messages.append(
                {
                    "id": item["id"], "person": sent.person, "status": sent.status, "sent_at": sent_at,
                    "invocation": None if unanswered else sent.invocation, "sender": made.sender,
                    "listens_until": until, "place": (place, number),
                    "reference": f"{get_run(database, run_id).uid}-{item['id']}",
                }
            )  # fmt: skip
    return messages


def incoming(came: Came, messages: list[Facts], example: int) -> IncomingEvent:
    """The event as a provider's module gives it."""
    references = {each["place"]: each["reference"] for each in messages}
    fields: dict[str, Any] = {
        "sender": None if came.sender is None else f"+{OURS[came.sender]}",
        "invocation_id": None if came.invocation is None else f"{example}-{came.invocation}",
        "related_id": None if came.quoted is None else f"{example}-{came.quoted}",
        "client_ref": None if came.reference is None else references.get(came.reference, "campaign 7"),
    }
    recipient = "" if came.person is None else numbers(example, came.person)
    if came.is_receipt:
        return receipt("submitted", recipient=recipient or None, **fields)
    return replace(reply(recipient, **fields), recipient=recipient or None)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(MADE, min_size=2, max_size=4), came=st.lists(CAME, min_size=8, max_size=12))
def test_events_are_attributed_as_the_rules_say(database: Database, runs: list[Made], came: list[Came]):
    """Whatever runs there are, and whatever comes, in one batch or one by one."""
    example = next(_EXAMPLES)
    messages = build(database, runs, example)
    receive(database, *(incoming(each, messages, example) for each in came))
    found = attribute_batch(database, limit=100)
    told = [(event.attributed_by, event.run_item_id) for event in found]
    assert told == [
        expected(each, messages, event.received_at) for each, event in zip(came, found, strict=True)
    ]
    with database.write() as connection:
        connection.execute(EVENT.update().values(state="handled"))
        # As if it had never been: the next example's runs are the only ones.
        connection.exec_driver_sql("UPDATE run SET planned_at = NULL")
