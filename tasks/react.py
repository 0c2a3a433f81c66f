"""The step that handles what came back: one batch of events, attributed, asked of the handlers, answered."""

import logging
import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from clarion.errors import SettingError
from clarion.handling import Handled, handle_batch
from clarion.ledger.attribution import attribute_batch
from clarion.models.subscribers import Subscriber
from tasks.sessions import ledger
from tasks.webhooks import installed_subscribers

logger = logging.getLogger(__name__)

BATCH = 500
"""Events of one transaction. Everyone who handles takes as many: so each recipient's are handled in order."""

KNOWN_SECONDS = 60.0


class KnownSubscribers:
    """The installation's subscribers, asked of Prefect once a minute at most, and only where events come."""

    def __init__(self) -> None:
        self._found: list[Subscriber] | None = None
        self._ask_at = 0.0

    def now(self) -> list[Subscriber]:
        """The subscribers; those of before while Prefect's API is away.

        Raises:
            SettingError: The API cannot be used, and never could: nobody is left out, so nothing is handled.
        """
        if self._found is None or time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + KNOWN_SECONDS
            try:
                self._found = installed_subscribers()
            except SettingError:
                if self._found is None:
                    raise
                logger.warning("Subscribers cannot be asked for; those of before get the events")
        return self._found


def react_to_batch(subscribers: list[Subscriber]) -> Handled:
    """Handles the oldest events that are received, at most BATCH of them."""
    events = attribute_batch(ledger(), limit=BATCH)
    return handle_batch(ledger(), events, subscribers=subscribers)


@task(name="react", task_run_name="react", cache_policy=NO_CACHE, persist_result=False)
def react(subscribers: list[Subscriber]) -> Handled:
    """Handles the oldest events that are received, as a task run that a person sees.

    Args:
        subscribers: The installation's.

    Returns:
        How many events were handled, and how many reactions there are to them.
    """
    return react_to_batch(subscribers)
