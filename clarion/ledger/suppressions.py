"""The suppression list: addresses that get nothing more, of everything, of a channel, or of a job.

One list a database. A suppression is found by `address_of`, so that it holds however a list, a provider or a
person spells the address. Whoever adds or removes one is written down, with the time and the reason.

Somebody who was forgotten stays suppressed: their address is kept as a keyed hash alone. One row tells that
there are such, so that nobody computes hashes where there are none, and by which key: with another key it
cannot be told who they are, so nothing is looked up with it.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from clarion.addresses import address_of
from clarion.errors import SettingError
from clarion.ledger.answer_tables import SUPPRESSION, SUPPRESSION_CHANGE
from clarion.ledger.database import Database, utc_now
from clarion.ledger.suppressed_items import Changes, Moving, count_moves, move_pending
from clarion.ledger.texts import as_parameter, is_among
from clarion.signing import SECRET_KEY_SETTING, key_fingerprint, key_place, keyed_hash
from clarion.suppression import CHANNEL, EVERYTHING, JOB, Scopes

BY_WORD = "opt-out word"
"""What made a suppression that an opt-in word takes back; its reason begins with it and names the event."""

_WORD_OF_EVENT = f"{BY_WORD} (event "

HASH = "hash:"
HIDDEN = f"{HASH} "
"""Stands in the list where there are hashes, with the fingerprint of their key as its reason. No address ends
with a blank, so nobody can be it."""

_HASHED = re.compile(rf"{HASH}([0-9a-f]{{16}}):[0-9a-f]{{64}}")


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
        reason: Why, for a person to read; no address in it. Who was suppressed by an opt-out word is so for
            this reason from now on.
        who: On whose word.

    Raises:
        SettingError: It is the hash of an address, made with another key.
    """
    new = NewSuppression(recipient=address_or_recipient, scope=scope, reason=reason, who=who)
    suppressed = add_suppressions(connection, [new])
    count_moves(connection, suppressed.changes)
    return suppressed


def add_suppressions(connection: Connection, new: Sequence[NewSuppression]) -> Suppressed:
    """As `suppress`, in bulk; the caller counts the changes of the runs, by `count_moves`."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for each in new:
        row = {"address": address_of(each.recipient), "scope": each.scope}
        key = (row["address"], row["scope"])
        if key not in rows or _takes_over(each.reason, rows[key]["reason"]):
            rows[key] = row | {"reason": each.reason, "who": each.who}
    if not rows:
        return Suppressed(0, Counter())
    hashes = [hashed[1] for address, _ in rows if (hashed := _HASHED.fullmatch(address))]
    if hashes:  # of an export: hashes stay hashes
        _note_key(connection, hashes)
    # In one order for all, so that two who suppress the same do not wait for one another in a circle.
    ordered = [rows[key] for key in sorted(rows)]
    added = _insert(connection, ordered)
    _log(connection, "add", added)
    _log(connection, "add", _take_over(connection, ordered) if len(added) < len(ordered) else [])
    moving = [Moving(address_of(each.recipient), each.recipient, each.scope) for each in new]
    return Suppressed(len(added), move_pending(connection, moving))


def unsuppress(
    connection: Connection, address_or_recipient: str, *, scope: str = EVERYTHING, reason: str, who: str
) -> bool:
    """Removes a suppression; False where there was none in that scope. What was given up stays given up.

    Raises:
        SettingError: Nobody can tell whether there is one: those who were forgotten have another key.
    """
    in_scope = SUPPRESSION.c.scope == scope
    names_of(connection, address_or_recipient)
    return bool(remove_suppressions(connection, address_or_recipient, in_scope, reason=reason, who=who))


def remove_suppressions(
    connection: Connection,
    address_or_recipient: str,
    which: sa.ColumnElement[bool],
    *,
    reason: str,
    who: str,
) -> int:
    """Removes those suppressions of an address that `which` holds for; how many.

    With another key than that of the hashes, what stands under a hash stays.
    """
    try:
        names = names_of(connection, address_or_recipient)
    except SettingError:
        names = [address_of(address_or_recipient)]
    gone = SUPPRESSION.delete().where(SUPPRESSION.c.address.in_(names), which)
    rows = connection.execute(gone.returning(SUPPRESSION.c.address, SUPPRESSION.c.scope)).mappings()
    removed = [{**row, "reason": reason, "who": who} for row in rows]
    _log(connection, "remove", removed)
    if any(_HASHED.fullmatch(row["address"]) for row in removed):
        _forget_key(connection)
    return len(removed)


def suppressed(
    connection: Connection, recipients: Iterable[str], *, job: str, channels: Collection[str]
) -> frozenset[str]:
    """Those of `recipients` that a job may not reach by any of some channels."""
    wanted = {EVERYTHING, f"{JOB}{job}", *(f"{CHANNEL}{channel}" for channel in channels)}
    found = scopes_of(connection, recipients)
    return frozenset(recipient for recipient, scopes in found.items() if not wanted.isdisjoint(scopes))


def scopes_of(connection: Connection, recipients: Iterable[str]) -> dict[str, dict[str, str]]:
    """By recipient, as it was given, its suppressions: scope to reason. Who has none is not among it.

    Raises:
        SettingError: Those who were forgotten were hashed with another key: they could be among them.
    """
    addresses = {recipient: address_of(recipient) for recipient in recipients}
    if not addresses:
        return {}
    by_address = _looked_up(connection, [HIDDEN, *addresses.values()])
    if (mark := by_address.pop(HIDDEN, None)) is not None:
        _check_key(mark[EVERYTHING])
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
    """What an address may stand under in the list: itself, and its hash where somebody was forgotten.

    A hash stands under itself alone, whoever made it.

    Raises:
        SettingError: Those who were forgotten were hashed with another key.
    """
    address = address_of(address_or_recipient)
    mark = None if _HASHED.fullmatch(address) else _key_of_hashes(connection)
    if mark is None:
        return [address]
    _check_key(mark)
    return [address, hidden_address(address)]


def hidden_address(address: str) -> str:
    """What a suppression is kept under once its address was forgotten: a hash, and whose key made it."""
    return f"{HASH}{key_fingerprint()}:{keyed_hash(address)}"


def hide_address(connection: Connection, address_or_recipient: str) -> int:
    """Leaves a keyed hash of an address in the suppression list and in its history; how many suppressions.

    Who is suppressed stays suppressed.

    Raises:
        SettingError: Others were forgotten with another key.
    """
    address = address_of(address_or_recipient)
    hidden = hidden_address(address)
    _note_key(connection, [key_fingerprint()])
    same = SUPPRESSION.alias()
    firm = sa.select(same.c.scope).where(
        same.c.address == address, sa.not_(same.c.reason.startswith(_WORD_OF_EVENT))
    )
    taken_over = (SUPPRESSION.c.address == hidden) & by_word() & SUPPRESSION.c.scope.in_(firm)
    connection.execute(SUPPRESSION.delete().where(taken_over))
    known = sa.select(same.c.scope).where(same.c.address == hidden)
    twice = (SUPPRESSION.c.address == address) & SUPPRESSION.c.scope.in_(known)
    connection.execute(SUPPRESSION.delete().where(twice))
    count = 0
    for table in (SUPPRESSION_CHANGE, SUPPRESSION):
        count = connection.execute(
            table.update().where(table.c.address == address).values(address=hidden)
        ).rowcount
    _forget_key(connection)
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


def by_word() -> sa.ColumnElement[bool]:
    """Whether an opt-out word made a suppression, and nobody has given another reason since."""
    return SUPPRESSION.c.reason.startswith(_WORD_OF_EVENT)


def _takes_over(reason: str, stored: str) -> bool:
    """Whether a reason counts in place of the stored one, so that no opt-in word takes it back.

    What a handler does about the very event that holds the word does not: it is the same wish.
    """
    if not stored.startswith(_WORD_OF_EVENT) or reason.startswith(_WORD_OF_EVENT):
        return False
    return not reason.endswith(stored.removeprefix(BY_WORD))


def _take_over(connection: Connection, rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Gives suppressions of opt-out words the reasons of these rows; those of the rows that did."""
    stored = _looked_up(connection, [row["address"] for row in rows])
    taken = []
    for row in rows:
        before = stored.get(row["address"], {}).get(row["scope"], "")
        if _takes_over(row["reason"], before):
            this = (SUPPRESSION.c.address == row["address"]) & (SUPPRESSION.c.scope == row["scope"])
            changed = SUPPRESSION.update().where(this, by_word())
            connection.execute(changed.values(reason=row["reason"], who=row["who"]))
            taken.append(row)
    return taken


def _key_of_hashes(connection: Connection) -> str | None:
    """The fingerprint of the key of all hashes in the list; None where there are none."""
    return _looked_up(connection, [HIDDEN]).get(HIDDEN, {}).get(EVERYTHING)


def _check_key(fingerprint: str) -> None:
    if fingerprint != key_fingerprint():
        raise SettingError(
            "is another key than the one that those who were forgotten are known by, so nobody "
            "can tell whether they are among the recipients",
            where=key_place(),
            expected=f"that key, as {SECRET_KEY_SETTING} or as the file secret.key in CLARION_HOME",
        )


def _note_key(connection: Connection, fingerprints: Collection[str]) -> None:
    """Notes that there are hashes, and of which key: this installation's, and no other."""
    for fingerprint in fingerprints:
        _check_key(fingerprint)
    mark = {"address": HIDDEN, "scope": EVERYTHING, "reason": key_fingerprint(), "who": "clarion"}
    _insert(connection, [mark])
    _check_key(connection.scalar(_LOCK_KEY) or "")


def _forget_key(connection: Connection) -> None:
    """The key counts no more once the last hash is gone. Locked first: somebody may be hiding an address."""
    connection.execute(_LOCK_KEY)
    same = SUPPRESSION.alias()
    left = sa.exists().where(same.c.address.startswith(HASH), same.c.address != HIDDEN)
    connection.execute(SUPPRESSION.delete().where(SUPPRESSION.c.address == HIDDEN, sa.not_(left)))


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

_LOCK_KEY = sa.select(SUPPRESSION.c.reason).where(SUPPRESSION.c.address == HIDDEN).with_for_update()

_ANY = sa.select(sa.literal_column("1")).select_from(SUPPRESSION).limit(1)
