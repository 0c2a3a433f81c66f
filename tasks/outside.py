"""Reactions that happen outside the ledger: told people, and whatever a flow does for the others.

They are tried up to five times within a quarter of an hour, and at least once: who dies between the act and
its note does it again.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from clarion.errors import ClarionError
from clarion.handling import LoadedReaction, load_reaction
from clarion.ledger.answering import OutsideReaction, claim_outside, settle_outside
from tasks.notify import notify_by
from tasks.sessions import ledger

logger = logging.getLogger(__name__)

AT_ONCE = 4

Do = Callable[[LoadedReaction], None]


class Outside:
    """What this process does of outside reactions, in threads of its own.

    Args:
        do: By the kind of reaction, what does it; raises what kept it from being done.
    """

    def __init__(self, do: Mapping[str, Do]) -> None:
        self._do = {"notify": _notify, **do}
        self._at_work: list[Future[Any]] = []
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="clarion-outside")

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return any(not each.done() for each in self._at_work)

    def look(self) -> None:
        """Begins with what is due."""
        self._at_work = [each for each in self._at_work if not each.done()]
        free = AT_ONCE - len(self._at_work)
        if free <= 0:
            return
        for reaction in claim_outside(ledger(), most=free):
            self._at_work.append(self._threads.submit(copy_context().run, self._try, reaction))

    def leave(self) -> None:
        """Begins with nothing more, and waits for what is under way."""
        self._threads.shutdown()

    def _try(self, reaction: OutsideReaction) -> None:
        extra = {"event": reaction.event_id, "handler": reaction.handler}
        try:
            loaded = load_reaction(ledger(), reaction)
            if loaded.change.error is not None:
                settle_outside(ledger(), reaction, error=loaded.change.error, final=True)
                return
            self._do[reaction.kind](loaded)
        except Exception as exc:
            logger.exception("A reaction could not be done", extra=extra)
            # The text of an error that is not Clarion's own may hold anything, a webhook's URL too.
            error = exc.message if isinstance(exc, ClarionError) else f"an error ({type(exc).__name__})"
            settle_outside(ledger(), reaction, error=error, final=False)
        else:
            settle_outside(ledger(), reaction, error=None, final=True)


def _notify(reaction: LoadedReaction) -> None:
    told = reaction.handler.handler.notify
    assert told is not None  # noqa: S101  # of this kind
    values = reaction.change.values
    subject = values.get("subject")
    notify_by(told.block, str(values["body"]), subject=None if subject is None else str(subject))
