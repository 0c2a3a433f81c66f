"""Writing down what handlers do about a batch of events: one transaction for all of it.

Everything that the database itself can do is done in it, exactly once. What happens outside, another job's
run or a notification, is noted as `pending` and done afterwards.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.campaign import Campaign, CompiledHandler
from clarion.error_text import error_text, logged_error
from clarion.errors import InputError
from clarion.handlers import Occurrence
from clarion.ledger.attribution import AttributedEvent
from clarion.ledger.database import Database, utc_now
from clarion.ledger.managed_lists import change_item, find_list, item_key, put_item, remove_item
from clarion.ledger.outages import is_outage
from clarion.ledger.reaction_rate import LIMITED, TOO_OFTEN, Wanted, too_often
from clarion.ledger.reactions import (
    add_items,
    add_reactions,
    lock_handling,
    mark_handled,
    note_unhandled,
    open_reactions_run,
    reacted,
    reactions_run,
    runs_by_id,
    still_received,
)
from clarion.ledger.runs import RunRecord, count_changes
from clarion.ledger.suppressed_items import Changes
from clarion.ledger.suppressions import NewSuppression, add_suppressions, scopes_of
from clarion.ledger.webhooks import emit, enqueue
from clarion.lists.keys import key_text
from clarion.models.handlers import AddToList, Emit, RemoveFromList, SetAttribute, Unsubscribe
from clarion.models.subscribers import Subscriber
from clarion.planning import PlannedItem
from clarion.reactions import Change, who_answered
from clarion.suppression import caused_by, held_by, of_event, scope_of

logger = logging.getLogger(__name__)

STOPPED = "stopped"
REHEARSAL = "rehearsal"

OUTSIDE = frozenset({"run_job", "notify"})
"""Reactions that no transaction of the ledger can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReaction:
    """What a handler does about an event: an `item` to be sent, or the `change` of a built-in reaction.

    `run` is the campaign's whose event it is, `campaign` its job.
    """

    run: RunRecord
    campaign: Campaign
    handler: CompiledHandler
    event: AttributedEvent
    occurrence: Occurrence
    item: PlannedItem | None
    change: Change | None


def store_reactions(
    database: Database,
    event_ids: Sequence[int],
    new: Sequence[NewReaction],
    *,
    subscribers: Sequence[Subscriber],
) -> tuple[int, int]:
    """Handles events, with all reactions to them; how many events, and how many reactions, that were.

    Args:
        database: The ledger.
        event_ids: The events. Those that somebody else has handled meanwhile are left alone.
        new: The reactions to them, in the order of the events and of the job's handlers.
        subscribers: The installation's.
    """
    with database.write() as connection:
        lock_handling(connection)
        still = still_received(connection, event_ids)
        done = reacted(connection, event_ids)
        new = [
            each for each in new if each.event.id in still and (each.event.id, each.handler.name) not in done
        ]
        writer = _Writer(connection, new)
        writer.write()
        enqueue(connection, sorted(still), subscribers=subscribers)
        mark_handled(connection, still)
        writer.count()
    return len(still), len(new)


def store_apart(
    database: Database,
    event: AttributedEvent,
    new: Sequence[NewReaction],
    *,
    subscribers: Sequence[Subscriber],
) -> tuple[int, int]:
    """Handles one event as `store_reactions` does; what of it cannot be stored fails by itself.

    Each reaction has a savepoint of its own: the database refuses some values only when it gets them.
    """
    with database.write() as connection:
        lock_handling(connection)
        if not still_received(connection, [event.id]):
            return 0, 0
        done = reacted(connection, [event.id])
        new = [each for each in new if (event.id, each.handler.name) not in done]
        for each in sorted(new, key=lambda each: each.item is not None):  # in the order of `_Writer.write`
            _store_alone(connection, each)
        try:
            with connection.begin_nested():
                enqueue(connection, [event.id], subscribers=subscribers)
        except Exception as exc:
            if is_outage(exc):
                raise
            _log("An event could not be queued for its subscribers", exc, event=event.uid)
            note_unhandled(connection, event.id, error=f"its subscribers: {error_text(exc)}")
        mark_handled(connection, [event.id])
    return 1, len(new)


def _store_alone(connection: Connection, reaction: NewReaction) -> None:
    try:
        with connection.begin_nested():
            writer = _Writer(connection, [reaction])
            writer.write()
            writer.count()
    except Exception as exc:
        if is_outage(exc):
            raise
        _log("A reaction could not be stored", exc, event=reaction.event.uid, handler=reaction.handler.name)
        add_reactions(connection, [_row(reaction, status="failed", error=error_text(exc))])


def _log(what: str, error: Exception, **extra: str) -> None:
    logger.error("%s: %s", what, logged_error(error), extra=extra)


class _Writer:
    """One batch's reactions on their way into the ledger."""

    def __init__(self, connection: Connection, new: Sequence[NewReaction]) -> None:
        self._connection = connection
        self._new = new
        self._runs = runs_by_id(connection, [each.run.id for each in new]) if new else {}
        """As they are now: somebody may have stopped one since its events were read."""
        self._now: datetime = connection.execute(sa.select(utc_now())).scalar_one()
        self._changes: Changes = Counter()
        self._children: dict[int, dict[str, int]] = {}
        self._too_often = too_often(connection, [wanted for each in new if (wanted := _wanted(each))])

    def write(self) -> None:
        """Does what the database can do, and stores the reactions."""
        rows = [self._built_in(each) for each in self._new if each.item is None]
        by_run: dict[int, list[NewReaction]] = defaultdict(list)
        for each in self._new:
            if each.item is not None:
                by_run[each.run.id].append(each)
        for reactions in by_run.values():
            rows += self._actions(reactions)
        add_reactions(self._connection, rows)

    def count(self) -> None:
        """Counts, in the order of the runs, in which everyone locks them."""
        by_run: dict[int, dict[str, int]] = defaultdict(dict)
        for (run_id, counter), change in self._changes.items():
            by_run[run_id][counter] = change
        for run_id in sorted({*by_run, *self._children}):
            if run_id in self._children:
                open_reactions_run(self._connection, run_id, self._children[run_id])
            count_changes(self._connection, run_id, by_run.get(run_id, {}))

    def _actions(self, reactions: Sequence[NewReaction]) -> list[dict[str, Any]]:
        """Stores what is to be sent for the events of one run; the reactions' rows."""
        parent = self._runs[reactions[0].run.id]
        child, control = reactions_run(self._connection, parent)
        items = [self._seldom(each.item) for each in reactions if each.item is not None]
        if control == "stop":
            items = [_stopped(item) for item in items]
        elif _is_stopped(parent):
            confirming = self._confirming(parent, reactions)
            items = [item if item.dedupe_key in confirming else _stopped(item) for item in items]
        keys = add_items(self._connection, child, items)
        pending = sum(item.status == "pending" for item in items)
        self._children[child] = {"total": len(items), "pending": pending, "skipped": len(items) - pending}
        return [
            {
                **_row(each, status="stored" if item.status == "pending" else "skipped", error=item.reason),
                "run_id": child,
                "run_item_id": keys[item.row, item.segment],
            }
            for each, item in zip(reactions, items, strict=True)
        ]

    def _seldom(self, item: PlannedItem) -> PlannedItem:
        """The item, skipped where its recipient has had too many."""
        over = item.status == "pending" and (item.row, item.segment) in self._too_often
        return item._replace(status="skipped", reason=TOO_OFTEN) if over else item

    def _confirming(self, parent: RunRecord, reactions: Sequence[NewReaction]) -> set[str | None]:
        """The items that answer an opt-out, the first of each: that goes out of a stopped run too."""
        first: dict[int, NewReaction] = {}
        for each in reactions:
            first.setdefault(each.event.id, each)
        recipients = [each.item.recipient for each in first.values() if each.item and each.item.recipient]
        scopes = scopes_of(self._connection, recipients)
        return {
            each.item.dedupe_key
            for each in first.values()
            if each.item is not None
            and (reasons := held_by(scopes, each.item.recipient, job=parent.job_name, channel=_channel(each)))
            and all(caused_by(reason, each.event.uid) for reason in reasons)
        }

    def _built_in(self, reaction: NewReaction) -> dict[str, Any]:
        """Does a built-in reaction, or notes it as one to be done; its row."""
        kind, change = reaction.handler.handler.kind, reaction.change
        error = None if change is None else change.error
        if error is not None:
            return _row(reaction, status="failed", error=error)
        if reaction.run.against is not None and kind != "run_job":
            return _row(reaction, status="skipped", error=REHEARSAL)
        if kind == "run_job" and _is_stopped(self._runs[reaction.run.id]):
            return _row(reaction, status="skipped", error=STOPPED)
        if (reaction.event.id, reaction.handler.name) in self._too_often:
            return _row(reaction, status="skipped", error=TOO_OFTEN)
        if kind in OUTSIDE:
            return {**_row(reaction, status="pending"), "due_at": self._now}
        try:
            error = _DONE[kind](self._connection, reaction, self._changes)
        except InputError as exc:  # a list that is no more, an item without its key
            error = exc.message
        return _row(reaction, status="done" if error is None else "failed", error=error)


def _row(reaction: NewReaction, *, status: str, error: str | None = None) -> dict[str, Any]:
    return {
        "event_id": reaction.event.id,
        "handler": reaction.handler.name,
        "kind": reaction.handler.handler.kind,
        "run_id": reaction.run.id,
        "run_item_id": reaction.event.root_item_id,
        "status": status,
        "error": error,
        "attempts": 0,
        "due_at": None,
    }


def _wanted(reaction: NewReaction) -> Wanted | None:
    """The reaction as one of which there may be too many; None where it is none, or nobody knows whose."""
    recipient = reaction.event.recipient
    if recipient is None or reaction.handler.handler.kind not in LIMITED:
        return None
    return Wanted(reaction.event.id, reaction.handler.name, reaction.run.id, recipient)


def _is_stopped(run: RunRecord) -> bool:
    return run.status == "stopped" or run.control == "stop"


def _stopped(item: PlannedItem) -> PlannedItem:
    return item._replace(status="skipped", reason=STOPPED) if item.status == "pending" else item


def _channel(reaction: NewReaction) -> str | None:
    action = reaction.handler.handler.action
    return None if action is None else reaction.campaign.actions[action].action.channel


def _why(reaction: NewReaction) -> dict[str, str]:
    """Who made a change, and why, as the changes' log has it."""
    name, uid = reaction.handler.name, reaction.event.uid
    return {"who": f"job {reaction.run.job_name}", "why": of_event(f"handler {name}", uid)}


def _unsubscribe(connection: Connection, reaction: NewReaction, changes: Changes) -> str | None:
    wanted = reaction.handler.handler.unsubscribe or Unsubscribe()
    recipient = who_answered(reaction.occurrence)
    if recipient is None:
        return "nobody knows who answered"
    scope = ""
    if wanted.scope == "job":
        scope = scope_of(job=reaction.run.job_name)
    elif wanted.scope == "channel":
        action = reaction.campaign.actions.get(reaction.event.action or "")
        if action is None or action.action.channel is None:
            return "nobody knows by which channel the message went"
        scope = scope_of(channel=action.action.channel)
    why = _why(reaction)
    new = NewSuppression(recipient=recipient, scope=scope, reason=why["why"], who=why["who"])
    changes.update(add_suppressions(connection, [new]).changes)
    return None


def _add_to_list(connection: Connection, reaction: NewReaction, _: Changes) -> str | None:
    name = _given(reaction, AddToList).list
    put_item(connection, name, _values(reaction).get("item", reaction.occurrence.item), **_why(reaction))
    return None


def _remove_from_list(connection: Connection, reaction: NewReaction, _: Changes) -> str | None:
    name = _given(reaction, RemoveFromList).list
    remove_item(connection, name, _key(connection, reaction, name), **_why(reaction))
    return None  # who is not on it need not be taken off


def _set_attribute(connection: Connection, reaction: NewReaction, _: Changes) -> str | None:
    name = _given(reaction, SetAttribute).list
    key, attributes = _key(connection, reaction, name), _values(reaction)["attributes"]
    changed = change_item(connection, name, key, attributes, **_why(reaction))
    return None if changed else f"the item is not on the list {name!r}"


def _key(connection: Connection, reaction: NewReaction, name: str) -> str:
    """The key that a reaction gives, else the one of the event's own item."""
    given = key_text(_values(reaction).get("key"))
    return given or item_key(find_list(connection, name), reaction.occurrence.item)


def _values(reaction: NewReaction) -> Mapping[str, Any]:
    return {} if reaction.change is None else reaction.change.values


def _given(reaction: NewReaction, model: type[Any]) -> Any:
    given = getattr(reaction.handler.handler, reaction.handler.handler.kind)
    assert isinstance(given, model)  # noqa: S101  # it was chosen by its kind
    return given


def _emit(connection: Connection, reaction: NewReaction, _: Changes) -> str | None:
    emit(connection, [reaction.event.id], subscriber=_given(reaction, Emit).subscriber)
    return None


_DONE: Mapping[str, Callable[[Connection, NewReaction, Changes], str | None]] = MappingProxyType(
    {
        "unsubscribe": _unsubscribe,
        "add_to_list": _add_to_list,
        "remove_from_list": _remove_from_list,
        "set_attribute": _set_attribute,
        "emit": _emit,
    }
)
"""What the database does itself; each gives the error that kept it from being done."""
