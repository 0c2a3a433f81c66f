"""Forgetting a person: what the ledger knows of an address is erased, what was counted stays.

Of the run items that went to the address, or were to, everything of the person goes: recipient, attributes,
texts of errors; so do the answers to them, and the reactions to these. Wherever else the address is mentioned
it is taken out alone. That nothing more is sent to it stays, as a keyed hash.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.addresses import address_of
from clarion.errors import InputError, LedgerError, RunConflictError
from clarion.ledger.answer_tables import EVENT, MANAGED_LIST, MANAGED_LIST_CHANGE, MANAGED_LIST_ITEM
from clarion.ledger.database import BUSY_TIMEOUT_SECONDS, Database, utc_now
from clarion.ledger.reactions import STARTED, lock_handling
from clarion.ledger.suppressed_items import count_moves, end_items
from clarion.ledger.suppressions import hide_address, scopes_of, suppress
from clarion.ledger.tables import ATTEMPT, FALLBACK_RECIPIENT, RUN, RUN_ITEM
from clarion.ledger.traces import ListItem, Mention, Traces, completed, find_traces
from clarion.mentions import Mentions
from clarion.suppression import EVERYTHING

REASON = "forgotten"
NOTHING = "{}"
AT_ONCE = 500
LOG_WAIT_MS = 2_000
MOST_ROUNDS = 5
"""How often it is looked again for what came in meanwhile."""


def look_up(database: Database, recipient: str) -> Traces:
    """What would be erased.

    Raises:
        InputError: It is no address.
    """
    with database.read() as connection:
        return find_traces(connection, _mentions(recipient))


def forget(database: Database, recipient: str, *, who: str) -> dict[str, int]:
    """Erases a person, and suppresses the address for everything; once more changes nothing.

    What waits to be sent to them is given up. The counts of runs and reports stay, but for what moves from
    pending to skipped.

    Args:
        database: The ledger.
        recipient: The address, in any spelling.
        who: On whose word.

    Returns:
        How many rows were erased: `run_items`, `events`, `list_items`, and `mentions` elsewhere.

    Raises:
        InputError: It is no address.
        RunConflictError: A message to them is on its way, or a run is being planned. Nothing was changed.
        LedgerError: More and more about them comes in; what was found before is erased.
    """
    mentions = _mentions(recipient)
    erased: Counter[str] = Counter()
    for round_number in range(MOST_ROUNDS):
        with database.read() as connection:
            traces = find_traces(connection, mentions)
        if round_number and not traces.any:
            _empty_log(database)
            return dict(erased)
        with database.write() as connection:
            lock_handling(connection)  # nobody else makes a reaction of what is read here
            _overwrite(connection)
            traces = completed(connection, traces)
            _erase(connection, mentions, traces, who=who)
        erased.update(traces.counts())
    raise LedgerError("more about this person keeps coming in; once more in a moment")


def _mentions(recipient: str) -> Mentions:
    address = address_of(recipient)
    if not address:
        raise InputError("is empty", where="RECIPIENT", expected="a phone number, an address or an id")
    return Mentions(address)


def _erase(connection: Connection, mentions: Mentions, traces: Traces, *, who: str) -> None:
    _give_up(connection, traces.items)
    if EVERYTHING not in scopes_of(connection, [mentions.address]).get(mentions.address, {}):
        suppress(connection, mentions.address, scope=EVERYTHING, reason=REASON, who=who)
    hide_address(connection, mentions.address)
    for some in _chunks(traces.items):
        _erase_items(connection, some)
    for some in _chunks(traces.events):
        _erase_events(connection, some, mentions)
    for list_item in traces.list_items:
        _erase_list_item(connection, list_item, who=who)
    for mention in traces.mentions:
        _take_out(connection, mention)


def _give_up(connection: Connection, items: Sequence[int]) -> None:
    """Ends what waits to be sent. Items are locked in the order of their ids, as everyone does.

    Raises:
        RunConflictError: One of them is on its way, or a run is being planned, that may hold more of them.
    """
    planning = connection.scalar(sa.select(RUN.c.uid).where(RUN.c.status == "planning").limit(1))
    if planning is not None:
        raise RunConflictError(f"run {planning} is being planned", expected="another try when it sends")
    pending: list[int] = []
    for some in _chunks(items):
        query = sa.select(RUN_ITEM.c.id, RUN_ITEM.c.status, RUN_ITEM.c.run_id).where(RUN_ITEM.c.id.in_(some))
        rows = connection.execute(query.order_by(RUN_ITEM.c.id).with_for_update()).all()
        sending = next((row.run_id for row in rows if row.status == "sending"), None)
        if sending is not None:
            uid = connection.scalar(sa.select(RUN.c.uid).where(RUN.c.id == sending))
            raise RunConflictError(
                f"a message of run {uid} to them is on its way", expected="another try in a moment"
            )
        pending += [row.id for row in rows if row.status == "pending"]
    for some in _chunks(pending):
        count_moves(connection, end_items(connection, some, status="pending"))


def _erase_items(connection: Connection, items: Sequence[int]) -> None:
    of_items = RUN_ITEM.c.id.in_(items)
    erased = dict.fromkeys(
        ("recipient", "dedupe_key", "error", "fallback", "limit_keys", "timezone", "delivery_reason")
    )
    connection.execute(RUN_ITEM.update().where(of_items).values(item=NOTHING, **erased))
    calls = ATTEMPT.update().where(ATTEMPT.c.run_item_id.in_(items))
    connection.execute(calls.values(recipient="", error=None))
    connection.execute(FALLBACK_RECIPIENT.delete().where(FALLBACK_RECIPIENT.c.run_item_id.in_(items)))
    _erase_started(connection, items)


def _erase_started(connection: Connection, items: Sequence[int]) -> None:
    """Empties the item that stands in the job of a run that a handler has started for it alone."""
    runs = sa.select(RUN.c.id, RUN.c.job).where(
        RUN.c.kind == STARTED, RUN.c.id.in_(sa.select(RUN_ITEM.c.run_id).where(RUN_ITEM.c.id.in_(items)))
    )
    for run in connection.execute(runs).all():
        job = orjson.loads(run.job)
        for source in job.get("recipients", {}).get("include", ()):
            if source.get("items"):
                source["items"] = [dict.fromkeys(item) for item in source["items"]]
        emptied = RUN.update().where(RUN.c.id == run.id).values(job=orjson.dumps(job).decode())
        connection.execute(emptied)


def _erase_events(connection: Connection, events: Sequence[int], mentions: Mentions) -> None:
    """Empties events. One that waits to be handled waits no more: who has read it before finds that."""
    of_events = EVENT.c.id.in_(events)
    erased = dict.fromkeys(("recipient", "text", "error"))
    handled = {"state": "handled", "handled_at": sa.func.coalesce(EVENT.c.handled_at, utc_now())}
    connection.execute(EVENT.update().where(of_events).values(data=NOTHING, **handled, **erased))
    senders = sa.select(EVENT.c.sender).where(of_events, EVENT.c.sender.is_not(None)).distinct()
    theirs = [sender for sender in connection.scalars(senders) if mentions.is_all_of(sender)]
    connection.execute(EVENT.update().where(of_events, EVENT.c.sender.in_(theirs)).values(sender=None))


def _erase_list_item(connection: Connection, list_item: ListItem, *, who: str) -> None:
    """Takes an item off its list; the log of the list keeps that one was, and no key of it."""
    list_id, key = list_item
    table, changes = MANAGED_LIST_ITEM, MANAGED_LIST_CHANGE
    this = (table.c.list_id == list_id) & (table.c.key == key)
    count = connection.execute(table.delete().where(this)).rowcount
    fewer = {"items_count": MANAGED_LIST.c.items_count - count, "updated_at": utc_now()}
    named = MANAGED_LIST.update().where(MANAGED_LIST.c.id == list_id).values(fewer)
    name = connection.execute(named.returning(MANAGED_LIST.c.name)).scalar_one()
    of_key = changes.update().where(changes.c.list_name == name, changes.c.key == key)
    connection.execute(of_key.values(key=None))
    if count:
        row = {"list_name": name, "change": "forget", "deleted": count, "inserted": 0, "updated": 0}
        connection.execute(changes.insert().values(**row, reason=REASON, who=who, changed_at=utc_now()))


def _take_out(connection: Connection, mention: Mention) -> None:
    """Takes the address out of a row, unless its text has changed since: the next round finds it then."""
    table = mention.table
    same = {**mention.key, **mention.before}
    this = sa.and_(*(table.c[name] == value for name, value in same.items()))
    if mention.after is None:
        connection.execute(table.delete().where(this))
    else:
        connection.execute(table.update().where(this).values(mention.after))


def _chunks(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    return (keys[begin : begin + AT_ONCE] for begin in range(0, len(keys), AT_ONCE))


def _overwrite(connection: Connection) -> None:
    """Has SQLite overwrite what it deletes from here on. PostgreSQL does so when it vacuums."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def _empty_log(database: Database) -> None:
    """Empties SQLite's write-ahead log, which still has what was erased; not while somebody else reads it."""
    if database.dialect != "sqlite":
        return
    raw = database.engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout={LOG_WAIT_MS}")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}")
        cursor.execute("PRAGMA secure_delete=OFF").fetchall()
        cursor.close()
    finally:
        raw.close()
