"""How to read what comes back after a call: receipts, and messages of recipients."""

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from clarion.models.base import Model, Text

Status = Annotated[Text, Field(min_length=1)]
InboundPart = Literal["from", "to", "text", "quoted_id"]


class StatusMapping(Model):
    """What a receipt's status means. Upper and lower case are the same."""

    value: Text = Field(default="{{ event.status }}", min_length=1, description="Template of the status.")
    success_statuses: list[Status] = Field(
        min_length=1,
        description="Statuses of a delivered message, from the least to the furthest (delivered, read).",
    )
    failure_statuses: list[Status] = Field(
        default_factory=list,
        description="Statuses of a message that was not delivered; none given means all that stand nowhere.",
    )
    info_statuses: list[Status] = Field(
        default_factory=list, description="Statuses that are neither yet, such as submitted."
    )

    @model_validator(mode="after")
    def _statuses_once(self) -> Self:
        names = ("success_statuses", "failure_statuses", "info_statuses")
        lists = {name: {each.strip().lower() for each in getattr(self, name)} for name in names}
        for one, other in combinations(lists, 2):
            both = sorted(lists[one] & lists[other])
            if both:
                raise ValueError(f"{both[0]!r} stands in {one} and in {other}")
        return self


class EventMapping(Model):
    """Where a receipt of a generic endpoint names its call; templates over `event`."""

    invocation_id: Text | None = Field(
        default=None,
        description="Template of the id that response.invocation_id read from the call's answer.",
    )
    id: Text | None = Field(
        default=None, description="Template of the event's own id, by which a redelivery is told."
    )
    occurred_at: Text | None = Field(default=None, description="Template of the time when it happened.")
    client_ref: Text | None = Field(
        default=None, description="Template of our own reference: run_item.id or the idempotency key."
    )
    recipient: Text | None = Field(default=None, description="Template of the recipient.")


def _tells_from_whom(mapping: Mapping[InboundPart, Text]) -> Mapping[InboundPart, Text]:
    if "from" not in mapping:
        raise ValueError("needs a template of `from`, whom the message is from")
    return mapping


InboundMapping = Annotated[dict[InboundPart, Text], AfterValidator(_tells_from_whom)]
"""Where a message of a recipient has its parts; templates over `event`. `quoted_id` is the invocation id of
the message that it answers."""
