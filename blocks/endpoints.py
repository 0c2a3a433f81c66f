"""The endpoints of `clarion serve`, from what is saved in Prefect."""

from collections.abc import Sequence

from blocks.http_action import load_action
from blocks.webhook_credentials import WEBHOOK_BLOCKS, load_webhook_credentials, saved_webhooks
from clarion.errors import SettingError
from clarion.models.credential_kinds import WEBHOOK_CREDENTIALS, split_reference
from clarion.models.webhook_credentials import GenericWebhook
from clarion.receiving.endpoints import Endpoint, make_endpoint, open_endpoint


def load_endpoints(references: Sequence[str], *, opened: Sequence[str]) -> list[Endpoint]:
    """The endpoints to serve.

    Args:
        references: Saved ones, as KIND/NAME; none means all that ask for a proof.
        opened: Those beside them that believe whatever is posted there, as KIND/NAME, or NAME of a generic
            one. What is saved for it only says how to read it; nothing need be saved.

    Raises:
        InputError: A reference is none, nothing is saved there, what is saved is not valid, or it has no
            secret and is not opened, or it has one and is.
        SettingError: Prefect's API cannot be used.
    """
    saved = saved_webhooks()
    wanted = dict.fromkeys(references or saved)
    open_ones = dict.fromkeys(each if "/" in each else f"{GenericWebhook.kind}/{each}" for each in opened)
    endpoints = [_saved(each) for each in wanted if each not in open_ones]
    for endpoint in endpoints:
        if endpoint.is_open and references:
            raise SettingError(
                "has no token and no secret: anybody could post there",
                where=f"--endpoint {endpoint.reference}",
                expected=f"--open {endpoint.reference} where that is what you want",
            )
    closed = [endpoint for endpoint in endpoints if not endpoint.is_open]
    return closed + [_open(each, saved=saved) for each in open_ones]


def _saved(reference: str) -> Endpoint:
    _, name = split_reference(reference, kinds=WEBHOOK_BLOCKS)
    return make_endpoint(name, load_webhook_credentials(reference), load_action=load_action)


def _open(reference: str, *, saved: Sequence[str]) -> Endpoint:
    kind, name = split_reference(reference, kinds=WEBHOOK_CREDENTIALS)
    if reference not in saved:
        return open_endpoint(kind, name)
    endpoint = _saved(reference)
    if not endpoint.is_open:
        raise SettingError(
            "has a secret, which would not be asked for",
            where=f"--open {reference}",
            expected=f"--endpoint {reference}, or another name",
        )
    return endpoint
