"""How often a handler reacts to one person: two machines that answer each other would go on for ever."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.ledger.answer_tables import EVENT, REACTION
from clarion.ledger.database import utc_now
from clarion.ledger.runs import REACTIONS
from clarion.ledger.tables import RUN

MOST = 10
WITHIN = timedelta(hours=1)
"""A handler of a run reacts to one person so often within that time; people answer less often."""

TOO_OFTEN = "too_often"

LIMITED = frozenset({"action", "run_job", "notify"})
"""Reactions that reach somebody, who may answer. What changes the ledger does so again without harm."""

LOOKED_UP = 500


class Wanted(NamedTuple):
    """A reaction that a handler of a run wants to an event from somebody."""

    event_id: int
    handler: str
    run_id: int
    recipient: str


def too_often(connection: Connection, wanted: Sequence[Wanted]) -> set[tuple[int, str]]:
    """Those of the reactions, by event and handler, that are one too many for their recipient.

    Args:
        connection: The transaction that stores them, which nobody else's is beside.
        wanted: In the order in which they are stored.
    """
    counted = _counted(connection, {each.recipient for each in wanted})
    over = set[tuple[int, str]]()
    for each in wanted:
        key = (each.handler, each.run_id, each.recipient)
        if counted[key] >= MOST:
            over.add((each.event_id, each.handler))
        else:
            counted[key] += 1
    return over


def _counted(connection: Connection, recipients: Iterable[str]) -> Counter[tuple[str, int, str]]:
    """How many reactions there were lately, by handler, run of the campaign, and recipient."""
    counted: Counter[tuple[str, int, str]] = Counter()
    names = sorted(recipients)
    now = connection.execute(sa.select(utc_now())).scalar_one() if names else None
    for begin in range(0, len(names), LOOKED_UP):
        given = {"recipients": names[begin : begin + LOOKED_UP], "since": now and now - WITHIN}
        for handler, run_id, recipient, count in connection.execute(_LATELY, given):
            counted[handler, run_id, recipient] += count
    return counted


_RUN = sa.case((RUN.c.kind == REACTIONS, RUN.c.parent_id), else_=RUN.c.id)
_LATELY = (
    sa.select(REACTION.c.handler, _RUN, EVENT.c.recipient, sa.func.count())
    .join_from(EVENT, REACTION, REACTION.c.event_id == EVENT.c.id)
    .join(RUN, RUN.c.id == REACTION.c.run_id)
    .where(
        EVENT.c.recipient.in_(sa.bindparam("recipients", expanding=True)),
        REACTION.c.created_at > sa.bindparam("since", type_=REACTION.c.created_at.type),
        REACTION.c.status != sa.literal_column("'skipped'"),
    )
    .group_by(REACTION.c.handler, _RUN, EVENT.c.recipient)
)
