"""What a receipt says of a message: delivered, not delivered, neither. docs/attribution.md has the rules."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

from clarion.errors import RenderError
from clarion.models.answers import StatusMapping
from clarion.templating import Compiled

Kind = Literal["succeeded", "failed", "info"]

UNDELIVERED = "undelivered"
"""The reason of an item whose call was never answered and whose receipt says that it was not delivered; and
the outcome of a call after which the item went on with its next step."""

BY_RECEIPT = "receipt"
"""The reason of what a receipt made succeeded: its call was never answered, or another was to follow."""

MOST_CHARACTERS = 500
"""What of a status, a code or a reason is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What statuses mean, in lower case; those of a success from the least to the furthest.

    A status that stands nowhere is a failure where only successes are told from the rest, else info.
    """

    success: tuple[str, ...]
    failure: frozenset[str] = frozenset()
    info: frozenset[str] = frozenset()

    def kind(self, status: str | None) -> Kind:
        """What a status means; a receipt without one says nothing yet."""
        word = (status or "").strip().lower()
        if not word or word in self.info:
            return "info"
        if word in self.success:
            return "succeeded"
        return "failed" if word in self.failure or not self.failure else "info"

    def place(self, status: str | None) -> int:
        """How far a success goes; -1 for what is none."""
        word = (status or "").strip().lower()
        return self.success.index(word) if word in self.success else -1


def reading_of(mapping: StatusMapping) -> Reading:
    """What an action's statuses mean."""
    return Reading(
        success=tuple(_words(mapping.success_statuses)),
        failure=frozenset(_words(mapping.failure_statuses)),
        info=frozenset(_words(mapping.info_statuses)),
    )


def _words(statuses: Iterable[str]) -> list[str]:
    return [status.strip().lower() for status in statuses]


WELL_KNOWN = Reading(
    success=("delivered", "answered", "human", "machine", "completed", "read"),
    failure=frozenset(
        {
            "rejected", "undeliverable", "undelivered", "failed", "expired", "deleted", "busy", "canceled",
            "cancelled", "unanswered", "no-answer", "timeout", "bounced",
        }
    ),
    info=frozenset(
        {
            "submitted", "accepted", "buffered", "scheduled", "queued", "sending", "sent", "unknown",
            "initiated", "started", "ringing", "in-progress", "disconnected",
        }
    ),
)  # fmt: skip
"""What the words of the providers that Clarion has modules for mean where the action does not say: those of
the Messages, SMS and Voice APIs of Vonage and of Twilio. None of them means two things."""


@dataclass(frozen=True, kw_only=True)
class CompiledReceipt:
    """How an action reads a receipt: its templates see the raw `event`, and nothing else."""

    status: Compiled | None = None
    reading: Reading = WELL_KNOWN
    error_code: Compiled | None = None
    error_reason: Compiled | None = None


PLAIN = CompiledReceipt()
"""How the receipt of an action is read that says nothing of receipts."""

_MARK = MappingProxyType({"succeeded": 1, "failed": 0, "info": 0})
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What one receipt says of a message; `occurred_at` by the provider's clock, None where it has none."""

    kind: Kind
    status: str | None = None
    occurred_at: datetime | None = None
    code: str | None = None
    reason: str | None = None

    def order(self, reading: Reading) -> tuple[Any, ...]:
        """Where it stands among all that is said of one message: the last of them counts.

        What is final stands after what is not. Then the time decides, the provider's; one without a time
        comes before all that have one. At the same time a success stands after a failure, and the further of
        two successes after the other. The rest only makes the order the same for everyone.
        """
        return (
            self.kind != "info",
            self.occurred_at or _LONG_AGO,
            _MARK[self.kind],
            reading.place(self.status),
            self.status or "",
            self.code or "",
            self.reason or "",
        )


def last_word(said: Iterable[Delivery], reading: Reading) -> Delivery | None:
    """What counts of all that receipts say of one message, in whatever order they came; None of nothing."""
    return max(said, key=lambda each: each.order(reading), default=None)


def read_receipt(
    receipt: CompiledReceipt,
    data: Any,
    *,
    status: str | None,
    code: str | None,
    reason: str | None,
    occurred_at: datetime | None,
) -> Delivery:
    """What a receipt says: by the action's templates, else by what the provider's module has read.

    Args:
        receipt: The action's.
        data: The raw event.
        status: As the module read it.
        code: The error's, likewise.
        reason: The error's, likewise.
        occurred_at: When, by the provider's clock.
    """
    scope = {"event": data}
    said = rendered(receipt.status, scope) or status
    kind = receipt.reading.kind(said)
    return Delivery(
        kind=kind,
        status=_short(said),
        occurred_at=occurred_at,
        code=_short(rendered(receipt.error_code, scope) or code),
        reason=_short(rendered(receipt.error_reason, scope) or reason),
    )


def rendered(template: Compiled | None, scope: Mapping[str, Any]) -> str | None:
    """What a template over the raw event gives, as text; None where the event lacks what it asks for."""
    if template is None:
        return None
    try:
        value = template.render(scope)
    except RenderError:
        return None  # that it came is what counts
    return None if value is None else str(value)


def _short(text: str | None) -> str | None:
    """The text as the databases can hold it, without NUL."""
    return text[:MOST_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}") if text else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where an item stands: its status, and what receipts have said of its last call so far."""

    status: str
    reason: str | None = None
    in_doubt: bool = False
    delivery: Delivery | None = None


def told(standing: Standing, said: Delivery, reading: Reading, *, names_call: bool) -> Standing:
    """Where an item stands after a receipt for its last call, whatever came before it and in whatever order.

    A call without an answer is settled by what its receipts say for good: by the last of them, should another
    come; it is not sent again then, if it waited for that. Until then it is enough that one names the call:
    the provider has the message. What the provider answered stays: a message that it took and did not deliver
    is one that succeeded, undelivered.

    Args:
        standing: Where it stood.
        said: What the receipt says.
        reading: What the action's statuses mean.
        names_call: Whether the receipt says itself which call it is about; else its recipient tells.
    """
    delivery = last_word((said, *([standing.delivery] if standing.delivery else [])), reading)
    assert delivery is not None  # noqa: S101  # of at least one
    after = replace(standing, delivery=delivery)
    unanswered = standing.status == "unknown" or (standing.status == "pending" and standing.in_doubt)
    says_enough = names_call or delivery.kind != "info"
    if not says_enough or not (unanswered or standing.reason in {BY_RECEIPT, UNDELIVERED}):
        return after
    if delivery.kind != "failed":
        return replace(after, status="succeeded", reason=BY_RECEIPT, in_doubt=False)
    return replace(after, status="failed", reason=UNDELIVERED, in_doubt=False)
