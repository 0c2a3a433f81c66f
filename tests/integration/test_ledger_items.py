"""Reading run items: for people, for exports, and as a list for another run."""

import pytest

from clarion.errors import InputError
from clarion.ledger import items as ledger_items
from clarion.ledger.database import Database
from clarion.ledger.items import ITEM_FIELDS, read_items, run_list_frames
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import set_status
from clarion.models.job import RunList
from tests.integration.ledger_runs import claimed, new_run, planned, planned_run, result, settled, skipped


@pytest.fixture(params=[1, 3, 5_000])
def page_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pages of different sizes."""
    monkeypatch.setattr(ledger_items, "PAGE_ROWS", request.param)
    return request.param


def test_items_are_read_in_the_order_of_the_list(database: Database, page_rows: int):
    """A duplicate stands where its row stands, each item on one page only."""
    items = [planned(row, recipient=f"r{row % 3}") for row in range(1, 11)]
    items[4:5] = [planned(5, segment=segment, recipient=segment) for segment in ("gold", "für alle", "rest")]
    run_id = planned_run(database, items)
    planned_run(database, 3)
    pages = list(read_items(database, run_id))
    assert max(map(len, pages)) <= page_rows
    rows = [item["row"] for page in pages for item in page]
    assert rows == [1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9, 10]
    assert len({item["id"] for page in pages for item in page}) == 12


def test_items_are_chosen_by_status_and_reason(database: Database, page_rows: int):
    """Only those that are asked for, with what is known of each."""
    run_id = planned_run(database, [planned(1), planned(2), skipped(3, "excluded"), planned(4)])
    first, second, _ = claimed(database, run_id, "t")
    settled(
        database,
        run_id,
        "t",
        result(first, "failed", reason="refused", status_code=422),
        result(second, "failed", reason="expired"),
    )

    def rows(**chosen: list[str]) -> list[int]:
        return [item["row"] for page in read_items(database, run_id, **chosen) for item in page]

    assert rows(statuses=["failed"]) == [1, 2]
    assert rows(statuses=["failed", "skipped"]) == [1, 2, 3]
    assert rows(reasons=["refused", "excluded"]) == [1, 3]
    assert rows(statuses=["skipped"], reasons=["refused"]) == []
    (page,) = read_items(database, run_id, reasons=["refused"])
    assert set(page[0]) == {"id", *ITEM_FIELDS, "item"}
    assert (page[0]["status_code"], page[0]["item"]) == (422, {"n": 1})


def test_run_is_a_list_of_its_items(database: Database, page_rows: int):
    """Frames of the chosen items' attributes, numbered through."""
    run_id = planned_run(database, 4)
    one, _, three, _ = claimed(database, run_id, "t")
    settled(database, run_id, "t", result(one, "failed"), result(three, "failed"))
    set_status(database, run_id, "completed")
    frames = list(run_list_frames(database, RunList(run="last", status=["failed"]), job_name="renewals"))
    assert [n for frame in frames for n in frame["n"]] == [1, 3]
    assert [row for frame in frames for row in frame.index] == [0, 1]


def test_last_run_of_a_list_is_the_last_that_ended(database: Database):
    """Neither a rehearsal, nor another job's run, nor the one that is being planned."""
    wanted = planned_run(database, 1)
    set_status(database, wanted, "completed")
    for changes in ({"kind": "rehearsal"}, {"job_name": "other"}):
        run_id = planned_run(database, 2, **changes)
        set_status(database, run_id, "completed")
    PlanWriter(database, new_run(database).id).begin()
    (frame,) = run_list_frames(database, RunList(run="last"), job_name="renewals")
    assert len(frame) == 1


def test_list_of_an_unknown_run_is_refused(database: Database):
    """A job that names a run which is not there is told so before anything is planned."""
    with pytest.raises(InputError, match="there is no run"):
        next(run_list_frames(database, RunList(run="abcdef"), job_name="renewals"))
