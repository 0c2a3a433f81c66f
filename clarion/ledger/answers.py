"""What came back for a run, counted by segment: receipts, answers, clicks, conversions, reactions.

People are run items: in a segment each recipient is one. An answer to a reaction counts for the run item
whose event the reaction answered. Nothing is stored: what comes later counts as well.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.ledger.answer_tables import EVENT, SUPPRESSION_CHANGE
from clarion.ledger.database import Database
from clarion.ledger.runs import REACTIONS
from clarion.ledger.summaries import WHOLE_RUN
from clarion.ledger.tables import RUN, RUN_ITEM

ANSWERS = (
    "delivered", "undelivered", "responded", "unsubscribed", "clicked", "scanned", "converted", "reactions",
)  # fmt: skip
"""What is counted: people, but for `scanned` (links followed by machines) and `reactions` (sent)."""

_KINDS: Mapping[str, str] = {"succeeded": "delivered", "failed": "undelivered", "info": "info"}
_TYPES: Mapping[str, str] = {
    "recipient-response": "responded",
    "unsubscribe": "unsubscribed",
    "click": "clicked",
    "conversion": "converted",
}

UID_CHARACTERS = 36
"""Of an event's uid, which ends the reason of a suppression that it caused."""


@dataclass
class Answers:
    """What came back for a segment, or for the whole run.

    `counts` has ANSWERS and `info` (receipts that decide nothing); `values` the worth of conversions by
    currency, the empty one where none was told.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*ANSWERS, "info"), 0))
    values: dict[str, float] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether anything came back."""
        return any(self.counts.values())


def count_answers(database: Database, run_id: int) -> dict[str, Answers]:
    """By segment what came back for a run, and under the empty name for all of it, which is always there."""
    found: dict[str, Answers] = defaultdict(Answers)
    with database.read() as connection:
        for segment, kind, count in connection.execute(_RECEIPTS, {"run": run_id}):
            found[segment].counts[_KINDS.get(kind, "info")] += count
        for segment, name, people in connection.execute(_PEOPLE, {"run": run_id}):
            found[segment].counts[name] += people
        _add_values(connection, run_id, found)
        for segment, count in connection.execute(_REACTIONS_SENT, {"run": run_id}):
            found[segment].counts["reactions"] += count
    return {**found, WHOLE_RUN: _whole(found)}


def _add_values(connection: Connection, run_id: int, found: dict[str, Answers]) -> None:
    for segment, currency, value in connection.execute(_VALUES, {"run": run_id}):
        values = found[segment].values
        values[currency] = values.get(currency, 0.0) + value


def _whole(parts: Mapping[str, Answers]) -> Answers:
    whole = Answers()
    for part in parts.values():
        for name, count in part.counts.items():
            whole.counts[name] += count
        for currency, value in part.values.items():
            whole.values[currency] = whole.values.get(currency, 0.0) + value
    return whole


def _origins() -> sa.CTE:
    """The items of a run's reactions, each with the run item whose event began it."""
    reaction, cause = RUN_ITEM.alias("reaction_item"), EVENT.alias("cause")
    columns = (reaction.c.id.label("item_id"), cause.c.run_item_id.label("root_id"))
    answered = sa.select(*columns).join_from(reaction, cause, cause.c.id == reaction.c.row)
    first = answered.where(reaction.c.run_id.in_(_CHILDREN), cause.c.run_id == sa.bindparam("run"))
    origins = first.cte("origins", recursive=True)
    later = sa.select(reaction.c.id, origins.c.root_id).join_from(
        reaction, cause, cause.c.id == reaction.c.row
    )
    later = later.join(origins, origins.c.item_id == cause.c.run_item_id)
    return origins.union_all(later.where(reaction.c.run_id.in_(_CHILDREN)))


_CHILDREN = sa.select(RUN.c.id).where(RUN.c.parent_id == sa.bindparam("run"), RUN.c.kind == REACTIONS)

_ORIGINS = _origins()


def _events(*columns: sa.ColumnElement[Any], of: sa.FromClause, where: sa.ColumnElement[bool]) -> sa.CTE:
    """Columns of a run's events and of those of its reactions, with the run item at the root as `item_id`."""
    own = sa.select(EVENT.c.run_item_id.label("item_id"), *columns).select_from(of)
    own = own.where(EVENT.c.run_id == sa.bindparam("run"), EVENT.c.run_item_id.is_not(None), where)
    of_reactions = sa.select(_ORIGINS.c.root_id.label("item_id"), *columns)
    of_reactions = of_reactions.select_from(of.join(_ORIGINS, _ORIGINS.c.item_id == EVENT.c.run_item_id))
    return own.union_all(of_reactions.where(EVENT.c.run_id.in_(_CHILDREN), where)).cte()


def _people() -> sa.Select[Any]:
    """Segment, what they did, and how many people did it; of machines how often."""
    by_machine = (EVENT.c.type == "click") & EVENT.c.status.is_not(None)
    what = sa.case((by_machine, "scanned"), *((EVENT.c.type == k, v) for k, v in _TYPES.items()))
    told = _events(what.label("what"), of=EVENT, where=EVENT.c.type.in_(list(_TYPES)))
    reason = SUPPRESSION_CHANGE.c.reason
    by_event = SUPPRESSION_CHANGE.join(
        EVENT,
        EVENT.c.uid == sa.func.substr(reason, sa.func.length(reason) - UID_CHARACTERS, UID_CHARACTERS),
    )
    opted_out = _events(
        sa.literal("unsubscribed").label("what"),
        of=by_event,
        where=(SUPPRESSION_CHANGE.c.change == "add") & reason.like("%(event %)"),
    )
    both = sa.union_all(sa.select(told), sa.select(opted_out)).subquery()
    people = sa.case(
        (both.c.what == "scanned", sa.func.count()), else_=sa.func.count(sa.distinct(both.c.item_id))
    )
    by = (RUN_ITEM.c.segment, both.c.what)
    return sa.select(*by, people).join_from(both, RUN_ITEM, RUN_ITEM.c.id == both.c.item_id).group_by(*by)


def _values() -> sa.Select[Any]:
    """Segment, currency, and what the conversions in it are worth."""
    currency = sa.func.coalesce(EVENT.c.currency, "").label("currency")
    told = _events(
        currency, EVENT.c.value, of=EVENT, where=(EVENT.c.type == "conversion") & EVENT.c.value.is_not(None)
    )
    by = (RUN_ITEM.c.segment, told.c.currency)
    worth = sa.select(*by, sa.func.sum(told.c.value))
    return worth.join_from(told, RUN_ITEM, RUN_ITEM.c.id == told.c.item_id).group_by(*by).order_by(*by)


def _reactions_sent() -> sa.Select[Any]:
    sent, root = RUN_ITEM.alias("sent"), RUN_ITEM.alias("root")
    query = sa.select(root.c.segment, sa.func.count()).select_from(
        _ORIGINS.join(sent, sent.c.id == _ORIGINS.c.item_id).join(root, root.c.id == _ORIGINS.c.root_id)
    )
    return query.where(sent.c.status == "succeeded").group_by(root.c.segment)


_RECEIPTS = (
    sa.select(RUN_ITEM.c.segment, RUN_ITEM.c.delivery, sa.func.count())
    .where(RUN_ITEM.c.run_id == sa.bindparam("run"), RUN_ITEM.c.delivery.is_not(None))
    .group_by(RUN_ITEM.c.segment, RUN_ITEM.c.delivery)
)
_PEOPLE = _people()
_VALUES = _values()
_REACTIONS_SENT = _reactions_sent()
