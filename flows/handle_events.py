"""Handling what came back: the flow, and the same work in the process that receives."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import Self

from prefect import flow

from clarion.error_text import logged_error
from clarion.handling import Handled
from clarion.ledger.answering import SOON_SECONDS, is_any_received
from clarion.ledger.deliveries import reopen_left
from clarion.ledger.webhooks import is_any_due
from clarion.models.subscribers import Subscriber
from flows.shield import shield
from flows.start_job import start_job
from tasks.answering import LOOK_SECONDS, Answering
from tasks.outside import Outside
from tasks.react import KnownSubscribers, react, react_to_batch
from tasks.sessions import ledger
from tasks.webhooks import deliver_webhooks

logger = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
"""How often the receiving process looks without being nudged: for what falls due, or came in elsewhere."""

REST_SECONDS = 5.0
"""How long it waits after an error."""

REOPEN_SECONDS = 60.0
"""How often it looks for runs that ended while an item of them went on."""

POST_SECONDS = 5.0
"""How long webhooks are posted at a time: whoever leaves waits for no more."""

NONE = Handled(0, 0)


class Handling:
    """One process's part in handling events: asks the handlers, and sends, tells and starts what they want.

    Several processes may do so at a time. Use as a context manager: at its end all that is under way is
    waited for, what is to be sent for at most 8 s.

    Args:
        react: Handles one batch for the installation's subscribers.
    """

    def __init__(self, react: Callable[[list[Subscriber]], Handled]) -> None:
        self._react = react
        self._subscribers = KnownSubscribers()
        self._reopen_at = self._post_at = 0.0

    def __enter__(self) -> Self:
        self._answering = Answering()
        self._outside = Outside({"run_job": start_job})
        self._poster = ThreadPoolExecutor(1, thread_name_prefix="clarion-webhooks")
        self._posting: Future[bool] | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answering.leave()
        self._outside.leave()
        self._poster.shutdown()

    @property
    def busy(self) -> bool:
        """Whether something that the handlers wanted was under way in the last turn: then another is due."""
        return self._answering.busy or self._outside.busy or self._posting is not None

    def turn(self) -> Handled:
        """Handles one batch of what is received, and begins with all that is due by then."""
        if time.monotonic() >= self._reopen_at:
            self._reopen_at = time.monotonic() + REOPEN_SECONDS
            reopen_left(ledger())
        handled = self._react(self._subscribers.now()) if is_any_received(ledger()) else NONE
        self._answering.look()
        self._outside.look()
        self._look_for_webhooks()
        return handled

    def _look_for_webhooks(self) -> None:
        if self._posting is not None and self._posting.done():
            if not self._posting.result():
                self._post_at = time.monotonic() + REST_SECONDS
            self._posting = None
        if self._posting is None and time.monotonic() >= self._post_at and is_any_due(ledger()):
            # A thread has none of Prefect's settings and contexts, unless it is given them.
            work = copy_context().run
            self._posting = self._poster.submit(lambda: work(_post))

    def until_idle(self) -> Handled:
        """Takes turns until nothing is received and nothing due within half a minute; what that came to."""
        events = reactions = 0
        at_work_at = time.monotonic()
        with shield() as shielded:
            while True:
                handled = shielded(self.turn)
                events, reactions = events + handled.events, reactions + handled.reactions
                if handled.events:
                    continue
                if self.busy:
                    at_work_at = time.monotonic()
                elif not shielded(self.waits) or time.monotonic() - at_work_at > SOON_SECONDS:
                    return Handled(events, reactions)
                time.sleep(LOOK_SECONDS)

    def waits(self) -> bool:
        """Whether events are received that could not be handled yet: their call is still being made."""
        return is_any_received(ledger())


def _post() -> bool:
    """Posts webhooks that are due; whether that could be done."""
    try:
        deliver_webhooks(seconds=POST_SECONDS)
    except Exception as exc:  # noqa: BLE001  # they are posted the next time
        logger.error("Webhooks could not be posted: %s", logged_error(exc))  # noqa: TRY400
        return False
    return True


@flow(name="handle-events", persist_result=False)
def handle_events() -> dict[str, int]:
    """Handles all that came back: finds its messages, asks the handlers, and sends what they answer.

    What it does not finish, the next one does: it runs once a minute, beside `clarion serve`, which handles
    events as they come. Nothing is handled twice.

    Returns:
        How many `events` were handled, and how many `reactions` there are to them.
    """
    with Handling(react) as handling:
        handled = handling.until_idle()
    return {"events": handled.events, "reactions": handled.reactions}


class Drainer:
    """Handles events in this process as they come, in a thread of its own. Use as a context manager.

    It is nudged by whoever stores events; without that it looks every few seconds.
    """

    def __init__(self) -> None:
        self._nudged = threading.Event()
        self._over = threading.Event()
        # A thread has none of Prefect's settings and contexts, unless it is given them.
        target = copy_context().run
        self._thread = threading.Thread(
            target=target, args=(self._drain,), name="clarion-drainer", daemon=True
        )

    def nudge(self) -> None:
        """Tells that something was stored; waits for nothing."""
        self._nudged.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._nudged.set()
        self._thread.join()

    def _drain(self) -> None:
        with Handling(react_to_batch) as handling:
            while not self._over.is_set():
                self._nudged.clear()
                try:
                    handled = handling.turn()
                    soon = handling.busy or handling.waits()
                except Exception as exc:  # noqa: BLE001  # they are handled the next time
                    logger.error(  # noqa: TRY400  # the text may hold what somebody wrote
                        "Events could not be handled, they are kept: %s", logged_error(exc)
                    )
                    self._over.wait(REST_SECONDS)
                    continue
                if not handled.events:
                    self._nudged.wait(LOOK_SECONDS if soon else IDLE_SECONDS)
