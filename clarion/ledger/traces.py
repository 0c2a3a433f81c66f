"""Finding what the ledger knows of a person. All of it is read: a million items take seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Row, Table
from sqlmodel import AutoString

from clarion.ledger.answer_tables import (
    EVENT,
    MANAGED_LIST,
    MANAGED_LIST_ITEM,
    REACTION,
    SUPPRESSION,
    SUPPRESSION_CHANGE,
)
from clarion.ledger.reactions import started_run_key
from clarion.ledger.runs import REACTIONS
from clarion.ledger.tables import ATTEMPT, RUN, RUN_ITEM, LedgerTable
from clarion.lists.keys import key_text
from clarion.mentions import Mentions
from clarion.signing import keyed_hash

LOOKED_UP = 500
"""Keys asked for in one statement."""

JSON_COLUMNS = frozenset({"run_item.item", "run_item.fallback", "event.data", "managed_list_item.item"})
JOB_COLUMN = "run.job"
ID_COLUMN = "event.provider_event_id"
"""By which a redelivery is known: no two events of an endpoint have the same."""

ListItem = tuple[int, str]
"""A managed list and the key of an item on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A row beside those of the person that mentions the address: its key, and its texts before and after.

    `after` is None for a row whose key is what mentions it: there is no such row without it.
    """

    table: Table
    key: Mapping[str, Any]
    before: Mapping[str, str]
    after: Mapping[str, str | None] | None


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What the ledger knows of a person: the keys of their rows, and other rows that mention the address."""

    items: Sequence[int]
    events: Sequence[int]
    list_items: Sequence[ListItem]
    mentions: Sequence[Mention]

    @property
    def any(self) -> bool:
        """Whether there is anything to erase."""
        return bool(self.items or self.events or self.list_items or self.mentions)

    def counts(self) -> dict[str, int]:
        """How many rows of each kind."""
        return {
            "run_items": len(self.items),
            "events": len(self.events),
            "list_items": len(self.list_items),
            "mentions": len(self.mentions),
        }


def find_traces(connection: Connection, mentions: Mentions) -> Traces:
    """Everything in the ledger that is about a person.

    The person's are run items whose recipient, now or at another step, is the address; those without a
    recipient (a plan could make none) that have it among their attributes; the events of these, and those
    from the address; the reactions to them, whomever they went to; and the items of managed lists that have
    it for their key or among their attributes, or that became these run items. Of an id that is no phone
    number and no e-mail address, attributes are not asked: it may be anybody's age.
    """
    items, events = _with_reactions(connection, _items(connection, mentions), _events(connection, mentions))
    list_items = _list_items(connection, mentions) | _lists_of(connection, sorted(items))
    known: dict[str, set[Any]] = {
        RUN_ITEM.name: set(items),
        EVENT.name: set(events),
        MANAGED_LIST_ITEM.name: list_items,
    }
    swept = LedgerTable.metadata.sorted_tables if mentions.are_told else ()
    return Traces(
        items=sorted(items),
        events=sorted(events),
        list_items=sorted(list_items),
        mentions=[each for table in swept for each in _swept(connection, mentions, table, known)],
    )


def _items(connection: Connection, mentions: Mentions) -> set[int]:
    columns = (RUN_ITEM.c.recipient, RUN_ITEM.c.item, RUN_ITEM.c.fallback)
    found = sa.select(RUN_ITEM.c.id, *columns).where(_maybe(mentions, *columns))
    items = {row.id for row in connection.execute(found) if _is_of(row, mentions)}
    called = sa.select(ATTEMPT.c.run_item_id, ATTEMPT.c.recipient).where(
        _maybe(mentions, ATTEMPT.c.recipient)
    )
    items |= {row.run_item_id for row in connection.execute(called) if mentions.is_all_of(row.recipient)}
    return items


def _is_of(row: Row[Any], mentions: Mentions) -> bool:
    if mentions.is_all_of(row.recipient):
        return True
    if row.fallback is not None and mentions.is_a_value_of(orjson.loads(row.fallback)):
        return True
    nobody = row.recipient is None and mentions.are_told
    return nobody and mentions.is_a_value_of(orjson.loads(row.item))


def _events(connection: Connection, mentions: Mentions) -> set[int]:
    columns = (EVENT.c.recipient, EVENT.c.sender)
    found = sa.select(EVENT.c.id, *columns).where(_maybe(mentions, *columns))
    return {row.id for row in connection.execute(found) if any(map(mentions.is_all_of, row[1:]))}


def completed(connection: Connection, traces: Traces) -> Traces:
    """Traces with what has come of them since they were found."""
    items, events = _with_reactions(connection, set(traces.items), set(traces.events))
    return replace(traces, items=sorted(items), events=sorted(events))


def _with_reactions(connection: Connection, items: set[int], events: set[int]) -> tuple[set[int], set[int]]:
    """Run items and events with all that came of them: answers to the items, reactions to the events.

    A reaction has the item's attributes and quotes the event, also where it told somebody else of it.
    """
    all_items, all_events = set[int](), set[int]()
    while items or events:
        all_items, all_events = all_items | items, all_events | events
        answers = _keys(connection, sa.select(EVENT.c.id), EVENT.c.run_item_id, items)
        reactions = _keys(connection, _SENT, REACTION.c.event_id, events)
        started = _keys(connection, _STARTED, REACTION.c.event_id, events)
        items, events = (reactions | started) - all_items, answers - all_events
    return all_items, all_events


_SENT = (  # one that could not be made is noted with the item that was answered, which may be another's
    sa.select(REACTION.c.run_item_id)
    .join(RUN, RUN.c.id == REACTION.c.run_id)
    .where(REACTION.c.kind == "action", RUN.c.kind == REACTIONS)
)
_STARTED = (
    sa.select(RUN_ITEM.c.id)
    .join_from(REACTION, EVENT, EVENT.c.id == REACTION.c.event_id)
    .join(RUN, RUN.c.run_key == started_run_key(EVENT.c.uid, REACTION.c.handler))
    .join(RUN_ITEM, RUN_ITEM.c.run_id == RUN.c.id)
    .where(REACTION.c.kind == "run_job")
)


def _keys(
    connection: Connection, query: sa.Select[tuple[int]], column: sa.Column[Any], among: set[int]
) -> set[int]:
    """The keys that a query finds whose column is among some, which may be many."""
    given, found = sorted(among), set[int]()
    for begin in range(0, len(given), LOOKED_UP):
        found.update(connection.scalars(query.where(column.in_(given[begin : begin + LOOKED_UP]))))
    return found


def _list_items(connection: Connection, mentions: Mentions) -> set[ListItem]:
    table = MANAGED_LIST_ITEM
    found = table.select().where(_maybe(mentions, table.c.key, table.c.item))
    return {
        (row.list_id, row.key)
        for row in connection.execute(found)
        if mentions.is_all_of(row.key)
        or (mentions.are_told and mentions.is_a_value_of(orjson.loads(row.item)))
    }


def _lists_of(connection: Connection, items: Sequence[int]) -> set[ListItem]:
    """The items of managed lists that run items were planned from, which may spell the address in any way."""
    lists = {row.name: row for row in connection.execute(sa.select(MANAGED_LIST))}
    found: set[ListItem] = set()
    for begin in range(0, len(items) if lists else 0, LOOKED_UP):
        query = sa.select(RUN_ITEM.c.item, RUN.c.job).join_from(RUN_ITEM, RUN, RUN.c.id == RUN_ITEM.c.run_id)
        for row in connection.execute(query.where(RUN_ITEM.c.id.in_(items[begin : begin + LOOKED_UP]))):
            item = orjson.loads(row.item)
            for name in _named_lists(row.job) & lists.keys():
                key = key_text(item.get(lists[name].key))
                found.update([(lists[name].id, key)] if key else [])
    return found & set(_existing(connection, found))


def _existing(connection: Connection, keys: set[ListItem]) -> Iterator[ListItem]:
    table = MANAGED_LIST_ITEM
    for list_id, key in keys:
        this = (table.c.list_id == list_id) & (table.c.key == key)
        if connection.scalar(sa.select(table.c.list_id).where(this)) is not None:
            yield list_id, key


def _named_lists(job: str) -> set[str]:
    sources = orjson.loads(job).get("recipients", {}).get("include", ())
    return {source["list"] for source in sources if source.get("list")}


def _maybe(mentions: Mentions, *columns: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """What no row with a mention misses; Python looks closer."""
    return sa.or_(*(sa.func.lower(column).like(mentions.like, escape="\\") for column in columns))


def _texts(table: Table) -> list[sa.Column[Any]]:
    return [column for column in table.c if isinstance(column.type, sa.String | AutoString)]


_HIDDEN_APART = frozenset({SUPPRESSION.name, SUPPRESSION_CHANGE.name})
"""Their addresses stay as a hash: that is the suppression list's own affair."""


def _swept(
    connection: Connection, mentions: Mentions, table: Table, known: Mapping[str, set[Any]]
) -> Iterator[Mention]:
    """The rows of a table that mention the address beside those known to be the person's."""
    texts = [
        column for column in _texts(table) if not (table.name in _HIDDEN_APART and column.name == "address")
    ]
    if not texts:
        return
    keys = list(table.primary_key.columns)
    columns = {column.name: column for column in (*keys, *texts)}
    for row in connection.execute(sa.select(*columns.values()).where(_maybe(mentions, *texts))).mappings():
        key = {column.name: row[column.name] for column in keys}
        place = next(iter(key.values())) if len(key) == 1 else tuple(key.values())
        before = {column.name: row[column.name] for column in texts if mentions.are_in(row[column.name])}
        if before and place not in known.get(table.name, ()):
            yield Mention(table=table, key=key, before=before, after=_after(table, key, before, mentions))


def _after(
    table: Table, key: Mapping[str, Any], before: Mapping[str, str], mentions: Mentions
) -> dict[str, str | None] | None:
    if before.keys() & key.keys():
        return None
    return {name: _without(table, name, text, mentions) for name, text in before.items()}


def _without(table: Table, name: str, text: str, mentions: Mentions) -> str | None:
    column = f"{table.name}.{name}"
    if column == JOB_COLUMN:
        return _job_without(text, mentions)
    if column == ID_COLUMN:
        return keyed_hash(text)
    if column in JSON_COLUMNS:
        return mentions.without_in_json(text)
    left = mentions.without(text)
    return "" if left is None and not table.c[name].nullable else left


def _job_without(text: str, mentions: Mentions) -> str:
    """A run's job without the address; of the items that are written out in it, the person's are emptied."""
    job = orjson.loads(text)
    written_out = [
        source
        for sources in job.get("recipients", {}).values()
        for source in sources or ()
        if source.get("items")
    ]
    for source in written_out:
        source["items"] = [_emptied(item, mentions) for item in source["items"]]
    return orjson.dumps(mentions.without_in(job)).decode()


def _emptied(item: dict[str, Any], mentions: Mentions) -> dict[str, Any]:
    return dict.fromkeys(item) if mentions.is_a_value_of(item) else item
