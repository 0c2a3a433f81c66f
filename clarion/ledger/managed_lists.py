"""Managed lists: items that Clarion keeps in its database, each under the text of its key attribute.

Whoever writes to a list locks its row first, so that its count is right and the report of an import true.
Every change leaves a row that says who made it, when and why: one a command, however many items it touched.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import orjson
import pandas as pd
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy import Connection, Row
from sqlalchemy.dialects import postgresql, sqlite

from clarion.errors import InputError, ListError, nearest
from clarion.ledger.answer_tables import MANAGED_LIST, MANAGED_LIST_CHANGE, MANAGED_LIST_ITEM
from clarion.ledger.database import Database, utc_now
from clarion.ledger.texts import as_parameter, is_among
from clarion.lists.keys import key_text
from clarion.lists.tables import attributes_of, value_frame
from clarion.lists.values import spoilt_text
from clarion.models.base import Model, Name, Text
from clarion.models.lists import ManagedList

PAGE_ITEMS = 5_000
DELETED_AT_ONCE = 10_000
"""Items of one transaction: a running campaign commits its claims in between."""

MOST_KEY_BYTES = 1_000
"""An index of PostgreSQL holds 2,700 bytes a row."""


class NewList(Model):
    """A list that is to be, within the bounds that the Campaign API had."""

    name: Name
    key: Text = Field(min_length=1, max_length=255)
    description: Text | None = Field(default=None, max_length=1024)
    tags: list[Annotated[Text, Field(min_length=1, max_length=15)]] = Field(
        default_factory=list, max_length=10
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRecord:
    """A managed list; `key` is the attribute that identifies an item."""

    id: int
    name: str
    description: str | None
    tags: tuple[str, ...]
    key: str
    items_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ItemChanges:
    """How many items were new, replaced, and taken away."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __add__(self, other: "ItemChanges") -> "ItemChanges":
        return ItemChanges(
            self.inserted + other.inserted, self.updated + other.updated, self.deleted + other.deleted
        )


def create_list(connection: Connection, new: NewList, *, who: str, why: str) -> ListRecord:
    """Creates a list without items.

    Raises:
        InputError: There is one of that name.
    """
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(MANAGED_LIST)
    row = {
        "name": new.name,
        "description": new.description,
        "tags": orjson.dumps(new.tags).decode(),
        "key": new.key,
        "items_count": 0,
        "created_at": utc_now(),
        "updated_at": utc_now(),
    }
    made = insert.values(row).on_conflict_do_nothing().returning(MANAGED_LIST.c.id)
    if connection.execute(made).first() is None:
        raise InputError(f"there is a list {new.name!r}", where="list", expected="another name")
    log_change(connection, new.name, "create", who=who, why=why)
    return find_list(connection, new.name)


def find_list(connection: Connection, name: str, *, lock: bool = False) -> ListRecord:
    """The list of that name.

    Args:
        connection: An open transaction, a write one to lock.
        name: Its whole name.
        lock: Nobody else may write to it before the end of the transaction.

    Raises:
        InputError: There is none; the message names the nearest.
    """
    query = MANAGED_LIST.select().where(MANAGED_LIST.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is not None:
        return _record(row)
    names = [each.name for each in all_lists(connection)]
    raise InputError(
        f"there is no managed list {name!r}",
        where="list",
        expected=f"one of {', '.join(names)}" if names else "`clarion list create` first",
        nearest=nearest(name, names),
    )


def all_lists(connection: Connection) -> list[ListRecord]:
    """Every list, in the order of their names."""
    return [_record(row) for row in connection.execute(MANAGED_LIST.select().order_by(MANAGED_LIST.c.name))]


def item_key(record: ListRecord, item: Mapping[str, Any]) -> str:
    """The text of an item's key.

    Raises:
        ListError: It has none, or one that is too long.
    """
    key = key_text(item.get(record.key))
    if key is None or not key.strip():
        raise ListError(f"the item has no {record.key!r}, by which the list {record.name!r} knows its items")
    if problem := spoilt_text(key):
        raise ListError(f"the key holds {problem}")
    if len(key.encode()) > MOST_KEY_BYTES:
        raise ListError("the key is too long", expected=f"at most {MOST_KEY_BYTES:,} bytes")
    return key


def put_items(connection: Connection, record: ListRecord, items: Mapping[str, str]) -> ItemChanges:
    """Stores items in place of those with their keys, and counts them; the caller writes down why.

    Args:
        connection: An open write transaction that has locked the list.
        record: The list.
        items: Key to item, as JSON.
    """
    if not items:
        return ItemChanges()
    keys = {"of_list": record.id, "keys": as_parameter(connection, items)}
    known = connection.execute(_KNOWN[connection.dialect.name], keys).scalar_one()
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(MANAGED_LIST_ITEM)
    new = insert.values(updated_at=utc_now())
    stored = new.on_conflict_do_update(
        index_elements=["list_id", "key"],
        set_={"item": new.excluded.item, "updated_at": new.excluded.updated_at},
    )
    rows = [{"list_id": record.id, "key": key, "item": item} for key, item in sorted(items.items())]
    connection.execute(stored, rows)
    changes = ItemChanges(inserted=len(items) - known, updated=known)
    _count(connection, record, changes)
    return changes


def put_item(
    connection: Connection, name: str, item: Mapping[str, Any], *, who: str, why: str
) -> ItemChanges:
    """Stores one item, in place of the one with its key.

    Raises:
        InputError: There is no such list.
        ListError: The item has no key.
    """
    record = find_list(connection, name, lock=True)
    if problem := spoilt_text(dict(item)):
        raise ListError(f"the item holds {problem}")
    key = item_key(record, item)
    changes = put_items(connection, record, {key: orjson.dumps(item).decode()})
    log_change(connection, name, "put", key=key, changes=changes, who=who, why=why)
    return changes


def change_item(
    connection: Connection, name: str, key: str, attributes: Mapping[str, Any], *, who: str, why: str
) -> bool:
    """Changes attributes of an item, the others stay; False where there is no such item.

    Raises:
        InputError: There is no such list.
        ListError: The key itself would change.
    """
    record = find_list(connection, name, lock=True)
    item = get_item(connection, record, key)
    if item is None:
        return False
    changed = {**item, **attributes}
    if item_key(record, changed) != key:
        raise ListError(f"{record.key!r} is the key of the list {name!r}", expected="another attribute")
    changes = put_items(connection, record, {key: orjson.dumps(changed).decode()})
    log_change(connection, name, "change", key=key, changes=changes, who=who, why=why)
    return True


def remove_item(connection: Connection, name: str, key: str, *, who: str, why: str) -> bool:
    """Takes an item off a list; False where it is not on it.

    Raises:
        InputError: There is no such list.
    """
    record = find_list(connection, name, lock=True)
    this = (MANAGED_LIST_ITEM.c.list_id == record.id) & (MANAGED_LIST_ITEM.c.key == key)
    changes = ItemChanges(deleted=connection.execute(MANAGED_LIST_ITEM.delete().where(this)).rowcount)
    if changes.deleted:
        _count(connection, record, changes)
        log_change(connection, name, "remove", key=key, changes=changes, who=who, why=why)
    return bool(changes.deleted)


def get_item(connection: Connection, record: ListRecord, key: str) -> dict[str, Any] | None:
    """The item with that key; None where there is none."""
    item = connection.scalar(
        sa.select(MANAGED_LIST_ITEM.c.item).where(
            MANAGED_LIST_ITEM.c.list_id == record.id, MANAGED_LIST_ITEM.c.key == key
        )
    )
    return None if item is None else orjson.loads(item)


def delete_some(connection: Connection, record: ListRecord, *, before: datetime | None = None) -> ItemChanges:
    """Takes away up to DELETED_AT_ONCE items, of those only that nobody has stored since `before`."""
    chosen = [MANAGED_LIST_ITEM.c.list_id == record.id]
    if before is not None:
        chosen.append(MANAGED_LIST_ITEM.c.updated_at < before)
    some = sa.select(MANAGED_LIST_ITEM.c.key).where(*chosen).limit(DELETED_AT_ONCE)
    gone = MANAGED_LIST_ITEM.delete().where(
        MANAGED_LIST_ITEM.c.list_id == record.id, MANAGED_LIST_ITEM.c.key.in_(some)
    )
    changes = ItemChanges(deleted=connection.execute(gone).rowcount)
    _count(connection, record, changes)
    return changes


def delete_list_row(connection: Connection, record: ListRecord) -> ItemChanges:
    """Deletes a list that the transaction has locked, with what is left on it."""
    left = MANAGED_LIST_ITEM.delete().where(MANAGED_LIST_ITEM.c.list_id == record.id)
    changes = ItemChanges(deleted=connection.execute(left).rowcount)
    connection.execute(MANAGED_LIST.delete().where(MANAGED_LIST.c.id == record.id))
    return changes


def log_change(
    connection: Connection,
    name: str,
    change: str,
    *,
    who: str,
    why: str,
    key: str | None = None,
    changes: ItemChanges = ItemChanges(),
) -> int:
    """Writes down who did what to a list; the number of that row, for `log_more`."""
    row = {
        "list_name": name, "change": change, "key": key, "who": who, "reason": why, "changed_at": utc_now(),
        "inserted": changes.inserted, "updated": changes.updated, "deleted": changes.deleted,
    }  # fmt: skip
    written = MANAGED_LIST_CHANGE.insert().values(row).returning(MANAGED_LIST_CHANGE.c.id)
    return connection.execute(written).scalar_one()


def log_more(connection: Connection, number: int, changes: ItemChanges) -> None:
    """Adds to a change that takes several transactions."""
    log = MANAGED_LIST_CHANGE
    more = {name: log.c[name] + getattr(changes, name) for name in ("inserted", "updated", "deleted")}
    connection.execute(log.update().where(log.c.id == number).values(more))


def list_changes(connection: Connection, name: str, *, limit: int) -> list[dict[str, Any]]:
    """Who changed a list, the newest change first."""
    log = MANAGED_LIST_CHANGE
    query = log.select().where(log.c.list_name == name).order_by(log.c.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def item_pages(database: Database, record: ListRecord, *, after: str = "") -> Iterator[list[dict[str, Any]]]:
    """The items of a list in pages, in the order of their keys. Memory stays flat.

    A change meanwhile may or may not be in what is read, item by item.
    """
    place = MANAGED_LIST_ITEM.c.key
    query = (
        sa.select(place, MANAGED_LIST_ITEM.c.item)
        .where(MANAGED_LIST_ITEM.c.list_id == record.id)
        .order_by(place)
        .limit(PAGE_ITEMS)
    )
    while True:
        with database.read() as connection:
            rows = connection.execute(query.where(place > after)).all()
        if not rows:
            return
        after = rows[-1].key
        yield [orjson.loads(row.item) for row in rows]


def attributes(database: Database, record: ListRecord) -> list[str]:
    """Every attribute that any item of a list has, the key first."""
    found = {record.key: None}
    for page in item_pages(database, record):
        found.update(dict.fromkeys(attributes_of(page)))
    return list(found)


def managed_list_frames(database: Database, source: ManagedList) -> Iterator[pd.DataFrame]:
    """The items of a managed list; every frame has the columns of the whole list, in `object` columns.

    Raises:
        InputError: There is no such list.
    """
    with database.read() as connection:
        record = find_list(connection, source.list)
    columns = attributes(database, record)
    start = 0
    for page in item_pages(database, record):
        yield value_frame(page, columns=columns, start=start)
        start += len(page)


def _count(connection: Connection, record: ListRecord, changes: ItemChanges) -> None:
    more = MANAGED_LIST.c.items_count + (changes.inserted - changes.deleted)
    counted = MANAGED_LIST.update().where(MANAGED_LIST.c.id == record.id)
    connection.execute(counted.values(items_count=more, updated_at=utc_now()))


def _record(row: Row[Any]) -> ListRecord:
    columns: dict[str, Any] = row._asdict()
    columns["tags"] = tuple(orjson.loads(columns["tags"]))
    return ListRecord(**columns)


_KNOWN = {
    dialect: sa.select(sa.func.count()).where(
        MANAGED_LIST_ITEM.c.list_id == sa.bindparam("of_list"),
        is_among(MANAGED_LIST_ITEM.c.key, "keys", dialect=dialect),
    )
    for dialect in ("sqlite", "postgresql")
}
