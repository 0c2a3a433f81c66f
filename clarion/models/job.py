"""A job: the campaign. Whom, what, in which order, when."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from clarion.models.action import Action
from clarion.models.addressing import Recipient, TemplateText, short_form
from clarion.models.base import Model, Name, NamedValues, Text
from clarion.models.handlers import Handler, named_once
from clarion.models.lists import FileList, ItemsList, ManagedList
from clarion.models.subscribers import Subscriber, subscribed_once
from clarion.models.timing import MOST_HOLIDAYS, Holiday, Schedule, TimeZone, Window

_REFERENCE = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")

FallbackCause = Literal["refused", "undelivered"]
ItemStatus = Literal["skipped", "pending", "sending", "succeeded", "failed", "unknown"]
ITEM_STATUSES: tuple[ItemStatus, ...] = ("skipped", "pending", "sending", "succeeded", "failed", "unknown")


class RunList(Model):
    """The items of an earlier run of the same job, chosen by what became of them."""

    run: Text = Field(min_length=1, description="Run id, a prefix of it, or last.")
    status: list[ItemStatus] = Field(
        default_factory=list, description="Statuses to take; none given means all of them."
    )
    reason: list[Text] = Field(
        default_factory=list, description="Reasons to take; none given means all of them."
    )
    key: Text | None = Field(default=None, min_length=1, description="Attribute that identifies an item.")
    recipient: Text | None = Field(
        default=None, min_length=1, description="Template of the recipient, to exclude by recipient."
    )


def _kind_of_list(value: Any) -> str:
    if isinstance(value, FileList | ItemsList | RunList | ManagedList):
        return {FileList: "file", ItemsList: "items", RunList: "run", ManagedList: "list"}[type(value)]
    given = value if isinstance(value, dict) else {}
    return next((kind for kind in ("items", "run", "list") if kind in given), "file")


ListSource = Annotated[
    Annotated[FileList, Tag("file")]
    | Annotated[ItemsList, Tag("items")]
    | Annotated[RunList, Tag("run")]
    | Annotated[ManagedList, Tag("list")],
    Discriminator(_kind_of_list),
]
"""A list, told apart by its first word: `file`, `items`, `run` or `list`."""


def _tells_how(source: ListSource) -> ListSource:
    if (source.key is None) == (source.recipient is None):
        raise ValueError("needs either key or recipient to be matched by")
    return source


def _without_recipient(source: ListSource) -> ListSource:
    if source.recipient is not None:
        raise ValueError("takes no recipient; the job's own recipient renders it")
    return source


class Recipients(Model):
    """The lists that make up whom a campaign speaks to."""

    include: list[Annotated[ListSource, AfterValidator(_without_recipient)]] = Field(
        min_length=1, description="Lists whose items are targets."
    )
    exclude: list[Annotated[ListSource, AfterValidator(_tells_how)]] = Field(
        default_factory=list, description="Lists whose items are left out, by key or by recipient."
    )


class FallbackStep(Model):
    """What an item is tried with when the action before it refuses it for good."""

    action: Name = Field(description="Action of the job, or a saved one as http-action/NAME.")
    recipient: Annotated[Recipient, BeforeValidator(short_form("value"))] | None = Field(
        default=None,
        description="Template of the recipient, with its type and region; none for the item's own.",
    )
    parameters: NamedValues = Field(
        default_factory=dict, description="Values for the action's parameters, before those of the segment."
    )
    template: dict[str, Annotated[TemplateText, BeforeValidator(short_form("text"))]] = Field(
        default_factory=dict, description="Message texts by name, before those of the segment."
    )


def _on_refusals() -> list[FallbackCause]:
    return ["refused"]


class Segment(Model):
    """The part of the recipients that a condition picks, and the action applied to it."""

    name: Name = Field(description="Name of the segment.")
    description: Text | None = Field(default=None, description="What the segment is for.")
    condition: Text | None = Field(
        default=None, description="Condition on the item; none means everyone not matched before."
    )
    action: Name = Field(description="Action of the job, or a saved one as http-action/NAME.")
    parameters: NamedValues = Field(
        default_factory=dict, description="Values for the action's parameters; texts are templates."
    )
    template: dict[str, Annotated[TemplateText, BeforeValidator(short_form("text"))]] = Field(
        default_factory=dict,
        description="Message texts by name, read by actions as template.NAME; html is escaped.",
    )
    fallback: list[FallbackStep] = Field(
        default_factory=list, description="Steps for items that the action fails for, in order."
    )
    fallback_on: list[FallbackCause] = Field(
        default_factory=_on_refusals,
        min_length=1,
        description="What the next step is tried on: a call that failed for good, or a receipt of a failure.",
    )
    fallback_within_seconds: float = Field(
        default=86_400,
        gt=0,
        le=30 * 86_400,
        description="How long after its call a message that was not delivered goes on with the next step.",
    )

    @model_validator(mode="after")
    def _something_to_go_on_with(self) -> Self:
        if self.fallback_on != ["refused"] and not self.fallback:
            raise ValueError("fallback_on goes with fallback, which has no step")
        return self


def _named_once(segments: list[Segment]) -> list[Segment]:
    names = [segment.name for segment in segments]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"two segments are named {twice!r}")
    return segments


def _names_a_deployment(value: str) -> str:
    if set(value) & set("/%&<>"):
        raise ValueError(f"{value!r} holds one of / % & < >, which the name of a deployment must not")
    return value


def _is_reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError(f"{value!r} is no saved block; they are named TYPE/NAME")
    return value


class Job(Model):
    """A campaign: recipients, ordered segments, actions, schedule."""

    name: Annotated[Name, AfterValidator(_names_a_deployment)] = Field(
        description="Name of the job and of its deployment."
    )
    description: Text | None = Field(default=None, description="What the campaign is for.")
    tags: list[Text] = Field(default_factory=list, description="Tags of the deployment and its runs.")
    recipients: Recipients = Field(description="Lists to include and to exclude.")
    recipient: Annotated[Recipient, BeforeValidator(short_form("value"))] = Field(
        description="Template of the recipient, with its type and region."
    )
    matching: Literal["first", "all"] = Field(
        default="first", description="Whether an item goes to the first segment that matches or to all."
    )
    segments: Annotated[list[Segment], AfterValidator(_named_once)] = Field(
        min_length=1, description="Segments, tried in this order."
    )
    actions: dict[Name, Action] = Field(default_factory=dict, description="Actions by name.")
    events: Annotated[list[Handler], AfterValidator(named_once)] = Field(
        default_factory=list, description="Handlers of what comes back."
    )
    matching_handlers: Literal["first", "all"] = Field(
        default="all",
        description="Whether all handlers that match an event react to it, or the first of them.",
    )
    on_template_error: Literal["skip", "fail"] = Field(
        default="skip",
        description="What to do with an item whose request does not render: skip it, or fail the plan.",
    )
    pause_after_errors: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Provider failures in a row that pause the run; null for none.",
    )
    notify: Annotated[Text, AfterValidator(_is_reference)] | None = Field(
        default=None,
        description="Saved notification block that is told of that pause, for example slack-webhook/alerts.",
    )
    webhooks: Annotated[list[Subscriber], AfterValidator(subscribed_once)] = Field(
        default_factory=list, description="Who gets events of the job's runs, by signed requests."
    )
    conversion_days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="Days after a message or a click within which a conversion is counted for it.",
    )
    schedule: Schedule | None = Field(default=None, description="When runs start.")
    send_at: Text | None = Field(
        default=None, min_length=1, description="Template of the time before which an item is not sent."
    )
    windows: list[Window] = Field(
        default_factory=list, description="Hours in which messages may leave; none given means at any time."
    )
    timezone: Text | None = Field(
        default=None, min_length=1, description="Template of the recipient's IANA time zone."
    )
    fallback_timezone: TimeZone | None = Field(
        default=None, description="IANA time zone of recipients whose own is missing or not known."
    )
    holidays: list[Holiday] = Field(
        default_factory=list, max_length=MOST_HOLIDAYS, description="Dates on which nothing is sent."
    )
    outside_window: Literal["hold", "skip"] = Field(
        default="hold", description="What to do with an item outside its windows: hold it, or skip it."
    )

    @property
    def reactions(self) -> list[Handler]:
        """The handlers that are actions: what the segments are to a run of its reactions."""
        return [handler for handler in self.events if handler.action is not None]
