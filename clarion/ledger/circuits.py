"""What a broken circuit does to a run: it is paused, and the tries that the outage burned are given back."""

from collections.abc import Mapping

import sqlalchemy as sa

from clarion.ledger.arrivals import HAS_ARRIVED, NO_DELIVERY
from clarion.ledger.database import Database
from clarion.ledger.runs import count_changes
from clarion.ledger.second_tries import log_last_calls
from clarion.ledger.tables import ENDED_STATUSES, RUN, RUN_ITEM

EXHAUSTED = "retries-exhausted"


def pause_for_errors(database: Database, run_id: int, *, reason: str) -> bool:
    """Asks a run to pause because its provider fails; a person's word goes before.

    Returns:
        Whether it does, by this: of several processes one is told so.
    """
    going_on = (RUN.c.id == run_id) & (RUN.c.control == "run") & RUN.c.status.not_in(ENDED_STATUSES)
    with database.write() as connection:
        asked = connection.execute(RUN.update().where(going_on).values(control="pause", reason=reason))
        return asked.rowcount == 1


def give_back_tries(database: Database, run_id: int, burned: Mapping[int, int]) -> int:
    """Gives items the tries back that an outage burned; to be called once their calls have settled.

    Who has none left by that is pending again, under a new key: every call was answered, or never left. Who
    has gone on to a fallback step meanwhile stays there.

    Args:
        database: The ledger.
        run_id: The run.
        burned: By run item, how many.

    Returns:
        How many items have got some back.
    """
    given = revived = 0
    with database.write() as connection:
        for item_id, count in sorted(burned.items()):
            item = (RUN_ITEM.c.run_id == run_id) & (RUN_ITEM.c.id == item_id)
            left = RUN_ITEM.c.attempts - count
            attempts = sa.case((left > 0, left), else_=0)
            failed = item & (RUN_ITEM.c.status == "failed") & ~HAS_ARRIVED
            exhausted = failed & (RUN_ITEM.c.reason == EXHAUSTED)
            log_last_calls(connection, exhausted)
            again = {"status": "pending", "reason": None, "epoch": RUN_ITEM.c.epoch + 1, "latency_ms": None}
            again |= {
                "claim_token": None,
                "settled_at": None,
                "due_at": None,
                "attempts": attempts,
            } | NO_DELIVERY
            back = connection.execute(RUN_ITEM.update().where(exhausted).values(again)).rowcount
            pending = item & (RUN_ITEM.c.status == "pending") & (RUN_ITEM.c.attempts > 0)
            if not back:
                given += connection.execute(
                    RUN_ITEM.update().where(pending).values(attempts=attempts)
                ).rowcount
            revived += back
        count_changes(connection, run_id, {"failed": -revived, "pending": revived})
    return given + revived
