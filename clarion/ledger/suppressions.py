"""The suppression list: addresses that get nothing more, of everything, of a channel, or of a job.

One list a database. A suppression is found by `address_of`, so that it holds however a list, a provider or a
person spells the address. Whoever adds or removes one is written down, with the time and the reason.

Somebody who was forgotten stays suppressed: their address is kept as a keyed hash alone. The row `hash:`
tells that there are such, so that nobody computes hashes where there are none.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from clarion.addresses import address_of
from clarion.ledger.answer_tables import SUPPRESSION, SUPPRESSION_CHANGE
from clarion.ledger.database import Database, utc_now
from clarion.ledger.suppressed_items import Changes, Moving, count_moves, move_pending
from clarion.ledger.texts import as_parameter, is_among
from clarion.signing import keyed_hash
from clarion.suppression import CHANNEL, EVERYTHING, JOB, Scopes

HIDDEN = "hash:"
_HASHES = {"address": HIDDEN, "scope": EVERYTHING, "reason": "there are hashed addresses", "who": "clarion"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSuppression:
    """A suppression that is to be: of whom, from what, why, and on whose word."""

    recipient: str
    scope: str = EVERYTHING
    reason: str
    who: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """What a suppression came to: how many are new, and by run and counter what it did to items."""

    added: int
    changes: Changes

    @property
    def moved(self) -> int:
        """How many items that waited to be sent are not sent any more."""
        return -sum(change for (_, counter), change in self.changes.items() if counter == "pending")


def suppress(
    connection: Connection, address_or_recipient: str, *, scope: str = EVERYTHING, reason: str, who: str
) -> Suppressed:
    """Suppresses an address, and gives up at once what waits to be sent to it in unfinished runs.

    Args:
        connection: An open write transaction.
        address_or_recipient: In any spelling.
        scope: Of everything, `channel:NAME` or `job:NAME`.
        reason: Why, for a person to read; no address in it.
        who: On whose word.
    """
    new = NewSuppression(recipient=address_or_recipient, scope=scope, reason=reason, who=who)
    suppressed = add_suppressions(connection, [new])
    count_moves(connection, suppressed.changes)
    return suppressed


def add_suppressions(connection: Connection, new: Sequence[NewSuppression]) -> Suppressed:
    """As `suppress`, in bulk; the caller counts the changes of the runs, by `count_moves`."""
    rows = {}
    for each in new:
        row = {"address": address_of(each.recipient), "scope": each.scope}
        rows.setdefault(tuple(row.values()), row | {"reason": each.reason, "who": each.who})
    if not rows:
        return Suppressed(0, Counter())
    # In one order for all, so that two who suppress the same do not wait for one another in a circle.
    added = _insert(connection, [rows[key] for key in sorted(rows)])
    if any(row["address"].startswith(HIDDEN) for row in added):  # of an export: hashes stay hashes
        _insert(connection, [_HASHES])
    _log(connection, "add", added)
    moving = [Moving(address_of(each.recipient), each.recipient, each.scope) for each in new]
    return Suppressed(len(added), move_pending(connection, moving))


def unsuppress(
    connection: Connection, address_or_recipient: str, *, scope: str = EVERYTHING, reason: str, who: str
) -> bool:
    """Removes a suppression; False where there was none in that scope. What was given up stays given up."""
    in_scope = SUPPRESSION.c.scope == scope
    return bool(remove_suppressions(connection, address_or_recipient, in_scope, reason=reason, who=who))


def remove_suppressions(
    connection: Connection,
    address_or_recipient: str,
    which: sa.ColumnElement[bool],
    *,
    reason: str,
    who: str,
) -> int:
    """Removes those suppressions of an address that `which` holds for; how many."""
    named = SUPPRESSION.c.address.in_(names_of(connection, address_or_recipient))
    gone = SUPPRESSION.delete().where(named, which)
    rows = connection.execute(gone.returning(SUPPRESSION.c.address, SUPPRESSION.c.scope)).mappings()
    removed = [{**row, "reason": reason, "who": who} for row in rows]
    _log(connection, "remove", removed)
    return len(removed)


def suppressed(
    connection: Connection, recipients: Iterable[str], *, job: str, channels: Collection[str]
) -> frozenset[str]:
    """Those of `recipients` that a job may not reach by any of some channels."""
    wanted = {EVERYTHING, f"{JOB}{job}", *(f"{CHANNEL}{channel}" for channel in channels)}
    found = scopes_of(connection, recipients)
    return frozenset(recipient for recipient, scopes in found.items() if not wanted.isdisjoint(scopes))


def scopes_of(connection: Connection, recipients: Iterable[str]) -> dict[str, dict[str, str]]:
    """By recipient, as it was given, its suppressions: scope to reason. Who has none is not among it."""
    addresses = {recipient: address_of(recipient) for recipient in recipients}
    if not addresses:
        return {}
    by_address = _looked_up(connection, [HIDDEN, *addresses.values()])
    if by_address.pop(HIDDEN, None):
        hashed = {each: hidden_address(each) for each in addresses.values()}
        of_hash = _looked_up(connection, hashed.values())
        for address, hidden in hashed.items():
            if hidden in of_hash:
                by_address[address] = of_hash[hidden] | by_address.get(address, {})
    if not by_address:
        return {}
    return {given: by_address[address] for given, address in addresses.items() if address in by_address}


def scopes_for_plan(database: Database, recipients: Iterable[str]) -> Scopes:
    """As `scopes_of`, for a frame of a plan; costs next to nothing where nobody is suppressed."""
    with database.read() as connection:
        if connection.execute(_ANY).first() is None:
            return {}
        return scopes_of(connection, recipients)


def names_of(connection: Connection, address_or_recipient: str) -> list[str]:
    """What an address may stand under in the list: itself, and its hash where somebody was forgotten."""
    address = address_of(address_or_recipient)
    return [address, hidden_address(address)] if _looked_up(connection, [HIDDEN]) else [address]


def hidden_address(address: str) -> str:
    """What a suppression is kept under once its address was forgotten."""
    return f"{HIDDEN}{keyed_hash(address)}"


def hide_address(connection: Connection, address_or_recipient: str) -> int:
    """Leaves a keyed hash of an address in the suppression list and in its history; how many suppressions.

    Who is suppressed stays suppressed.
    """
    address = address_of(address_or_recipient)
    hidden = hidden_address(address)
    same = SUPPRESSION.alias()
    known = sa.select(same.c.scope).where(same.c.address == hidden)
    twice = (SUPPRESSION.c.address == address) & SUPPRESSION.c.scope.in_(known)
    connection.execute(SUPPRESSION.delete().where(twice))
    count = 0
    for table in (SUPPRESSION_CHANGE, SUPPRESSION):
        count = connection.execute(
            table.update().where(table.c.address == address).values(address=hidden)
        ).rowcount
    if count:
        _insert(connection, [_HASHES])
    return count


def last_change(connection: Connection) -> int:
    """The number of the newest change of the list."""
    newest = sa.select(sa.func.max(SUPPRESSION_CHANGE.c.id))
    return connection.execute(newest).scalar_one() or 0


def sweep(connection: Connection, run_id: int, *, after: int) -> None:
    """Gives up what a plan holds for whoever was suppressed while it was made, that is after a change."""
    change = SUPPRESSION_CHANGE
    rows = connection.execute(
        sa.select(change.c.address, change.c.scope).where(change.c.id > after, change.c.change == "add")
    )
    moving = [Moving(address, address, scope) for address, scope in rows]
    count_moves(connection, move_pending(connection, moving, run_id=run_id))


def _log(connection: Connection, change: str, rows: Sequence[Mapping[str, str]]) -> None:
    if rows:
        insert = SUPPRESSION_CHANGE.insert().values(change=change, changed_at=utc_now())
        connection.execute(insert, [dict(row) for row in rows])


def _insert(connection: Connection, rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Those of the rows that are new."""
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(SUPPRESSION)
    statement = insert.values(created_at=utc_now()).on_conflict_do_nothing()
    stored = statement.returning(SUPPRESSION.c.address, SUPPRESSION.c.scope)
    new = {tuple(row) for row in connection.execute(stored, [dict(row) for row in rows])}
    return [row for row in rows if (row["address"], row["scope"]) in new]


def _looked_up(connection: Connection, addresses: Iterable[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    given = {"addresses": as_parameter(connection, addresses)}
    for address, scope, reason in connection.execute(_LOOK_UP[connection.dialect.name], given):
        found.setdefault(address, {})[scope] = reason
    return found


_LOOK_UP = {
    dialect: sa.select(SUPPRESSION.c.address, SUPPRESSION.c.scope, SUPPRESSION.c.reason).where(
        is_among(SUPPRESSION.c.address, "addresses", dialect=dialect)
    )
    for dialect in ("sqlite", "postgresql")
}
"""Every claim runs it: put together once."""

_ANY = sa.select(sa.literal_column("1")).select_from(SUPPRESSION).limit(1)
