"""A preview says what a run would do: the same counts, the same requests, nothing sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion import sources
from clarion.campaign import Campaign
from clarion.errors import JobError, PlanError
from clarion.ledger.database import Database
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import NewRun, create_run, get_run
from clarion.ledger.summaries import WHOLE_RUN, count_items
from clarion.models.credential_kinds import dummy_credentials
from clarion.models.job import ITEM_STATUSES
from clarion.planning import Planner
from clarion.previewing import Preview, preview
from clarion.reporting import counts_of, reasons_of
from clarion.sending.auth import RequestAuth
from clarion.sources import ListReader
from tests.unit.campaigns import NOW, make_campaign, make_reader
from tests.unit.test_planning_properties import BARRED, EXCLUDED, ITEM, SEGMENTS, WHOLE

PHONE = {"value": "{{ item.phone }}", "type": "phone", "region": "{{ item.country }}"}
TEXT = {
    "command": {
        "url": "https://api.test/send",
        "payload": {"to": "{{ recipient }}", "text": "{{ item.text }}"},
    }
}


def previewed(
    campaign: Campaign,
    *,
    samples: int = 5,
    auths: dict[str, RequestAuth] | None = None,
    reader: ListReader | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Preview:
    """The preview of a campaign with inline lists."""
    return preview(
        campaign, reader=reader or make_reader(), auths=auths or {}, samples=samples, on_rows=on_rows
    )


def of_items(*items: dict[str, Any], **changes: Any) -> Campaign:
    """A campaign that sends every item its text."""
    return make_campaign(recipients={"include": [{"items": list(items)}]}, actions={"send": TEXT}, **changes)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A ledger of the module's own, in a file."""
    return Database(f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'clarion.db'}")


def planned_counts(database: Database, campaign: Campaign) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run of the campaign has in the ledger once it is planned: counts and reasons, by segment."""
    run = create_run(database, NewRun(job_name=campaign.job.name, job="{}", base="."), alongside=True)
    writer = PlanWriter(database, run.id)
    writer.begin()
    planner = Planner(campaign=campaign, run=run.scope(), now=NOW, reader=make_reader())
    for items in planner.plan():
        writer.write(items)
    writer.finish(limit=None, bad_rows=0)
    metrics = count_items(database, run.id)
    names = [WHOLE_RUN, *(segment.name for segment in campaign.segments)]
    counts = {name: counts_of(metrics, name) for name in names}
    assert counts[WHOLE_RUN] == get_run(database, run.id).counts
    return counts, {name: reasons_of(metrics, "skipped", name) for name in names}


@st.composite
def campaigns(draw: st.DrawFn) -> Campaign:
    """A job with duplicates, excludes by key and by recipient, and items that fit nowhere."""
    recipients = {
        "include": [{"items": [WHOLE, *draw(st.lists(ITEM, max_size=12))], "key": "id"}],
        "exclude": [
            {"items": [{"id": each} for each in draw(EXCLUDED)], "key": "id"},
            {"items": [{"phone": each} for each in draw(BARRED)], "recipient": "{{ item.phone }}"},
        ],
    }
    matching = draw(st.sampled_from(["first", "all"]))
    return make_campaign(recipients=recipients, recipient=PHONE, segments=SEGMENTS, matching=matching)


@settings(deadline=None, max_examples=40)
@given(campaign=campaigns(), rows=st.integers(1, 5))
def test_preview_counts_what_a_run_plans(database: Database, campaign: Campaign, rows: int):
    """Duplicates within a frame and across frames, excludes and all: the ledger comes to the same numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "FRAME_ROWS", rows)
        found = previewed(campaign)
        counts, reasons = planned_counts(database, campaign)
    for name in counts:
        segment = None if name == WHOLE_RUN else name
        assert found.counts(segment) == counts[name]
        assert found.skipped_by_reason(segment) == reasons[name]


def test_first_of_two_with_one_recipient_is_sent_to():
    """The second is a duplicate, in whatever format its number is; under `all`, in each segment apart."""
    items = [
        {"phone": "+442079460001", "text": "a"},
        {"phone": "0044 20 7946 0001", "text": "b"},
        {"phone": "+442079460002", "text": "c"},
    ]
    recipient = {"value": "{{ item.phone }}", "type": "phone"}
    found = previewed(of_items(*items, recipient=recipient))
    assert (found.counts()["pending"], found.skipped_by_reason()) == (2, {"duplicate": 1})
    assert [sample["row"] for sample in found.samples] == [1, 3]
    twice = [{"name": name, "action": "send"} for name in ("a", "b")]
    found = previewed(of_items(*items, recipient=recipient, segments=twice, matching="all"))
    assert (found.counts()["pending"], found.skipped_by_reason("b")) == (4, {"duplicate": 1})


def test_duplicate_is_found_across_frames(monkeypatch: pytest.MonkeyPatch):
    """However far apart two rows are, one recipient is sent to once."""
    monkeypatch.setattr(sources, "FRAME_ROWS", 1)
    numbers = ["1", "2", "1", "1", "2", "3"]
    found = previewed(of_items(*[{"phone": number, "text": "a"} for number in numbers]))
    assert [sample["row"] for sample in found.samples] == [1, 2, 6]
    assert found.skipped_by_reason() == {"duplicate": 3}


def test_counts_add_up_and_have_every_status():
    """`total` is the sum; statuses that a plan does not have are nought."""
    counts = previewed(of_items({"phone": "1", "text": "a"}, {"phone": "2"}, {})).counts()
    assert list(counts) == ["total", *ITEM_STATUSES]
    assert counts["total"] == sum(counts[status] for status in ITEM_STATUSES) == 3
    assert (counts["pending"], counts["skipped"]) == (1, 2)


def test_problems_name_row_segment_and_reason():
    """Each row whose request does not render is listed, and counted as what a run would skip."""
    found = previewed(of_items({"phone": "1", "text": "a"}, {"phone": "2"}, {"text": "b"}))
    assert [(each.row, each.segment, each.problem) for each in found.problems] == [
        (2, "all", "actions.send.command.payload.text: item has no 'text'"),
    ]
    assert found.skipped_by_reason() == {"template-error": 1, "invalid-recipient": 1}


def test_problem_fails_the_preview_as_it_would_the_plan():
    """Under `on_template_error: fail` the person learns it from the preview."""
    with pytest.raises(PlanError, match=r"^row 2: "):
        previewed(of_items({"phone": "1", "text": "a"}, {"phone": "2"}, on_template_error="fail"))


def test_samples_are_the_first_requests_as_they_would_be_sent():
    """A sample is the request in words: no more of them than asked for."""
    items = [{"phone": str(number), "text": f"Hello {number}"} for number in range(1, 5)]
    found = previewed(of_items(*items), samples=2)
    assert found.samples == [
        {
            "row": number,
            "segment": "all",
            "recipient": str(number),
            "method": "POST",
            "url": "https://api.test/send",
            "headers": {
                "content-type": "application/json",
                "idempotency-key": f"preview-{number}.0.0",
            },
            "body": {"to": str(number), "text": f"Hello {number}"},
        }
        for number in (1, 2)
    ]
    assert previewed(of_items(*items), samples=0).samples == []


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ({"method": "GET"}, None),
        ({"form": {"a": "1 2", "b": ""}}, {"a": "1 2", "b": ""}),
        ({"body": "<p>{{ item.text }}</p>"}, "<p>Hello</p>"),
        ({"body": "no json", "headers": {"Content-Type": "application/json"}}, "no json"),
        ({"method": "GET", "headers": {"Content-Type": "application/json"}}, None),
        ({"body": '{"a": 1}', "headers": {"Content-Type": "application/json; charset=utf-8"}}, {"a": 1}),
    ],
)
def test_sample_shows_any_body(command: dict[str, Any], body: Any):
    """A body is shown as what it is, also one that is not what its content type says."""
    action = {"command": {"url": "https://api.test"} | command}
    campaign = make_campaign(
        recipients={"include": [{"items": [{"phone": "1", "text": "Hello"}]}]}, actions={"send": action}
    )
    assert [sample["body"] for sample in previewed(campaign).samples] == [body]


@pytest.mark.parametrize(
    "reference", ["bearer-token/main", "basic-auth/main", "api-key/main", "vonage-application/main"]
)
def test_sample_shows_no_secret(reference: str):
    """Credentials stand in a sample as stars."""
    auth = dummy_credentials(reference).masked_auth()
    plain = previewed(of_items({"phone": "1", "text": "a"}))
    masked = previewed(of_items({"phone": "1", "text": "a"}), auths={"send": auth})
    assert masked.samples != plain.samples
    assert "****" in str(masked.samples)


class Refusing(RequestAuth):
    """Credentials that fit no request."""

    def apply(self, request: httpx.Request) -> httpx.Request:  # noqa: ARG002  # the interface is its
        """Refuses."""
        raise JobError("the body is no JSON object")


@pytest.mark.parametrize("samples", [0, 1, 5])
def test_credentials_that_do_not_fit_are_a_problem_of_every_row(samples: int):
    """A run would skip every row: the counts do not depend on how many samples are shown."""
    items = [{"phone": str(number), "text": "a"} for number in range(3)]
    found = previewed(of_items(*items), auths={"send": Refusing()}, samples=samples)
    assert found.counts()["skipped"] == 3
    assert [each.row for each in found.problems] == [1, 2, 3]


def test_progress_and_bad_rows_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A long preview can be followed; rows that could not be read are counted."""
    monkeypatch.setattr(sources, "FRAME_ROWS", 2)
    (tmp_path / "a.csv").write_text("phone,text\n1,a\n2,b\nbad\n3,c\n")
    campaign = make_campaign(
        recipients={"include": [{"file": "a.csv", "on_bad_row": "skip"}]}, actions={"send": TEXT}
    )
    seen: list[int] = []
    found = previewed(campaign, reader=make_reader(tmp_path), on_rows=seen.append)
    assert (seen, found.bad_rows, found.counts()["pending"]) == ([2, 3], 1, 3)
