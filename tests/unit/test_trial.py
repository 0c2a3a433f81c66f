"""A trial: one message of a job, for a recipient of one's own."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion import sources
from clarion.compiling import compile_job
from clarion.errors import InputError
from clarion.models.job import Job
from clarion.planning import PlannedItem
from clarion.trial import trial_job
from tests.unit.campaigns import make_job, make_reader, plan

LISTS = {
    "include": [
        {"items": [{"phone": "1", "name": "Ann"}, {"phone": "2"}, {"phone": "3"}], "key": "phone"},
        {"items": []},
        {"items": [{"phone": "4", "name": "Dan", "plan": "gold"}]},
    ],
    "exclude": [{"items": [{"phone": "2"}], "key": "phone"}],
}


def tried(job: Job, *, row: int = 1, recipient: str = "+447700900123") -> list[PlannedItem]:
    """What a trial of the job plans."""
    return plan(compile_job(trial_job(job, reader=make_reader(), row=row, recipient=recipient)))


@pytest.mark.parametrize(
    ("row", "item"),
    [
        (1, '{"phone":"1","name":"Ann"}'),
        (3, '{"phone":"3"}'),
        (4, '{"phone":"4","name":"Dan","plan":"gold"}'),
    ],
)
def test_trial_is_one_row_for_one_recipient(row: int, item: str, monkeypatch: pytest.MonkeyPatch):
    """The row is counted through all lists, as a plan counts; its own recipient is not written to."""
    monkeypatch.setattr(sources, "FRAME_ROWS", 2)
    planned = tried(make_job(recipients=LISTS), row=row)
    assert [(each.item, each.recipient, each.status) for each in planned] == [
        (item, "+447700900123", "pending")
    ]


def test_trial_goes_to_who_asks_whoever_the_row_is():
    """A row that is excluded may be looked at: its message goes to oneself."""
    assert [each.status for each in tried(make_job(recipients=LISTS), row=2)] == ["pending"]


@pytest.mark.parametrize(
    "recipient",
    [
        "{{ item.name }}", '"}} {{ job.name }} {{ "', "a'b\"c\\d", "\\u0041", "}}", "{% if 1 %}", "{# x #}",
        "💥 é",
        "{{ item.name }", " padded ",
    ],
)  # fmt: skip
def test_recipient_of_a_trial_is_literal(recipient: str):
    """What a person types is the recipient, whatever it looks like to a template."""
    assert [each.recipient for each in tried(make_job(recipients=LISTS), recipient=recipient)] == [recipient]


@settings(deadline=None)
@given(recipient=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_recipient_of_a_trial_is_literal_always(recipient: str):
    """Any text without control characters arrives as it is; blanks alone are no recipient."""
    planned = tried(make_job(recipients=LISTS), recipient=recipient)
    expected = (recipient, None) if recipient.strip() else (None, "invalid-recipient")
    assert [(each.recipient, each.reason) for each in planned] == [expected]


@pytest.mark.parametrize("recipient", ["a\nb", "a\r\nb", "a\0b"])
def test_recipient_with_a_line_break_is_none(recipient: str):
    """It is refused as the recipient of any item would be, not rendered to something else."""
    planned = tried(make_job(recipients=LISTS), recipient=recipient)
    assert [(each.reason, each.error) for each in planned] == [
        ("invalid-recipient", "the recipient holds a control character")
    ]


def test_recipient_of_a_trial_is_normalised_as_the_job_says():
    """The row's own country reads a local number."""
    recipient = {"value": "{{ item.phone }}", "type": "phone", "region": "{{ item.country }}"}
    lists = {"include": [{"items": [{"phone": "x", "country": "GB"}]}]}
    planned = tried(make_job(recipients=lists, recipient=recipient), recipient="020 7946 0001")
    assert [each.recipient for each in planned] == ["+442079460001"]


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        (LISTS, "--row: the lists have 4 rows; expected 1 to 4"),
        ({"include": [{"items": []}]}, "--row: the lists have no rows"),
    ],
)
def test_row_beyond_the_lists_is_refused(lists: dict[str, Any], told: str):
    """The message says how many there are."""
    with pytest.raises(InputError) as caught:
        tried(make_job(recipients=lists), row=5)
    assert str(caught.value) == told


def test_trial_of_a_file_keeps_its_text(tmp_path: Path):
    """A row of a file is taken as it stands there: zeros, gaps and all."""
    (tmp_path / "a.csv").write_text("id,zip,phone\n007,0049,1\n8,,2\n")
    job = make_job(recipients={"include": [{"file": "a.csv"}]})
    trial = trial_job(job, reader=make_reader(tmp_path), row=1, recipient="x")
    assert trial.recipients.include[0].items == [{"id": "007", "zip": "0049", "phone": "1"}]
    trial = trial_job(job, reader=make_reader(tmp_path), row=2, recipient="x")
    assert trial.recipients.include[0].items == [{"id": "8", "zip": None, "phone": "2"}]


def test_trial_of_an_item_with_an_empty_cell_knows_the_attribute():
    """What the row lacks other rows have: it is no attribute that no list has."""
    items = [{"phone": "1", "plan": "gold"}, {"phone": "2"}]
    job = make_job(
        recipients={"include": [{"items": items}]},
        segments=[
            {"name": "rest", "condition": "item.plan != 'gold' or isnull(item.plan)", "action": "send"}
        ],
    )
    trial = trial_job(job, reader=make_reader(), row=2, recipient="x")
    assert [each.segment for each in plan(compile_job(trial))] == ["rest"]
