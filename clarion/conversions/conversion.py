"""A conversion as it is posted."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

import orjson
from pydantic import AwareDatetime, Field, ValidationError, field_validator, model_validator

from clarion.errors import InputError
from clarion.models.base import Json, Model, Text
from clarion.receiving.nesting import is_deep
from clarion.receiving.reading import FIRST_YEAR, MOST_ID_CHARACTERS
from clarion.templating.limits import MAX_DEPTH

CLOCK_SKEW = timedelta(minutes=5)
"""How far the clock of whoever tells of a conversion may be ahead of ours."""

ShortText = Annotated[Text, Field(min_length=1, max_length=MOST_ID_CHARACTERS, pattern=r"^[^\x00-\x1f]+$")]


class Conversion(Model):
    """What a recipient did, and by what the message behind it is found."""

    event_id: ShortText = Field(description="Id of the conversion: the same one is stored once.")
    name: ShortText = Field(default="conversion", description="What was done: order, signup.")
    click: Text | None = Field(
        default=None, max_length=4_096, description="Token of the link that was followed."
    )
    client_ref: ShortText | None = Field(
        default=None, description="Our reference of the message: run_item.id."
    )
    recipient: ShortText | None = Field(default=None, description="Number or address of the recipient.")
    value: float | None = Field(default=None, allow_inf_nan=False, description="What it is worth.")
    currency: Text | None = Field(
        default=None, pattern=r"^[A-Z]{3}$", description="Currency of the value, as ISO 4217 writes it."
    )
    occurred_at: AwareDatetime | None = Field(default=None, description="When; without it: when it is told.")
    data: dict[str, Json] = Field(default_factory=dict, description="Whatever else belongs to it.")

    @field_validator("occurred_at")
    @classmethod
    def _in_our_time(cls, occurred_at: datetime | None) -> datetime | None:
        if occurred_at is not None and occurred_at.year < FIRST_YEAR:
            raise ValueError(f"lies before {FIRST_YEAR}")
        if occurred_at is not None and occurred_at > datetime.now(UTC) + CLOCK_SKEW:
            raise ValueError("lies in the future")
        return occurred_at

    @field_validator("data")
    @classmethod
    def _can_be_stored(cls, data: dict[str, Json]) -> dict[str, Json]:
        try:
            orjson.dumps(data)
        except orjson.JSONEncodeError:
            raise ValueError("holds a number of more than 64 bits; write it as text") from None
        return data

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.click is None and self.client_ref is None and self.recipient is None:
            raise ValueError("needs one of click, client_ref and recipient")
        return self


def parse_conversion(body: bytes) -> Conversion:
    """The conversion of a request's body.

    Raises:
        InputError: It is none; what was given is never in the message.
    """
    if is_deep(body):
        raise InputError(f"is nested deeper than {MAX_DEPTH} levels")
    try:
        return Conversion.model_validate_json(body)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False, include_context=False)[0]
    message = error["msg"].removeprefix("Value error, ")
    raise InputError(message, where=".".join(str(step) for step in error["loc"]) or None)


def without_empty(conversion: Conversion) -> dict[str, Any]:
    """The conversion as it was told, as JSON data."""
    return conversion.model_dump(mode="json", exclude_unset=True)
