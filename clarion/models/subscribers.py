"""Who is told of events: a URL that gets signed requests."""

import re
from typing import Annotated, Literal

import httpx
from pydantic import AfterValidator, Field

from clarion.models.base import Model, Text

SubscribedType = Literal[
    "action-call-succeeded",
    "action-call-failed",
    "action-call-info",
    "recipient-response",
    "click",
    "conversion",
    "unsubscribe",
    "unknown",
]
SUBSCRIBED_TYPES: tuple[SubscribedType, ...] = (
    "action-call-succeeded",
    "action-call-failed",
    "action-call-info",
    "recipient-response",
    "click",
    "conversion",
    "unsubscribe",
    "unknown",
)
"""The types of event that are stored, and so can be passed on."""

SECRET_KIND = "webhook-secret"  # noqa: S105  # the name of a kind
"""The kind of credentials that sign what subscribers get."""

_NAME = re.compile(r"[a-z0-9-]+")
_SECRET = re.compile(rf"{SECRET_KIND}/[a-z0-9-]+")


def _is_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and dashes")
    return value


def _is_address(value: str) -> str:
    """Only http and https, and nothing that a log or a table should not show."""
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("must be an http or https URL")
    if url.userinfo or url.fragment:
        raise ValueError("must hold neither a password nor a fragment")
    return value


def _is_secret(value: str) -> str:
    if not _SECRET.fullmatch(value):
        raise ValueError(f"must name saved credentials, as {SECRET_KIND}/main")
    return value


def _some_once(types: list[SubscribedType]) -> list[SubscribedType]:
    twice = next((each for index, each in enumerate(types) if each in types[:index]), None)
    if twice is not None:
        raise ValueError(f"names {twice} twice")
    return types


class Subscription(Model):
    """Where events are posted to, which ones, and whose secret signs them."""

    url: Annotated[Text, AfterValidator(_is_address)] = Field(
        max_length=2_000, description="http or https URL that events are posted to."
    )
    events: Annotated[list[SubscribedType], AfterValidator(_some_once)] = Field(
        min_length=1, description="Types of events to post."
    )
    secret: Annotated[Text, AfterValidator(_is_secret)] = Field(
        description="Saved secret that signs the requests, as webhook-secret/NAME."
    )


class Subscriber(Subscription):
    """A subscription with the name that deliveries are listed by."""

    name: Annotated[Text, AfterValidator(_is_name)] = Field(
        max_length=100, description="Name of the subscriber: lower-case letters, digits and dashes."
    )


def subscribed_once(subscribers: list[Subscriber]) -> list[Subscriber]:
    """The subscribers, each with a name of its own. Raises ValueError for a name that stands twice."""
    names = [subscriber.name for subscriber in subscribers]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"two subscribers are named {twice!r}")
    return subscribers
