"""Reactions that happen outside the ledger: told people, and whatever a flow does for the others.

What can be done a second time without harm is tried up to five times within a quarter of an hour. People are
told at most once: the ledger calls it done before the notification leaves, and only what has certainly not
left is tried again.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from blocks.notifications import load_notifier
from clarion.error_text import error_text, logged_error
from clarion.handling import LoadedReaction, load_reaction
from clarion.ledger.answering import OutsideReaction, begin_once, claim_outside, settle_outside
from tasks.notify import is_unsent, tell
from tasks.sessions import ledger

logger = logging.getLogger(__name__)

AT_ONCE = 4

Do = Callable[[LoadedReaction], None]


class Outside:
    """What this process does of outside reactions, in threads of its own.

    Args:
        do: By the kind of reaction, what does it, once however often it is called; raises what kept it from
            being done.
    """

    def __init__(self, do: Mapping[str, Do]) -> None:
        self._do = do
        self._at_work: list[Future[Any]] = []
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="clarion-outside")

    @property
    def busy(self) -> bool:
        """Whether something was being done at the last look: what it held up is begun at the next."""
        return bool(self._at_work)

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
        try:
            loaded = load_reaction(ledger(), reaction)
            if loaded.change.error is not None:
                settle_outside(ledger(), reaction, error=loaded.change.error, final=True)
            elif reaction.kind == "notify":
                _notify(reaction, loaded)
            else:
                self._do[reaction.kind](loaded)
                settle_outside(ledger(), reaction, error=None, final=True)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the next try may do better
            _failed(reaction, exc, final=False)


def _failed(reaction: OutsideReaction, error: Exception, *, final: bool, begun: bool = False) -> None:
    extra = {"event": reaction.event_id, "handler": reaction.handler}
    logger.error("A reaction could not be done: %s", logged_error(error), extra=extra)
    settle_outside(ledger(), reaction, error=error_text(error), final=final, begun=begun)


def _notify(reaction: OutsideReaction, loaded: LoadedReaction) -> None:
    """Tells people, at most once: after `begin_once` only what has not left for certain is tried again."""
    told = loaded.handler.handler.notify
    assert told is not None  # noqa: S101  # of this kind
    values = loaded.change.values
    subject = values.get("subject")
    notifier = load_notifier(told.block)
    if not begin_once(ledger(), reaction):
        return
    try:
        tell(notifier, str(values["body"]), subject=None if subject is None else str(subject))
    except Exception as exc:  # noqa: BLE001  # blocks raise what they like
        _failed(reaction, exc, final=not is_unsent(notifier, exc), begun=True)
