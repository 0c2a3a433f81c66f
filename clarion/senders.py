"""What the recipient of a message sees as its sender, and answers to."""

from collections.abc import Mapping
from typing import Any

from clarion.attribution import sender_address
from clarion.campaign import Campaign, CompiledAction, CompiledSegment
from clarion.errors import RenderError


def sender_of(campaign: Campaign, sending: CompiledSegment, scope: Mapping[str, Any]) -> str | None:
    """The address that a message was sent from, as `address_of` spells it; None where nobody can say.

    Args:
        campaign: The compiled job.
        sending: The segment, at the step that sent it.
        scope: `item`, `recipient`, `job`, `run` and `run_item`, as they were for the message.
    """
    action = campaign.actions[sending.action]
    if action.sender is None:
        return None
    try:
        parameters = action.values(sending, scope, names=_parameters_of(action))
        return sender_address(action.sender.render({**scope, "parameters": parameters}))
    except RenderError:
        return None


def _parameters_of(action: CompiledAction) -> frozenset[str] | None:
    """The parameters that the sender names; None where it looks one up by a name that is only found then."""
    sender = action.sender
    if sender is None or "parameters" not in sender.scopes:
        return frozenset()
    named = frozenset(name for scope, name in sender.references if scope == "parameters")
    return named or None
