"""Managed lists: what is on them, who put it there, and what plans read of them."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from clarion import list_imports
from clarion.errors import InputError, ListError, RowError, SettingError
from clarion.ledger import managed_lists
from clarion.ledger.database import Database
from clarion.ledger.managed_lists import (
    ItemChanges,
    ListRecord,
    NewList,
    all_lists,
    change_item,
    create_list,
    find_list,
    item_pages,
    list_changes,
    managed_list_frames,
    put_item,
    remove_item,
)
from clarion.list_imports import Asked, Imported, ImportSource, clear_list, delete_list, import_items
from clarion.models.lists import FileList, ManagedList
from tests.unit.campaigns import make_campaign, make_reader, plan

ME = Asked(who="me@here", why="why")
BY_ME = {"who": "me@here", "why": "why"}


@pytest.fixture(autouse=True)
def _small_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of each, for a handful of items."""
    monkeypatch.setattr(list_imports, "FRAME_ROWS", 3)
    monkeypatch.setattr(list_imports, "DELETED_AT_ONCE", 2)
    monkeypatch.setattr(managed_lists, "DELETED_AT_ONCE", 2)
    monkeypatch.setattr(managed_lists, "PAGE_ITEMS", 3)


def make_list(database: Database, name: str = "vips", key: str = "id") -> None:
    """Creates a list."""
    with database.write() as connection:
        create_list(connection, NewList(name=name, key=key), **BY_ME)


def record(database: Database, name: str = "vips") -> ListRecord:
    """The list as it is now."""
    with database.read() as connection:
        return find_list(connection, name)


def items(database: Database, name: str = "vips") -> list[dict[str, Any]]:
    """Everything on a list."""
    return [item for page in item_pages(database, record(database, name)) for item in page]


def changes_of(database: Database, name: str = "vips") -> list[tuple[Any, ...]]:
    """What was done to a list, the newest first."""
    columns = ("change", "key", "inserted", "updated", "deleted", "who", "reason")
    with database.read() as connection:
        return [tuple(row[name] for name in columns) for row in list_changes(connection, name, limit=99)]


def import_rows(
    database: Database,
    tmp_path: Path,
    rows: Any,
    *,
    replace: bool = False,
    name: str = "f.json",
    **options: Any,
) -> Imported:
    """Imports rows, or a text as it is."""
    text = rows if isinstance(rows, str) else json.dumps(rows)
    (tmp_path / name).write_text(text, encoding="utf-8")
    source = ImportSource(file=FileList(file=name, **options), base=tmp_path, replace=replace)
    return import_items(database, "vips", source, asked=ME)


def numbered(*numbers: int, **more: Any) -> list[dict[str, Any]]:
    """Items with these ids."""
    return [{"id": number, **more} for number in numbers]


def test_list_is_created_once(database: Database):
    """With its description and tags; a name that is taken is told."""
    new = NewList(name="vips", key="Customer Id", description="whom we call", tags=["a", "b"])
    with database.write() as connection:
        made = create_list(connection, new, **BY_ME)
    assert (made.name, made.key, made.description, made.tags, made.items_count) == (
        "vips", "Customer Id", "whom we call", ("a", "b"), 0,
    )  # fmt: skip
    with pytest.raises(InputError, match="there is a list 'vips'"), database.write() as connection:
        create_list(connection, new, **BY_ME)
    assert changes_of(database) == [("create", None, 0, 0, 0, "me@here", "why")]
    make_list(database, "a")
    with database.read() as connection:
        assert [each.name for each in all_lists(connection)] == ["a", "vips"]


@pytest.mark.parametrize(
    "given",
    [{"name": ""}, {"name": "x" * 256}, {"name": " x"}, {"key": ""}, {"description": "x" * 1025},
     {"tags": ["x"] * 11}, {"tags": ["x" * 16]}, {"tags": [""]}],
)  # fmt: skip
def test_list_keeps_its_bounds(given: Mapping[str, Any]):
    """Those of the Campaign API."""
    NewList(name="x" * 255, key="id", description="x" * 1024, tags=["x" * 15] * 10)
    with pytest.raises(ValidationError):
        NewList.model_validate({"name": "a", "key": "id"} | given)


def test_unknown_list_is_told_with_the_nearest(database: Database):
    """Wherever it is named."""
    with pytest.raises(InputError, match="`clarion list create` first"):
        record(database)
    make_list(database)
    with pytest.raises(InputError, match=r"there is no managed list 'vip'; expected one of vips \(did you"):
        record(database, "vip")
    with pytest.raises(InputError, match="'vip'"):
        next(managed_list_frames(database, ManagedList(list="vip")))


def test_import_upserts_by_key(database: Database, tmp_path: Path):
    """Over several transactions; each item replaces the one with its key, whole; one row tells of it."""
    make_list(database)
    first = import_rows(database, tmp_path, numbered(1, 2, 3, 4, 5, a="x"))
    assert first.changes == ItemChanges(inserted=5)
    second = import_rows(database, tmp_path, numbered(4, 5, 6, 7, b=True))
    assert second.changes == ItemChanges(inserted=2, updated=2)
    assert items(database) == [*numbered(1, 2, 3, a="x"), *numbered(4, 5, 6, 7, b=True)]
    assert record(database).items_count == 7
    assert changes_of(database)[:2] == [
        ("import", None, 2, 2, 0, "me@here", "why"), ("import", None, 5, 0, 0, "me@here", "why"),
    ]  # fmt: skip


def test_import_of_the_same_key_twice_keeps_the_last(database: Database, tmp_path: Path):
    """In one transaction or in two; 7, 7.0 and "7" are one key; every row is counted."""
    make_list(database)
    rows = [{"id": "7", "n": 1}, {"id": 7.0, "n": 2}, {"id": 8, "n": 3}, {"id": 7, "n": 4}]
    assert import_rows(database, tmp_path, rows).changes == ItemChanges(inserted=2, updated=2)
    assert items(database) == [{"id": 7, "n": 4}, {"id": 8, "n": 3}]


def test_import_that_replaces_takes_the_others_away(database: Database, tmp_path: Path):
    """What is not in the file, and nothing that came onto the list since."""
    make_list(database)
    import_rows(database, tmp_path, numbered(1, 2, 3, 4, 5, 6))
    done = import_rows(database, tmp_path, numbered(2, 9), replace=True)
    assert done.changes == ItemChanges(inserted=1, updated=1, deleted=5)
    assert items(database) == numbered(2, 9)
    assert changes_of(database)[0] == ("import", None, 1, 1, 5, "me@here", "why")


def test_import_of_a_csv_is_of_text(database: Database, tmp_path: Path):
    """As of every list; empty cells are missing."""
    make_list(database)
    done = import_rows(database, tmp_path, "id,name\n0049,Ann\n7,\n", name="f.csv")
    assert done.changes.inserted == 2
    assert items(database) == [{"id": "0049", "name": "Ann"}, {"id": "7"}]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([*numbered(1, 2, 3, 4), {"name": "x"}], "f.json: item 5 has no 'id'"),
        ([{"id": "x" * 1001}], "item 1 has no 'id', or one of more than 1,000 bytes"),
        ([{"Id": 1}], "f.json: has no attribute 'id', by which the list 'vips' knows its items"),
        ([{"Id": 1}], "did you mean 'Id'"),
        ('[{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4', "f.json"),
    ],
)
def test_import_with_a_mistake_stores_nothing(database: Database, tmp_path: Path, rows: Any, told: str):
    """However late in the file it is."""
    make_list(database)
    with pytest.raises(ListError) as caught:
        import_rows(database, tmp_path, rows)
    assert told in str(caught.value)
    assert (items(database), record(database).items_count, len(changes_of(database))) == ([], 0, 1)


def test_import_leaves_bad_rows_out_where_it_is_asked_to(database: Database, tmp_path: Path):
    """And counts them; but takes nobody off the list who may be in one of them."""
    make_list(database)
    rows = [{"id": 1}, {"x": 2}, {"id": 3}]
    done = import_rows(database, tmp_path, rows, on_bad_row="skip")
    assert (done.rows, done.bad_rows, done.changes.inserted) == (2, 1, 2)
    assert [(each.file, each.line) for each in done.bad_row_examples] == [("f.json", 2)]
    with pytest.raises(SettingError, match="--on-bad-row skip"):
        import_rows(database, tmp_path, rows, on_bad_row="skip", replace=True)


def test_empty_file_does_not_clear_a_list(database: Database, tmp_path: Path):
    """An export that failed must not take everybody away."""
    make_list(database)
    import_rows(database, tmp_path, numbered(1))
    with pytest.raises(SettingError, match="would clear the list"):
        import_rows(database, tmp_path, [], replace=True)
    assert import_rows(database, tmp_path, []).changes == ItemChanges()
    assert items(database) == numbered(1)


def test_import_that_is_cut_off_is_told_as_far_as_it_came(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The row of the change, the count and the items agree; made again, it stores the rest."""
    make_list(database)
    stored: list[int] = []

    def cut(rows: int) -> None:
        stored.append(rows)
        if len(stored) == 2:
            raise KeyboardInterrupt

    (tmp_path / "f.json").write_text(json.dumps(numbered(*range(1, 9))))
    source = ImportSource(file=FileList(file="f.json"), base=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        import_items(database, "vips", source, asked=ME, on_rows=cut)
    assert stored == [3, 6]
    assert (len(items(database)), record(database).items_count) == (6, 6)
    assert changes_of(database)[0][:4] == ("import", None, 6, 0)
    assert import_items(database, "vips", source, asked=ME).changes == ItemChanges(inserted=2, updated=6)


def test_list_is_cleared_and_deleted(database: Database, tmp_path: Path):
    """In small transactions; who did it outlives the list."""
    make_list(database)
    import_rows(database, tmp_path, numbered(1, 2, 3, 4, 5))
    assert clear_list(database, "vips", asked=ME).deleted == 5
    assert (items(database), record(database).items_count) == ([], 0)
    import_rows(database, tmp_path, numbered(1, 2, 3))
    assert delete_list(database, "vips", asked=ME).deleted == 3
    with pytest.raises(InputError):
        record(database)
    assert [row[0] for row in changes_of(database)] == ["delete", "import", "clear", "import", "create"]
    assert changes_of(database)[0][4] == 3
    make_list(database)
    assert items(database) == []


def test_single_items_are_put_changed_and_removed(database: Database):
    """As handlers do it: each with its row, the count right, the key kept."""
    make_list(database)
    with database.write() as connection:
        assert put_item(connection, "vips", {"id": 7, "a": 1}, **BY_ME) == ItemChanges(inserted=1)
        assert put_item(connection, "vips", {"id": "7", "b": 2}, **BY_ME) == ItemChanges(updated=1)
        assert change_item(connection, "vips", "7", {"c": 3, "b": None}, **BY_ME)
        assert not change_item(connection, "vips", "8", {"c": 3}, **BY_ME)
    assert items(database) == [{"id": "7", "b": None, "c": 3}]
    with database.write() as connection:
        assert remove_item(connection, "vips", "7", **BY_ME)
        assert not remove_item(connection, "vips", "7", **BY_ME)
    assert record(database).items_count == 0
    assert [row[:2] for row in changes_of(database)] == [
        ("remove", "7"), ("change", "7"), ("put", "7"), ("put", "7"), ("create", None),
    ]  # fmt: skip


@pytest.mark.parametrize("item", [{}, {"id": None}, {"id": " "}, {"id": "a\0"}, {"id": 1, "x": ["\0"]}])
def test_item_that_cannot_be_kept_is_refused(database: Database, item: dict[str, Any]):
    """Without a key, or with what a database does not hold."""
    make_list(database)
    with pytest.raises(ListError), database.write() as connection:
        put_item(connection, "vips", item, **BY_ME)


def test_key_of_an_item_does_not_change(database: Database):
    """It would be another item."""
    make_list(database)
    with database.write() as connection:
        put_item(connection, "vips", {"id": 7}, **BY_ME)
        with pytest.raises(ListError, match="is the key of the list"):
            change_item(connection, "vips", "7", {"id": 8}, **BY_ME)


def test_frames_have_the_columns_of_the_whole_list(database: Database, tmp_path: Path):
    """In the order of the keys; what an item has not is missing; an empty list is no frame."""
    make_list(database)
    assert list(managed_list_frames(database, ManagedList(list="vips"))) == []
    import_rows(database, tmp_path, [{"id": "b", "x": 1}, {"id": "a"}, {"id": "c"}, {"id": "d", "y": [2]}])
    frames = list(managed_list_frames(database, ManagedList(list="vips")))
    assert [list(frame.columns) for frame in frames] == [["id", "x", "y"]] * 2
    whole = pd.concat(frames)
    assert list(whole.index) == [0, 1, 2, 3]
    assert list(whole["id"]) == ["a", "b", "c", "d"]
    assert list(whole["x"]) == [None, 1, None, None]


def test_job_includes_and_excludes_managed_lists(database: Database, tmp_path: Path):
    """By key and by recipient, as any other list."""
    make_list(database)
    phones = [{"id": n, "phone": f"+44770090000{n}"} for n in range(1, 6)]
    import_rows(database, tmp_path, phones)
    make_list(database, "out")
    make_list(database, "gone", key="tel")
    with database.write() as connection:
        put_item(connection, "out", {"id": "2"}, **BY_ME)
        put_item(connection, "gone", {"tel": "00447700900004"}, **BY_ME)
    lists = {
        "include": [{"list": "vips", "key": "id"}],
        "exclude": [{"list": "out", "key": "id"}, {"list": "gone", "recipient": "{{ item.tel }}"}],
    }
    campaign = make_campaign(recipients=lists, recipient={"value": "{{ item.phone }}", "type": "phone"})
    reader = make_reader()
    reader.managed_items = partial(managed_list_frames, database)
    reader.check(campaign)
    reasons = [item.reason for item in plan(campaign, reader=reader)]
    assert reasons == [None, "excluded", None, "excluded", None]
    missing = make_campaign(recipients={"include": [{"list": "vps"}]})
    with pytest.raises(InputError, match="did you mean 'vips'"):
        reader.check(missing)


def test_reader_without_a_database_has_no_managed_lists():
    """It says so instead of planning for nobody."""
    campaign = make_campaign(recipients={"include": [{"list": "vips"}]})
    with pytest.raises(ListError, match="there is no managed list 'vips'"):
        make_reader().check(campaign)


def test_row_error_is_of_the_row(database: Database, tmp_path: Path):
    """So that a preview can tell trouble in the rows from trouble with the list."""
    make_list(database)
    with pytest.raises(RowError):
        import_rows(database, tmp_path, [{"x": 1, "id": None}, {"id": 2}])
