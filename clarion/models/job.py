"""A job: the campaign. Whom, what, in which order, when."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from clarion.models.action import Action
from clarion.models.base import Model, Name, NamedValues, SourceFloat, SourceInt, Text
from clarion.models.lists import FileList, ItemsList
from clarion.models.timing import MOST_HOLIDAYS, Holiday, Schedule, TimeZone, Window

_REFERENCE = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")

ItemStatus = Literal["skipped", "pending", "sending", "succeeded", "failed", "unknown"]
ITEM_STATUSES: tuple[ItemStatus, ...] = ("skipped", "pending", "sending", "succeeded", "failed", "unknown")


def _short_form(key: str) -> Callable[[Any], Any]:
    """Reads a bare text as the mapping that has it under `key`."""

    def read(value: Any) -> Any:
        written = value.text if isinstance(value, SourceInt | SourceFloat) else value
        if isinstance(written, dict | Model):
            return written
        if not isinstance(written, str):
            raise ValueError("must be text or a mapping")  # noqa: TRY004  # Pydantic knows ValueError
        return {key: written}

    return read


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
    if isinstance(value, FileList | ItemsList | RunList):
        return {FileList: "file", ItemsList: "items", RunList: "run"}[type(value)]
    given = value if isinstance(value, dict) else {}
    return next((kind for kind in ("items", "run") if kind in given), "file")


ListSource = Annotated[
    Annotated[FileList, Tag("file")] | Annotated[ItemsList, Tag("items")] | Annotated[RunList, Tag("run")],
    Discriminator(_kind_of_list),
]
"""A list, told apart by its first word: `file`, `items` or `run`."""


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


class Recipient(Model):
    """How the recipient of an item is made, and what it must be."""

    value: Text = Field(min_length=1, description="Template of the recipient.")
    type: Literal["text", "phone", "email"] = Field(
        default="text", description="Normalisation: phone to E.164, email trimmed, text as rendered."
    )
    region: Text | None = Field(
        default=None, description="Template of the country (name or ISO code) of local phone numbers."
    )

    @model_validator(mode="after")
    def _region_of_phones(self) -> Self:
        if self.region is not None and self.type != "phone":
            raise ValueError("region goes with type phone")
        return self


class TemplateText(Model):
    """A message text, written in place or kept in a file of its own."""

    text: Text | None = Field(default=None, description="The text, a template.")
    file: Text | None = Field(
        default=None, min_length=1, description="File that holds the text, relative to the job file."
    )

    @model_validator(mode="after")
    def _some_text(self) -> Self:
        if self.text is None and self.file is None:
            raise ValueError("needs a text or a file")
        return self

    def is_html(self, name: str) -> bool:
        """Whether what is filled in is escaped: the text is named html, or its file is one."""
        return name == "html" or (self.file or "").lower().endswith((".html", ".htm"))


class FallbackStep(Model):
    """What an item is tried with when the action before it refuses it for good."""

    action: Name = Field(description="Action of the job, or a saved one as http-action/NAME.")
    recipient: Annotated[Recipient, BeforeValidator(_short_form("value"))] | None = Field(
        default=None,
        description="Template of the recipient, with its type and region; none for the item's own.",
    )
    parameters: NamedValues = Field(
        default_factory=dict, description="Values for the action's parameters, before those of the segment."
    )
    template: dict[str, Annotated[TemplateText, BeforeValidator(_short_form("text"))]] = Field(
        default_factory=dict, description="Message texts by name, before those of the segment."
    )


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
    template: dict[str, Annotated[TemplateText, BeforeValidator(_short_form("text"))]] = Field(
        default_factory=dict,
        description="Message texts by name, read by actions as template.NAME; html is escaped.",
    )
    fallback: list[FallbackStep] = Field(
        default_factory=list, description="Steps for items that the action refuses for good, in order."
    )


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
    recipient: Annotated[Recipient, BeforeValidator(_short_form("value"))] = Field(
        description="Template of the recipient, with its type and region."
    )
    matching: Literal["first", "all"] = Field(
        default="first", description="Whether an item goes to the first segment that matches or to all."
    )
    segments: Annotated[list[Segment], AfterValidator(_named_once)] = Field(
        min_length=1, description="Segments, tried in this order."
    )
    actions: dict[Name, Action] = Field(default_factory=dict, description="Actions by name.")
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
