"""Who is excluded, by key and by recipient: nobody who asked not to be written to is."""

from pathlib import Path
from typing import Any

import pytest

from clarion import sources
from clarion.errors import ListError, PlanError
from tests.unit.campaigns import make_campaign, make_reader, plan
from tests.unit.test_planning import fates, phones


@pytest.mark.parametrize("included", [[1, 2, 3], ["1", "2", "3"], [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("excluded", [[2, 3], ["2", "3"], [2.0, 3, None, "x"]])
@pytest.mark.parametrize("key", ["id", "cid"])
def test_key_excludes_whatever_its_type_and_name(included: list[Any], excluded: list[Any], key: str):
    """7, "7" and 7.0 are the same customer; each list may call the key its own way."""
    include = [{"id": each, "phone": str(row)} for row, each in enumerate(included)]
    recipients = {
        "include": [{"items": [*include, {"phone": "without"}], "key": "id"}],
        "exclude": [{"items": [{key: each} for each in excluded], "key": key}],
    }
    planned = plan(make_campaign(recipients=recipients))
    assert [each.reason for each in planned] == [None, "excluded", "excluded", None]


def test_key_of_any_json_type_can_be_compared():
    """A key may even be a list; an empty cell is no key."""
    include = {"items": [{"id": [1], "phone": "1"}, {"id": True, "phone": "2"}, {"phone": "3"}], "key": "id"}
    exclude = {"items": [{"id": [1]}, {"id": True}, {"id": None}], "key": "id"}
    planned = plan(make_campaign(recipients={"include": [include], "exclude": [exclude]}))
    assert [each.status for each in planned] == ["skipped", "skipped", "pending"]


def test_csv_key_with_empty_cells_excludes_the_others(tmp_path: Path):
    """An unsubscribe list with gaps still excludes everyone it names, under the text it has there."""
    (tmp_path / "customers.csv").write_text("id,phone\n007,1\n7,2\n,3\n")
    (tmp_path / "left.csv").write_text("cid,when\n007,2026\n,2026\nx,2026\n")
    recipients = {
        "include": [{"file": "customers.csv", "key": "id"}],
        "exclude": [{"file": "left.csv", "key": "cid"}],
    }
    planned = plan(make_campaign(recipients=recipients), reader=make_reader(tmp_path))
    assert [each.status for each in planned] == ["skipped", "pending", "pending"]


def test_key_of_the_exclude_list_serves_where_the_include_list_has_none():
    """Both lists know the attribute by one name, so it need not be said twice."""
    recipients = {
        "include": [{"items": [{"id": 1, "phone": "1"}, {"id": 2, "phone": "2"}]}],
        "exclude": [{"items": [{"id": 2}], "key": "id"}],
    }
    assert [each.status for each in plan(make_campaign(recipients=recipients))] == ["pending", "skipped"]


@pytest.mark.parametrize(
    ("recipients", "told"),
    [
        (
            {"include": [{"items": [{"id": 1}]}], "exclude": [{"items": [{"cid": 1}], "key": "cid"}]},
            "recipients.exclude[0].key: recipients.include[0] has no attribute 'cid'; expected one of id"
            " (did you mean 'id'?)",
        ),
        (
            {
                "include": [{"items": [{"id": 1, "phone": "1"}], "key": "id"}],
                "exclude": [{"items": [{"id": 1}], "key": "idd"}],
            },
            "recipients.exclude[0].key: the list has no attribute 'idd'; expected one of id"
            " (did you mean 'id'?)",
        ),
        (
            {
                "include": [{"items": [{"id": 1, "phone": "1"}]}],
                "exclude": [{"items": [{"phone": "1"}], "recipient": "{{ item.fone }}"}],
            },
            "recipients.exclude[0].recipient: the list has no attribute 'fone'; expected one of phone"
            " (did you mean 'phone'?)",
        ),
        (
            {"include": [{"items": [{"id": 1}], "key": "idd"}]},
            "recipients.include[0].key: recipients.include[0] has no attribute 'idd'; expected one of id"
            " (did you mean 'id'?)",
        ),
    ],
)
def test_exclude_list_that_could_exclude_nobody_is_refused(recipients: dict[str, Any], told: str):
    """Nobody who asked not to be written to is written to because of a typing error."""
    campaign = make_campaign(recipients=recipients)
    for look in (lambda: make_reader().check(campaign), lambda: plan(campaign)):
        with pytest.raises(ListError) as caught:
            look()
        assert str(caught.value) == told


PHONE = {"value": "{{ item.phone }}", "type": "phone", "region": "{{ item.country }}"}


def test_recipient_excludes_whatever_its_format():
    """Numbers are compared as they are dialled, each list's own country filled in."""
    include = [{"phone": "(020) 7946 0001", "country": "GB"}, {"phone": "+44 20 7946 0002"}]
    exclude = [{"phone": "0044-20-79460001"}, {"phone": None}, {"phone": "  "}]
    recipients = {
        "include": [{"items": include}],
        "exclude": [{"items": exclude, "recipient": "{{ item.phone }}"}],
    }
    planned = plan(make_campaign(recipients=recipients, recipient=PHONE))
    assert fates(planned) == [(1, "all", "skipped", "excluded"), (2, "all", "pending", None)]
    assert [(each.recipient, each.dedupe_key) for each in planned] == [
        ("+442079460001", None),
        ("+442079460002", "+442079460002"),
    ]


def test_recipient_excludes_by_email_ignoring_the_case_of_the_domain():
    """Addresses are compared in the one spelling by which answers find them."""
    recipients = {
        "include": [{"items": [{"mail": "ann@EXAMPLE.com"}, {"mail": "bob@example.com"}]}],
        "exclude": [{"items": [{"address": " ann@example.com "}], "recipient": "{{ item.address }}"}],
    }
    recipient = {"value": "{{ item.mail }}", "type": "email"}
    planned = plan(make_campaign(recipients=recipients, recipient=recipient))
    assert [each.status for each in planned] == ["skipped", "pending"]


@pytest.mark.parametrize(
    ("item", "template", "told"),
    [
        ({"phone": "n/a"}, "{{ item.phone }}", "the phone number holds something else than digits"),
        ({"phone": "020 7946 0001"}, "{{ item.phone }}", "has no country code and no region is given"),
        ({"phone": 5.5}, "{{ item.phone }}", "the recipient is neither text nor a whole number"),
        ({"phone": "x"}, "{{ item.phone | int + 'x' }}", "recipients.exclude[0].recipient: "),
    ],
)
def test_exclude_entry_that_cannot_be_compared_fails_the_plan(item: dict[str, Any], template: str, told: str):
    """What cannot be read cannot be excluded: the row is named and nobody is written to."""
    exclude = [{"phone": "+442079460001"}, item]
    recipients = {
        "include": [{"items": phones("+442079460002")}],
        "exclude": [{"items": exclude, "recipient": template}],
    }
    with pytest.raises(PlanError, match=r"what cannot be read cannot be excluded$") as caught:
        plan(make_campaign(recipients=recipients, recipient={"value": "{{ item.phone }}", "type": "phone"}))
    assert str(caught.value).startswith("recipients.exclude[0] row ")
    assert told in str(caught.value)


def test_exclude_entry_is_named_by_its_row(monkeypatch: pytest.MonkeyPatch):
    """The row is counted through the whole exclude list, not within a frame."""
    monkeypatch.setattr(sources, "FRAME_ROWS", 2)
    exclude = phones("+442079460001", "+442079460002", "+442079460003", "bad")
    recipients = {
        "include": [{"items": phones("+442079460009")}],
        "exclude": [{"items": exclude, "recipient": "{{ item.phone }}"}],
    }
    with pytest.raises(PlanError, match=r"^recipients\.exclude\[0\] row 4: "):
        plan(make_campaign(recipients=recipients, recipient={"value": "{{ item.phone }}", "type": "phone"}))


def test_several_exclude_lists_add_up():
    """By key and by recipient, in any number."""
    include = [{"id": number, "phone": f"+44207946000{number}"} for number in range(1, 6)]
    recipients = {
        "include": [{"items": include, "key": "id"}],
        "exclude": [
            {"items": [{"id": 1}], "key": "id"},
            {"items": [{"customer": "2"}], "key": "customer"},
            {"items": [{"customer": "3"}], "key": "customer"},
            {"items": [{"tel": "+442079460004"}], "recipient": "{{ item.tel }}"},
            {"items": [], "key": "id"},
        ],
    }
    planned = plan(make_campaign(recipients=recipients))
    assert [each.reason for each in planned] == ["excluded"] * 4 + [None]


def test_half_filled_exclude_entry_stops_the_plan():
    """Where only some of the cells that name a person are empty, nobody may be forgotten in silence."""
    recipients = {
        "include": [{"items": [{"phone": "1"}]}],
        "exclude": [
            {"items": [{"cc": "49", "num": "1"}, {"num": "2"}], "recipient": "{{ item.cc }}{{ item.num }}"}
        ],
    }
    with pytest.raises(PlanError, match=r"row 2: .*cannot be excluded"):
        plan(make_campaign(recipients=recipients))
