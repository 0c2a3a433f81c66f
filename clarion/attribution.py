"""The rules by which an event finds the call that it is about. docs/attribution.md tells them in words."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from clarion.addresses import address_of

LISTENING = timedelta(days=7)
"""How long a run without `end_at` listens once it has ended."""

REHEARSAL_LISTENING = timedelta(minutes=15)
"""How long a rehearsal does: the sandbox answers at once; whoever answers later has got a real message."""

Rule = Literal["invocation-id", "quoted-message", "client-ref", "recipient"]
"""By what an event was attributed; by hand it says `hand:` and who."""

_REFERENCE = re.compile(r"([0-9a-f]{16})-([0-9]{1,18})(?:\.([0-9]{1,9})\.([0-9]{1,9}))?")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clue:
    """What an event tells of its call. Addresses are as `address_of` spells them.

    `is_receipt` tells what became of a message from what a recipient has done.
    """

    received_at: datetime
    is_receipt: bool
    recipient: str | None = None
    sender: str | None = None
    invocation_id: str | None = None
    related_id: str | None = None
    client_ref: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A call that was made for a run item; an item has one for each try that its ledger tells apart.

    `is_last` tells the item's last call from those before it. `unanswered` is one without a definite answer,
    which has no invocation id therefore. `may_have_arrived` leaves out what a provider refused: nobody
    answers that. `listens_until` is when its run stops to listen; None: not yet known. `attempt_id` is the
    key of a call that the attempt log keeps. `sent_at` is by the database's clock, as a clue's `received_at`
    is, and never after the call was made.
    """

    item_id: int
    run_id: int
    step: int
    epoch: int
    action: str
    address: str
    sent_at: datetime
    is_last: bool
    unanswered: bool
    may_have_arrived: bool
    invocation_id: str | None = None
    listens_until: datetime | None = None
    attempt_id: int | None = None


SenderOf = Callable[[Call], str | None]
"""The address that a call was sent from; None where the action does not say."""


class Reference(NamedTuple):
    """Our own reference of a run item, or of one of its calls."""

    run_uid: str
    item_id: int
    step: int | None
    epoch: int | None


def parse_reference(text: str | None) -> Reference | None:
    """A `run_item.id` (`4f0c...-17`) or an idempotency key (`4f0c...-17.0.2`); None for anything else."""
    found = _REFERENCE.fullmatch((text or "").strip())
    if found is None:
        return None
    uid, item, step, epoch = found.groups()
    return Reference(uid, int(item), int(step) if step else None, int(epoch) if epoch else None)


def listens_until(*, end_at: datetime | None, ended_at: datetime | None, rehearsal: bool) -> datetime | None:
    """Until when a run listens to answers that name no call; None while nobody can say."""
    if end_at is not None or ended_at is None:
        return end_at
    return ended_at + (REHEARSAL_LISTENING if rehearsal else LISTENING)


def listens(call: Call, clue: Clue) -> bool:
    """Whether the call's run listened when the event came."""
    return call.listens_until is None or clue.received_at <= call.listens_until


def by_invocation(calls: Iterable[Call], invocation_id: str, clue: Clue) -> Call | None:
    """The call that a provider's id names. Where several have it, those to the event's recipient go first."""
    return _newest((call for call in calls if call.invocation_id == invocation_id), clue)


def by_reference(calls: Iterable[Call], reference: Reference, clue: Clue) -> Call | None:
    """The call that our own reference names; of an item's calls the one to the event's recipient."""
    named = [call for call in calls if call.item_id == reference.item_id]
    exact = [call for call in named if (call.step, call.epoch) == (reference.step, reference.epoch)]
    of_step = [call for call in named if call.step == reference.step]
    return _newest(exact or of_step or named, clue)


def by_recipient(calls: Iterable[Call], clue: Clue, sender_of: SenderOf) -> Call | None:
    """The newest call to the event's recipient from its sender, of a run that listens.

    A sender that one of the two does not know is no obstacle. A receipt that names a call is never about one
    whose id is known to be another: it is about a call without an answer, or about nobody's. One with a
    reference of somebody else's is nobody's, and nothing is about a call that was made after it came.
    """
    if clue.is_receipt and clue.client_ref:
        return None  # ours has been looked up
    return _newest(
        (
            call
            for call in calls
            if call.address == clue.recipient
            and call.may_have_arrived
            and call.sent_at <= clue.received_at
            and listens(call, clue)
            and (call.unanswered or not clue.is_receipt or clue.invocation_id is None)
            and _same_sender(clue.sender, sender_of(call) if clue.sender else None)
        ),
        clue,
    )


def _same_sender(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def _newest(calls: Iterable[Call], clue: Clue) -> Call | None:
    """Of the calls to the event's recipient, or of all if there is none, the newest made before it came."""
    return max(
        calls,
        key=lambda call: (
            call.address == clue.recipient,
            call.sent_at <= clue.received_at,
            call.sent_at,
            call.item_id,
            call.is_last,
            call.step,
            call.epoch,
        ),
        default=None,
    )


def spellings(address: str) -> tuple[str, ...]:
    """How plans spell an address: as it is; a phone number in E.164, or as it is dialled from abroad too."""
    return (address, f"+{address}", f"00{address}") if address.isdigit() else (address,)


def sender_address(text: object) -> str | None:
    """The address that an action's `sender` renders to; None where it renders to nothing."""
    value = str(text).strip() if text is not None else ""
    return address_of(value) if value else None
