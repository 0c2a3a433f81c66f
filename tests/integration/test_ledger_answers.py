"""What came back for a run, against the same counted another way; and how a report tells it."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.ledger.answer_tables import SUPPRESSION_CHANGE
from clarion.ledger.answers import ANSWERS, count_answers
from clarion.ledger.database import Database
from clarion.ledger.runs import REACTIONS, get_run
from clarion.ledger.summaries import WHOLE_RUN
from clarion.ledger.tables import RUN_ITEM
from clarion.reporting import build_report, markdown_report, segment_rows
from clarion.suppression import of_event
from cli.console import print_report
from tests.integration.answered_runs import NOW, add_event, add_reaction_item, rows_with, update_items
from tests.integration.ledger_runs import new_run, planned, planned_run

JOB = orjson.dumps(
    {
        "name": "renewals",
        "recipients": {"include": [{"items": [], "key": None, "recipient": None}], "exclude": []},
        "recipient": {"value": "{{ item.n }}", "type": "text", "region": None},
        "segments": [{"name": name, "action": "send"} for name in ("gold", "rest")],
        "actions": {},
    }
).decode()

RECEIPT = "action-call-succeeded"

Happening = tuple[str, int, str, str | None]
"""What, of which person (from 0), after which message, and the currency of a conversion."""

receipts = st.lists(st.sampled_from([None, "succeeded", "failed", "info"]), min_size=6, max_size=6)
happenings = st.lists(
    st.tuples(
        st.sampled_from(
            ["recipient-response", "STOP", "click", "scan", "conversion", "unsubscribe", "action-call-info"]
        ),
        st.integers(0, 5),
        st.sampled_from(["item", "reaction", "reaction to a reaction", "nobody"]),
        st.sampled_from([None, "EUR", "USD"]),
    ),
    max_size=25,
)


def suppression_by(database: Database, uid: str) -> None:
    """Notes that an event caused a suppression."""
    row = {
        "address": "447700900000", "scope": "", "change": "add", "reason": of_event("opt-out word", uid),
        "who": "endpoint x", "changed_at": NOW,
    }  # fmt: skip
    with database.write() as connection:
        connection.execute(SUPPRESSION_CHANGE.insert().values(row))


@dataclass(frozen=True)
class Campaign:
    """A run of six people, each of whom has been reacted to, and whose answer to that as well.

    `places` has by name where somebody's event belongs: run and run item, by the number of the person.
    """

    run_id: int
    places: Mapping[str, Sequence[tuple[int | None, int | None]]]


def sent_campaign(database: Database, deliveries: list[str | None]) -> Campaign:
    """One of which the receipts say this."""
    run_id = planned_run(database, [planned(n, segment="gold" if n % 2 else "rest") for n in range(1, 7)])
    items = [row["id"] for row in rows_with(database, RUN_ITEM, run_id=run_id)]
    for item, delivery in zip(items, deliveries, strict=True):
        update_items(database, [item], delivery=delivery)
    child = new_run(database, kind=REACTIONS, parent_id=run_id).id
    causes = [add_event(database, RECEIPT, run_id=run_id, run_item_id=item) for item in items]
    first = [add_reaction_item(database, child, event_id=cause) for cause in causes]
    causes = [add_event(database, RECEIPT, run_id=child, run_item_id=item) for item in first]
    second = [add_reaction_item(database, child, event_id=cause, status="failed") for cause in causes]
    places = {
        "item": [(run_id, item) for item in items],
        "reaction": [(child, item) for item in first],
        "reaction to a reaction": [(child, item) for item in second],
        "nobody": [(None, None)] * len(items),
    }
    return Campaign(run_id, places)


def happen(database: Database, campaign: Campaign, happened: list[Happening]) -> None:
    """Stores what happened."""
    for what, number, where, currency in happened:
        run_id, item = campaign.places[where][number]
        kind, columns = event_of(what, currency)
        uid = str(uuid.uuid4())
        add_event(database, kind, uid=uid, run_id=run_id, run_item_id=item, **columns)
        if what == "STOP":
            suppression_by(database, uid)


def expected_counts(deliveries: list[str | None], theirs: list[Happening]) -> dict[str, int]:
    """What a segment counts: people once each, machines' clicks each time."""
    people = {
        name: len({number for what, number, _, _ in theirs if name in COUNTED[what]})
        for name in ("responded", "unsubscribed", "clicked", "converted")
    }
    return {
        "delivered": deliveries.count("succeeded"),
        "undelivered": deliveries.count("failed"),
        "info": deliveries.count("info"),
        **people,
        "scanned": sum(what == "scan" for what, _, _, _ in theirs),
        "reactions": 3,
    }


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries=receipts, happened=happenings)
def test_answers_are_what_happened(
    database: Database, deliveries: list[str | None], happened: list[Happening]
):
    """By segment and in total: people once each, also by what they did after a reaction."""
    campaign = sent_campaign(database, deliveries)
    happen(database, campaign, happened)
    found = count_answers(database, campaign.run_id)
    for part, first in (("gold", 0), ("rest", 1)):
        theirs = [each for each in happened if each[1] % 2 == first and each[2] != "nobody"]
        assert found[part].counts == expected_counts(deliveries[first::2], theirs)
        worth = Counter(currency or "" for what, _, _, currency in theirs if what == "conversion")
        assert found[part].values == {currency: 2.5 * count for currency, count in worth.items()}
    for name in (*ANSWERS, "info"):
        assert found[WHOLE_RUN].counts[name] == sum(found[part].counts[name] for part in ("gold", "rest"))


COUNTED = {
    "recipient-response": ("responded",),
    "STOP": ("responded", "unsubscribed"),
    "click": ("clicked",),
    "scan": (),
    "conversion": ("converted",),
    "unsubscribe": ("unsubscribed",),
    "action-call-info": (),
}


def event_of(what: str, currency: str | None) -> tuple[str, dict[str, Any]]:
    """The type and the columns of an event."""
    if what == "STOP":
        return "recipient-response", {"text": "STOP"}
    if what == "scan":
        return "click", {"status": "scanner"}
    if what == "conversion":
        return "conversion", {"value": 2.5, "currency": currency}
    return what, {}


def answered_run(database: Database) -> int:
    """A run of two segments with something of everything in one of them."""
    items = [planned(1, segment="gold"), planned(2, segment="gold"), planned(3, segment="rest")]
    run_id = planned_run(database, items, job=JOB)
    one, two, _ = [row["id"] for row in rows_with(database, RUN_ITEM, run_id=run_id)]
    update_items(database, [one], delivery="succeeded")
    update_items(database, [two], delivery="failed")
    for kind, columns in (
        ("recipient-response", {"text": "yes"}),
        ("click", {}),
        ("click", {"status": "scanner"}),
        ("conversion", {"value": 1_200.5, "currency": "EUR"}),
        ("unsubscribe", {}),
    ):
        add_event(database, kind, run_id=run_id, run_item_id=one, **columns)
    return run_id


def test_report_has_the_campaign_apis_summaries_and_the_answers(database: Database):
    """The two summaries by their names, the answers by segment and in total."""
    report = build_report(database, get_run(database, answered_run(database)))
    assert report["recipient_response"] == {"recipients_count": 1}
    assert report["action_delivery_status"] == {
        "recipients_count": 2, "status_succeeded_count": 1, "status_failed_count": 1, "status_info_count": 0,
    }  # fmt: skip
    assert report["answers"] == {
        "delivered": 1, "undelivered": 1, "responded": 1, "unsubscribed": 1, "clicked": 1, "scanned": 1,
        "converted": 1, "reactions": 0, "values": {"EUR": 1200.5},
    }  # fmt: skip
    gold, rest = report["segments"]
    assert gold["answers"] == report["answers"]
    assert rest["answers"] == {}


def test_report_shows_answers_to_people(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Terminal, Markdown and the table of the artifacts tell them, without what is nought everywhere."""
    monkeypatch.setenv("COLUMNS", "200")
    report = build_report(database, get_run(database, answered_run(database)))
    print_report(report)
    printed = capsys.readouterr().out
    assert "clicks of machines" in printed
    assert "conversions are worth EUR 1,200.50" in printed
    assert "reactions sent" not in printed
    text = markdown_report(report)
    assert "| segment | delivered | undelivered | responded | unsubscribed | clicked |" in text
    assert "Conversions are worth EUR 1,200.50." in text
    gold, rest, whole = segment_rows(report)
    assert (gold["delivered"], rest["delivered"], whole["delivered"]) == (1, 0, 1)
    assert "reactions sent" not in whole


def test_report_without_answers_looks_as_it_did(database: Database, capsys: pytest.CaptureFixture[str]):
    """Nothing came back: no table, no column, no section; in JSON the summaries are nought."""
    run_id = planned_run(database, [planned(1, segment="gold")], job=JOB)
    report = build_report(database, get_run(database, run_id))
    assert report["answers"] == {}
    assert report["recipient_response"] == {"recipients_count": 0}
    assert all(segment["answers"] == {} for segment in report["segments"])
    print_report(report)
    assert "responded" not in capsys.readouterr().out
    assert "## Answers" not in markdown_report(report)
    assert set(segment_rows(report)[0]) == {
        "segment", "action", "total", "pending", "skipped", "succeeded", "failed", "unknown", "calls",
        "p90 ms",
    }  # fmt: skip


def test_answers_of_one_run_are_not_anothers(database: Database):
    """Another run's answers, its reactions' and those of a run that a handler started do not count."""
    run_id = answered_run(database)
    other = planned_run(database, 1)
    started = planned_run(database, 1, parent_id=run_id, kind="reaction")
    for each in (other, started):
        (item,) = [row["id"] for row in rows_with(database, RUN_ITEM, run_id=each)]
        add_event(database, "recipient-response", run_id=each, run_item_id=item)
    assert count_answers(database, run_id)[WHOLE_RUN].counts["responded"] == 1
    assert count_answers(database, other)[WHOLE_RUN].counts["responded"] == 1
