"""Event handlers: a condition on what came back, and what is done about it."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from clarion.models.addressing import Recipient, TemplateText, short_form
from clarion.models.base import Model, Name, NamedValues, Text

_BLOCK = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


def _is_block(value: str) -> str:
    if not _BLOCK.fullmatch(value):
        raise ValueError(f"{value!r} is no saved block; they are named TYPE/NAME")
    return value


class Unsubscribe(Model):
    """Suppress who answered: nothing more is sent to them."""

    scope: Literal["everything", "channel", "job"] = Field(
        default="everything",
        description="What they get no more: everything, the channel of the message, or this job.",
    )


class AddToList(Model):
    """Put the item on a managed list, in place of the one with its key."""

    list: Name = Field(description="Managed list.")
    item: NamedValues | None = Field(
        default=None, description="Attributes by name, their values templates; none for the item as it is."
    )


class RemoveFromList(Model):
    """Take an item off a managed list."""

    list: Name = Field(description="Managed list.")
    key: Text | None = Field(
        default=None, min_length=1, description="Template of the item's key; none for the item's own."
    )


class SetAttribute(Model):
    """Change attributes of an item of a managed list."""

    list: Name = Field(description="Managed list.")
    key: Text | None = Field(
        default=None, min_length=1, description="Template of the item's key; none for the item's own."
    )
    attributes: NamedValues = Field(
        min_length=1, description="Values by attribute, templates; the item keeps its other attributes."
    )


class RunJob(Model):
    """Start another job for this recipient alone."""

    job: Name = Field(description="Saved job, whose own recipients give way to the one item.")


class Notify(Model):
    """Tell people, by a saved notification block."""

    block: Annotated[Text, AfterValidator(_is_block)] = Field(
        description="Saved notification block, for example slack-webhook/alerts."
    )
    subject: Text | None = Field(default=None, description="Template of the subject.")
    body: Text = Field(min_length=1, description="Template of what they are told.")


class Emit(Model):
    """Tell another system, by an outgoing webhook."""

    subscriber: Name = Field(description="Subscriber of the job or of the installation that gets the event.")


class Handler(Model):
    """A condition on an event, and one reaction to it."""

    name: Name = Field(description="Name of the handler.")
    description: Text | None = Field(default=None, description="What the handler is for.")
    condition: Text = Field(
        min_length=1, description="Condition on the event, the item, its run item and the job."
    )
    action: Name | None = Field(
        default=None, description="Action of the job, or a saved one as http-action/NAME."
    )
    recipient: Annotated[Recipient, BeforeValidator(short_form("value"))] | None = Field(
        default=None,
        description="Template of the action's recipient, with its type and region; none for who answered.",
    )
    parameters: NamedValues = Field(
        default_factory=dict, description="Values for the action's parameters, before those of the segment."
    )
    template: dict[str, Annotated[TemplateText, BeforeValidator(short_form("text"))]] = Field(
        default_factory=dict,
        description="Message texts by name, read by actions as template.NAME; html is escaped.",
    )
    windows: Literal["ignore", "respect"] = Field(
        default="ignore", description="Whether the action leaves at once, or within the job's windows."
    )
    unsubscribe: Annotated[Unsubscribe, BeforeValidator(short_form("scope"))] | None = Field(
        default=None, description="Reaction: nothing more is sent to who answered."
    )
    add_to_list: Annotated[AddToList, BeforeValidator(short_form("list"))] | None = Field(
        default=None, description="Reaction: the item is put on a managed list."
    )
    remove_from_list: Annotated[RemoveFromList, BeforeValidator(short_form("list"))] | None = Field(
        default=None, description="Reaction: the item is taken off a managed list."
    )
    set_attribute: SetAttribute | None = Field(
        default=None, description="Reaction: attributes of an item of a managed list change."
    )
    run_job: Annotated[RunJob, BeforeValidator(short_form("job"))] | None = Field(
        default=None, description="Reaction: another job is run for this item alone."
    )
    notify: Notify | None = Field(default=None, description="Reaction: people are told.")
    emit: Annotated[Emit, BeforeValidator(short_form("subscriber"))] | None = Field(
        default=None, description="Reaction: a subscriber gets the event, whatever types it asked for."
    )

    @property
    def kind(self) -> str:
        """The one reaction of the handler: `action`, or the name of a built-in one."""
        return next(kind for kind in REACTIONS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_reaction(self) -> Self:
        given = [kind for kind in REACTIONS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = f"not {' and '.join(given)}" if given else "none of them is there"
            raise ValueError(f"takes one of {', '.join(REACTIONS)}; {found}")
        for key in ("recipient", "parameters", "template"):
            if given != ["action"] and getattr(self, key):
                raise ValueError(f"{key} goes with action")
        if given != ["action"] and self.windows != "ignore":
            raise ValueError("windows goes with action")
        return self


REACTIONS = (
    "action",
    "unsubscribe",
    "add_to_list",
    "remove_from_list",
    "set_attribute",
    "run_job",
    "notify",
    "emit",
)
"""The kinds of reactions."""

BUILT_IN_TEXTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "add_to_list": ("item",),
        "remove_from_list": ("key",),
        "set_attribute": ("key", "attributes"),
        "notify": ("subject", "body"),
    }
)
"""The fields of built-in reactions that are templates."""


def named_once(handlers: list[Handler]) -> list[Handler]:
    """Refuses two handlers of one name: a reaction is known by its event and its handler."""
    names = [handler.name for handler in handlers]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"two handlers are named {twice!r}")
    return handlers
