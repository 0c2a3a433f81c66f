"""An action: a templated HTTP call, and how to read its answer."""

import math
import re
from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from clarion.models.answers import EventMapping, InboundMapping, StatusMapping
from clarion.models.base import Json, Model, Name, NamedTexts, SpelledJson, Text

HTTP_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

_CODE = re.compile(r"[1-5](?:xx|[0-9][0-9])")
_REFERENCE = re.compile(r"[a-z0-9-]+/[^/\s]+")
_WHOLE = re.compile(r"[-+]?[0-9]{1,20}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?")


def _status_code(value: object) -> object:
    """`202` or `2xx` as text; whether it is one of these the pattern tells."""
    return str(int(value)) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_status_code(value: str) -> str:
    if not _CODE.fullmatch(value):
        raise ValueError("must be a status code such as 202, or a class of them such as 2xx")
    return value


StatusCode = Annotated[Text, BeforeValidator(_status_code), AfterValidator(_is_status_code)]
"""An HTTP status code (`202`) or a class of them (`2xx`)."""

Method = Annotated[
    Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


class Parameter(Model):
    """A value that a segment gives to the action."""

    name: Name = Field(description="Name, read in templates as `parameters.NAME`.")
    type: Literal["string", "number", "boolean"] = Field(
        default="string", description="Type that the given value is converted to."
    )
    default: SpelledJson = Field(
        default=None, description="Value where the segment gives none, no template; null makes it required."
    )

    @model_validator(mode="after")
    def _usable_default(self) -> Self:
        if isinstance(self.default, str) and "{{" in self.default:
            raise ValueError("a default is no template; give the template in the segment's parameters")
        if self.default is not None:
            self.typed(None)
        return self

    def typed(self, value: Any) -> str | float | bool:
        """`value`, or the default where it is none, in the declared type.

        Raises:
            ValueError: It is not of that type, or missing; the message does not repeat it.
        """
        value = self.default if value is None else value
        if value is None:
            raise ValueError("the value is missing")
        if not isinstance(value, str | int | float):
            raise ValueError(f"the value is no {self.type}")  # noqa: TRY004  # Pydantic knows ValueError
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if self.type == "string":
            return text
        word = text.strip().lower()
        if self.type == "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else _number(word)
        if word not in _TRUE | _FALSE:
            raise ValueError("the value is no boolean")
        return word in _TRUE


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("the value is no number")
    number = int(text) if _WHOLE.fullmatch(text) else float(text)
    if not math.isfinite(number):
        raise ValueError("the value is no number")
    return number


def _declared_once(parameters: list[Parameter]) -> list[Parameter]:
    names = [parameter.name for parameter in parameters]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"two parameters are named {twice!r}")
    return parameters


class BackoffPolicy(Model):
    """How long to wait between tries: `base * 2**n` seconds, at most the maximum."""

    base_interval_seconds: float = Field(default=1, gt=0, le=86_400, description="First wait, in seconds.")
    max_interval_seconds: float = Field(default=30, gt=0, le=86_400, description="Longest wait, in seconds.")


class RetryPolicy(Model):
    """How often a call that may succeed later is tried again."""

    num_retries: int = Field(default=3, ge=0, le=100, description="Tries after the first one.")
    backoff_policy: BackoffPolicy = Field(
        default_factory=BackoffPolicy, description="Waits between the tries."
    )

    def delay_seconds(self, tries: int) -> float:
        """The wait after the `tries`-th try (1 for the first), in seconds."""
        policy = self.backoff_policy
        exponent = min(max(tries, 1) - 1, 40)  # 2**40 base intervals pass every maximum; no overflow
        return min(policy.base_interval_seconds * 2.0**exponent, policy.max_interval_seconds)


class Command(Model):
    """The HTTP request, every text of it a template."""

    type: Literal["http-api-invoke"] = Field(default="http-api-invoke", description="Kind of command.")
    method: Method = Field(default="POST", description="HTTP method.")
    url: Text = Field(min_length=1, description="Absolute http or https URL, a template.")
    headers: NamedTexts = Field(default_factory=dict, description="Header names to templates.")
    payload: Json = Field(default=None, description="Body sent as JSON; its texts are templates.")
    form: NamedTexts | None = Field(
        default=None, description="Body sent as a form; its values are templates."
    )
    body: Text | None = Field(default=None, description="Body sent as the template renders, UTF-8.")

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        given = [name for name in ("payload", "form", "body") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"takes one of payload, form and body, not {' and '.join(given)}")
        return self


class ErrorMapping(Model):
    """Where a refusal says what was wrong: templates over `response`, or of a receipt's over `event`."""

    code: Text | None = Field(default=None, description="Template of the provider's error code.")
    reason: Text | None = Field(default=None, description="Template of the provider's explanation.")


class ResponsePolicy(Model):
    """How to read an answer: success, try again, unknown, or refused for good."""

    success_codes: list[StatusCode] = Field(
        default_factory=lambda: ["2xx"], min_length=1, description="Status codes of a success."
    )
    success_condition: Text | None = Field(
        default=None, description="Condition over `response` that a success must also meet."
    )
    retry_codes: list[StatusCode] = Field(
        default_factory=lambda: ["408", "425", "429", "500", "503"],
        description="Status codes after which the call is tried again.",
    )
    retry_condition: Text | None = Field(
        default=None, description="Condition over `response` that asks for another try, whatever the code."
    )
    unknown_codes: list[StatusCode] = Field(
        default_factory=lambda: ["502", "504"],
        description="Status codes that leave open whether the call had its effect.",
    )
    invocation_id: Text | None = Field(
        default=None, description="Template of the provider's id of the call, over `response`."
    )
    error: ErrorMapping = Field(
        default_factory=ErrorMapping, description="Where a refusal or a receipt says what was wrong."
    )
    event: EventMapping = Field(
        default_factory=EventMapping, description="Where a receipt of a generic endpoint names its call."
    )
    status: StatusMapping | None = Field(
        default=None, description="What a receipt's status means; null for the provider's own meaning."
    )
    inbound: InboundMapping | None = Field(
        default=None, description="Where a message that a generic endpoint gets has its parts."
    )

    @model_validator(mode="after")
    def _codes_once(self) -> Self:
        lists = {name: set(getattr(self, name)) for name in ("success_codes", "retry_codes", "unknown_codes")}
        for one, other in combinations(lists, 2):
            both = sorted(lists[one] & lists[other])
            if both:
                raise ValueError(f"{both[0]} stands in {one} and in {other}; give both lists")
        return self


class ActionLimit(Model):
    """A limit beside the action's own, for each value of its key."""

    name: Name = Field(description="Name of the limit.")
    key: Text | None = Field(
        default=None, description="Template of what shares the limit; null for all calls of the action."
    )
    tps: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="Most calls a second, over all workers; null for no limit.",
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=10_000, description="Most calls at once, over all workers; null for no limit."
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.tps is None and self.concurrency is None:
            raise ValueError("limits nothing: give tps, concurrency or both")
        return self


def _limits_once(limits: list[ActionLimit]) -> list[ActionLimit]:
    names = [limit.name for limit in limits]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"two limits are named {twice!r}")
    return limits


def _is_reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError(f"{value!r} is no saved credentials; they are named TYPE/NAME")
    return value


class Action(Model):
    """A templated call, its limits, its retries, and how to read the answer."""

    channel: Name | None = Field(default=None, description="Channel, such as sms or email.")
    parameters: Annotated[list[Parameter], AfterValidator(_declared_once)] = Field(
        default_factory=list, description="Values that segments give to the action."
    )
    command: Command = Field(description="HTTP request to make.")
    sender: Text | None = Field(
        default=None,
        min_length=1,
        description="Template of what recipients see as from and answer to; null for parameters.sender, or "
        "parameters.from, where the action has such a parameter.",
    )
    credentials: Annotated[Text, AfterValidator(_is_reference)] | None = Field(
        default=None,
        description="Saved credentials block, as TYPE/NAME, for example vonage-application/main.",
    )
    tps: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="Most calls a second, over all workers; null for no limit.",
    )
    limits: Annotated[list[ActionLimit], AfterValidator(_limits_once)] = Field(
        default_factory=list,
        max_length=8,
        description="Limits beside it, such as one for each sender; from the widest to the narrowest.",
    )
    timeout_seconds: float = Field(
        default=5, gt=0, le=600, description="Longest wait for an answer, in seconds."
    )
    idempotency_header: Name | None = Field(
        default="Idempotency-Key", description="Header that carries the idempotency key; null for none."
    )
    on_unknown: Literal["hold", "resend"] = Field(
        default="hold", description="What to do when a call left and its answer never came."
    )
    retry_policy: RetryPolicy = Field(default_factory=RetryPolicy, description="Tries after the first one.")
    response: ResponsePolicy = Field(default_factory=ResponsePolicy, description="How to read the answer.")
