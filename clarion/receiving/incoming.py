"""What a provider told us, in the words that all providers share."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

IncomingType = Literal[
    "recipient-response",
    "action-call-succeeded",
    "action-call-failed",
    "action-call-info",
    "click",
    "conversion",
    "unsubscribe",
    "unknown",
]
"""What happened. A receipt comes in as `action-call-info`: whether its status is a success or a failure, the
action says once the event was attributed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingEvent:
    """One thing that came back, before anybody knows which message it belongs to.

    Attributes:
        type: What happened.
        provider_event_id: The same for each redelivery, another for anything else of its endpoint.
        occurred_at: When, by the provider's clock; None where it does not say, or nobody can read it.
        recipient: The customer, always: of an inbound message its sender. As the provider writes it.
        sender: We: the number or address that the customer sees.
        invocation_id: The provider's id of the message or call that this is about.
        related_id: The invocation id of the message that a reply quotes.
        client_ref: Our own reference, as we sent it.
        status: What became of the message, in the provider's word.
        error_code: The provider's code of what went wrong.
        error: Its reason, for a person to read.
        text: What the recipient wrote.
        name: The name of a click's link or of a conversion.
        value: What a conversion is worth.
        currency: In which currency, as ISO 4217 writes it.
        data: What came, whole: JSON without headers.
    """

    type: IncomingType
    provider_event_id: str
    occurred_at: datetime | None = None
    recipient: str | None = None
    sender: str | None = None
    invocation_id: str | None = None
    related_id: str | None = None
    client_ref: str | None = None
    status: str | None = None
    error_code: str | None = None
    error: str | None = None
    text: str | None = None
    name: str | None = None
    value: float | None = None
    currency: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
