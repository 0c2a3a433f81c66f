"""Planning: whom, in which segment, under which recipient, or why not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clarion import sources
from clarion.errors import ConditionError, InputError, ListError, PlanError, TemplateError
from clarion.models.job import RunList
from clarion.planning import PlannedItem
from clarion.sources import ListReader
from tests.unit.campaigns import SEND, make_campaign, make_reader, plan


def items_of(*items: dict[str, Any]) -> dict[str, Any]:
    """The `recipients` of a job with one inline list, without excludes."""
    return {"include": [{"items": list(items)}]}


def fates(planned: list[PlannedItem]) -> list[tuple[int, str, str, str | None]]:
    """Row, segment, status and reason of each planned item."""
    return [(each.row, each.segment, each.status, each.reason) for each in planned]


def phones(*numbers: str) -> list[dict[str, Any]]:
    """Items with a phone number each."""
    return [{"phone": number} for number in numbers]


def test_item_is_planned_as_pending_with_all_it_needs():
    """A planned item carries what the sender needs: recipient, key, action, and the item itself."""
    campaign = make_campaign(recipients=items_of({"id": 1, "phone": "+447700900001"}))
    assert plan(campaign) == [
        PlannedItem(
            row=1,
            segment="all",
            recipient="+447700900001",
            dedupe_key="+447700900001",
            item='{"id":1,"phone":"+447700900001"}',
            status="pending",
            reason=None,
            action="send",
            error=None,
        )
    ]


SEGMENTS = [
    {"name": "gold", "condition": "item.plan == 'gold'", "action": "send"},
    {"name": "long", "condition": "item.days > 10", "action": "send"},
]
PEOPLE = [
    {"phone": "1", "plan": "gold", "days": 20},
    {"phone": "2", "plan": "gold", "days": 5},
    {"phone": "3", "plan": "basic", "days": 20},
    {"phone": "4", "plan": "basic", "days": 5},
    {"phone": "5"},
]


def test_first_matching_segment_gets_the_item():
    """Under `first` an item is in one segment, the first that matches; or in none, and then it is skipped."""
    campaign = make_campaign(recipients=items_of(*PEOPLE), segments=SEGMENTS)
    assert fates(plan(campaign)) == [
        (1, "gold", "pending", None),
        (2, "gold", "pending", None),
        (3, "long", "pending", None),
        (4, "", "skipped", "no-segment"),
        (5, "", "skipped", "no-segment"),
    ]


def test_every_matching_segment_gets_the_item():
    """Under `all` an item is in each segment that matches, with a key of its own in each."""
    planned = plan(make_campaign(recipients=items_of(*PEOPLE), segments=SEGMENTS, matching="all"))
    assert fates(planned)[:2] == [(1, "gold", "pending", None), (1, "long", "pending", None)]
    assert [each.dedupe_key for each in planned[:2]] == ["gold\x1f1", "long\x1f1"]
    assert [each.row for each in planned] == [1, 1, 2, 3, 4, 5]


def test_segment_without_a_condition_takes_who_is_left():
    """The last segment needs no condition."""
    segments = [SEGMENTS[0], {"name": "rest", "action": "send"}]
    planned = plan(make_campaign(recipients=items_of(*PEOPLE), segments=segments))
    assert [each.segment for each in planned] == ["gold", "gold", "rest", "rest", "rest"]


def test_condition_may_name_the_job():
    """The job's own scope stands beside the item's."""
    segments = [{"name": "a", "condition": "job.name == 'greetings' and item.phone == '2'", "action": "send"}]
    planned = plan(make_campaign(recipients=items_of(*PEOPLE), segments=segments))
    assert [each.row for each in planned if each.segment] == [2]


PHONE = {"value": "{{ item.phone }}", "type": "phone", "region": "{{ item.country }}"}


def test_recipient_that_is_none_is_skipped_with_its_reason():
    """A bad number is the item's own problem; the reason does not repeat it."""
    recipient = {**PHONE, "region": "{{ item.country | default(none) }}"}
    campaign = make_campaign(recipients=items_of(*phones("12", "+442079460001")), recipient=recipient)
    planned = plan(campaign)
    assert fates(planned) == [(1, "all", "skipped", "invalid-recipient"), (2, "all", "pending", None)]
    assert planned[0].error == "the phone number has no country code and no region is given"
    assert (planned[0].recipient, planned[0].dedupe_key) == (None, None)


def test_region_that_renders_to_none_is_no_region():
    """`default(none)` means that there is no country, not a country called None."""
    recipient = {**PHONE, "region": "{{ item.country | default(none) }}"}
    campaign = make_campaign(recipients=items_of(*phones("020 7946 0001")), recipient=recipient)
    assert plan(campaign)[0].error == "the phone number has no country code and no region is given"


def test_missing_recipient_is_an_invalid_one():
    """An item whose cell is empty has no recipient, in any of its segments; that fails no plan."""
    campaign = make_campaign(
        recipients=items_of({"id": 1}, {"phone": "1"}),
        segments=[{"name": "a", "action": "send"}, {"name": "b", "action": "send"}],
        matching="all",
        on_template_error="fail",
    )
    planned = plan(campaign)
    assert fates(planned)[:2] == [
        (1, "a", "skipped", "invalid-recipient"),
        (1, "b", "skipped", "invalid-recipient"),
    ]
    assert planned[0].error == "recipient.value: item has no 'phone'"


def test_recipient_of_an_attribute_that_no_list_has_is_refused():
    """A misspelt column would make every recipient missing: the job is refused, with the nearest name."""
    with pytest.raises(
        TemplateError, match=r"^recipient\.value: no list has the attribute 'phone'.*'phones'"
    ):
        plan(make_campaign(recipients=items_of({"phones": "1"})))


NAMED = {"command": {"url": "https://api.test", "payload": {"text": "Dear {{ item.name }}"}}}


def test_template_error_fails_the_plan_where_the_job_says_so():
    """Under `fail` one item that does not render stops everything before anybody is written to."""
    items = items_of({"phone": "1", "name": "Ann"}, {"phone": "2"})
    skipping = make_campaign(recipients=items, actions={"send": NAMED})
    assert [each.status for each in plan(skipping)] == ["pending", "pending"]
    failing = make_campaign(recipients=items, actions={"send": NAMED}, on_template_error="fail")
    with pytest.raises(
        PlanError, match=r"^row 2: actions\.send\.command\.payload.* \(on_template_error is fail\)$"
    ):
        plan(failing)


def test_template_error_of_who_is_not_written_to_fails_nothing():
    """An item that is excluded, by key or by recipient, is never rendered."""
    named = {"id": 3, "phone": "3", "name": "Ann"}
    recipients = {
        "include": [{"items": [{"id": 1, "phone": "1"}, {"id": 2, "phone": "2"}, named], "key": "id"}],
        "exclude": [
            {"items": [{"id": 1}], "key": "id"},
            {"items": phones("2"), "recipient": "{{ item.phone }}"},
        ],
    }
    campaign = make_campaign(recipients=recipients, actions={"send": NAMED}, on_template_error="fail")
    assert [each.reason for each in plan(campaign)] == ["excluded", "excluded", None]


def test_rows_are_numbered_over_all_lists(monkeypatch: pytest.MonkeyPatch):
    """A row's number is its place in the lists taken together, in any frames."""
    monkeypatch.setattr(sources, "FRAME_ROWS", 2)
    recipients = {"include": [{"items": phones("1", "2", "3")}, {"items": []}, {"items": phones("4", "5")}]}
    planned = plan(make_campaign(recipients=recipients))
    assert [(each.row, each.recipient) for each in planned] == [(row, str(row)) for row in range(1, 6)]


def test_list_without_an_attribute_of_another_matches_nothing_by_it():
    """Where one of several lists has an attribute, the others' items miss it: a comparison is false."""
    segments = [{"name": "gold", "condition": "item.plan == 'gold'", "action": "send"}]
    recipients = {"include": [{"items": [{"phone": "1", "plan": "gold"}]}, {"items": phones("2")}]}
    assert fates(plan(make_campaign(recipients=recipients, segments=segments))) == [
        (1, "gold", "pending", None),
        (2, "", "skipped", "no-segment"),
    ]


def test_attribute_that_no_list_has_stops_the_plan():
    """A condition with a typing error would silently reach nobody."""
    segments = [{"name": "gold", "condition": "item.plann == 'gold'", "action": "send"}]
    campaign = make_campaign(recipients=items_of({"phone": "1", "plan": "gold"}), segments=segments)
    for look in (lambda: make_reader().check(campaign), lambda: plan(campaign)):
        with pytest.raises(ConditionError) as caught:
            look()
        assert str(caught.value) == (
            "segments[0].condition: item has no attribute 'plann' (did you mean 'plan'?)"
        )


def test_lists_without_items_plan_nothing():
    """No items, no header, no complaint about attributes."""
    segments = [{"name": "gold", "condition": "item.plan == 'gold'", "action": "send"}]
    campaign = make_campaign(recipients={"include": [{"items": []}]}, segments=segments)
    make_reader().check(campaign)
    assert plan(campaign) == []


def test_list_that_is_missing_is_found_before_the_run(tmp_path: Path):
    """`check` opens every list, the excluded ones too."""
    (tmp_path / "customers.csv").write_text("id,phone\n1,1\n")
    recipients = {"include": [{"file": "customers.csv"}], "exclude": [{"file": "customer.csv", "key": "id"}]}
    with pytest.raises(ListError, match=r"no such file .* \(did you mean 'customers.csv'\?\)"):
        make_reader(tmp_path).check(make_campaign(recipients=recipients))


def test_bad_row_is_left_to_the_plan(tmp_path: Path):
    """`check` looks at heads only; the plan ends at the row, or counts it where the list says so."""
    (tmp_path / "customers.csv").write_text("id,phone\n1,1\n2\n3,3\n")
    recipients = {"include": [{"file": "customers.csv"}]}
    campaign = make_campaign(recipients=recipients)
    with pytest.raises(ListError, match=r"^customers\.csv:3: 1 field"):
        plan(campaign, reader=make_reader(tmp_path))
    recipients["include"][0]["on_bad_row"] = "skip"
    reader = make_reader(tmp_path)
    assert [each.row for each in plan(make_campaign(recipients=recipients), reader=reader)] == [1, 2]
    assert reader.report.bad_rows == 1


def test_items_of_an_earlier_run_are_a_list():
    """A run list is read by who knows the ledger; it includes and excludes as any other list."""
    asked: list[RunList] = []

    def run_items(source: RunList) -> Iterator[pd.DataFrame]:
        asked.append(source)
        yield pd.DataFrame([{"id": 1, "phone": "1"}, {"id": 2, "phone": "2"}], dtype=object)

    recipients = {
        "include": [{"items": [{"id": number, "phone": str(number)} for number in (1, 2, 3)], "key": "id"}],
        "exclude": [{"run": "last", "status": ["succeeded"], "key": "id"}],
    }
    reader = ListReader(base=Path("nowhere"), run_items=run_items)
    planned = plan(make_campaign(recipients=recipients), reader=reader)
    assert [each.status for each in planned] == ["skipped", "skipped", "pending"]
    assert asked == [RunList(run="last", status=["succeeded"], key="id")]
    again = plan(make_campaign(recipients={"include": [{"run": "last"}]}), reader=reader)
    assert [each.recipient for each in again] == ["1", "2"]


def test_run_without_items_is_an_empty_list():
    """A first run excludes nobody by the last one."""
    recipients = {
        "include": [{"items": [{"id": 1, "phone": "1"}], "key": "id"}],
        "exclude": [{"run": "last", "key": "id"}, {"run": "last", "recipient": "{{ item.phone }}"}],
    }
    reader = ListReader(base=Path("nowhere"), run_items=lambda _: iter(()))
    assert [each.status for each in plan(make_campaign(recipients=recipients), reader=reader)] == ["pending"]


def test_item_values_are_never_templates():
    """What a customer calls themselves is data, also where it looks like a template or a condition."""
    item = {"phone": "{{ job.name }}", "plan": "' or True or '"}
    segments = [{"name": "gold", "condition": "item.plan == 'gold'", "action": "send"},
                {"name": "rest", "action": "send"}]  # fmt: skip
    planned = plan(make_campaign(recipients=items_of(item), segments=segments))
    assert (planned[0].segment, planned[0].recipient) == ("rest", "{{ job.name }}")
    assert json.loads(planned[0].item) == item


def test_mistakes_of_a_person_are_input_errors():
    """What a person can mend is told as such: exit code 2, not a failure of Clarion."""
    assert issubclass(ListError, InputError)
    assert not issubclass(PlanError, InputError)


def test_action_of_the_segment_is_planned():
    """Each item carries the action of its own segment."""
    segments = [{"name": "gold", "condition": "item.plan == 'gold'", "action": "send"},
                {"name": "rest", "action": "other"}]  # fmt: skip
    campaign = make_campaign(
        recipients=items_of({"phone": "1", "plan": "gold"}, {"phone": "2"}),
        segments=segments,
        actions={"send": SEND, "other": SEND},
    )
    assert [each.action for each in plan(campaign)] == ["send", "other"]
