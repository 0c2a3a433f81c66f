"""What holds for any list: a row's fate is its own."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion import sources
from clarion.planning import PlannedItem
from tests.unit.campaigns import make_campaign, plan

ITEM = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["1", "2", 1, 2, 3, None]),
        "phone": st.sampled_from(
            ["+442079460001", "0044 20 7946 0001", "+442079460002", "02079460003", "x", ""]
        ),
        "country": st.sampled_from(["GB", "United Kingdom", "Nowhere"]),
        "plan": st.sampled_from(["gold", "basic", 5, None]),
        "days": st.one_of(st.integers(-5, 40), st.sampled_from(["7", "x"])),
    },
)
ITEMS = st.lists(ITEM, max_size=12)
EXCLUDED = st.lists(st.sampled_from([1, "2", "9"]), max_size=2)
BARRED = st.lists(st.sampled_from(["+442079460001", "+44 20 7946 0003"]), max_size=2)
SEGMENTS = [
    {"name": "gold", "condition": "item.plan == 'gold' and item.days <= 30", "action": "send"},
    {"name": "soon", "condition": "item.days < 10", "action": "send"},
    {"name": "rest", "condition": "not isnull(item.plan)", "action": "send"},
]
WHOLE = {"id": "0", "phone": "+442079460009", "country": "GB", "plan": "basic", "days": 99}
"""Has every attribute, so that a list never lacks one that a condition names."""


def plan_of(
    items: list[dict[str, Any]], excluded: list[Any], barred: list[str], matching: str
) -> list[PlannedItem]:
    """The plan of a job that excludes by key and by recipient."""
    recipients = {
        "include": [{"items": [WHOLE, *items], "key": "id"}],
        "exclude": [
            {"items": [{"id": each} for each in excluded], "key": "id"},
            {"items": [{"phone": each} for each in barred], "recipient": "{{ item.phone }}"},
        ],
    }
    recipient = {"value": "{{ item.phone }}", "type": "phone", "region": "{{ item.country }}"}
    campaign = make_campaign(recipients=recipients, recipient=recipient, segments=SEGMENTS, matching=matching)
    return plan(campaign)


@settings(deadline=None, max_examples=50)
@given(
    items=ITEMS, excluded=EXCLUDED, barred=BARRED, matching=st.sampled_from(["first", "all"]),
    rows=st.integers(1, 5),
)  # fmt: skip
def test_plan_does_not_depend_on_the_frames(
    items: list[dict[str, Any]], excluded: list[Any], barred: list[str], matching: str, rows: int
):
    """Read in frames of one row or of all, the plan is the same to the last field."""
    whole = plan_of(items, excluded, barred, matching)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "FRAME_ROWS", rows)
        assert plan_of(items, excluded, barred, matching) == whole


def without_row(planned: list[PlannedItem], row: int) -> list[PlannedItem]:
    """What is planned for a row, its number left out."""
    return [each._replace(row=0) for each in planned if each.row == row]


@settings(deadline=None, max_examples=50)
@given(
    items=ITEMS, excluded=EXCLUDED, barred=BARRED, matching=st.sampled_from(["first", "all"]), data=st.data()
)
def test_plan_of_a_row_does_not_depend_on_the_others(
    items: list[dict[str, Any]], excluded: list[Any], barred: list[str], matching: str, data: st.DataObject
):
    """In another order every row meets the same fate: duplicates are for the ledger to find."""
    order = data.draw(st.permutations(range(len(items))))
    planned = plan_of(items, excluded, barred, matching)
    shuffled = plan_of([items[position] for position in order], excluded, barred, matching)
    for place, position in enumerate(order):
        assert without_row(shuffled, place + 2) == without_row(planned, position + 2)


@settings(deadline=None, max_examples=50)
@given(items=ITEMS, excluded=EXCLUDED, barred=BARRED, matching=st.sampled_from(["first", "all"]))
def test_plan_has_every_row_in_order(
    items: list[dict[str, Any]], excluded: list[Any], barred: list[str], matching: str
):
    """Nobody is silently missed; under `first` a row is planned once, under `all` once a segment."""
    planned = plan_of(items, excluded, barred, matching)
    rows = [each.row for each in planned]
    assert sorted(set(rows)) == list(range(1, len(items) + 2))
    assert rows == sorted(rows)
    assert len({(each.row, each.segment) for each in planned}) == len(planned)
    if matching == "first":
        assert len(rows) == len(items) + 1


@settings(deadline=None, max_examples=50)
@given(items=ITEMS, excluded=EXCLUDED, barred=BARRED, matching=st.sampled_from(["first", "all"]))
def test_plan_sends_to_nobody_who_is_excluded(
    items: list[dict[str, Any]], excluded: list[Any], barred: list[str], matching: str
):
    """What is pending has a recipient and a key, is on no exclude list, and has an action."""
    keys = {str(each) for each in excluded}
    numbers = {each.replace(" ", "") for each in barred}
    by_row = dict(enumerate([WHOLE, *items], 1))
    for each in plan_of(items, excluded, barred, matching):
        if each.status == "pending":
            assert each.recipient not in numbers
            assert str(by_row[each.row].get("id")) not in keys
            assert (each.reason, each.action) == (None, "send")
            assert each.dedupe_key in {each.recipient, f"{each.segment}\x1f{each.recipient}"}
        else:
            assert each.status == "skipped"
            assert each.reason in {"excluded", "no-segment", "invalid-recipient", "template-error"}
            assert each.dedupe_key is None
