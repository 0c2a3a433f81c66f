"""Endpoints: a provider's module with the credentials of one account, under a name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from clarion.models.action import Action
from clarion.models.webhook_credentials import (
    GenericWebhook,
    TwilioWebhook,
    VonageWebhook,
    WebhookCredentials,
)
from clarion.receiving.generic import GenericMapping, GenericProvider
from clarion.receiving.requests import Provider
from clarion.receiving.twilio import TwilioProvider
from clarion.receiving.vonage import VonageProvider

PREFIX = "/webhooks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one provider posts.

    Attributes:
        kind: Kind of endpoint, as its credentials are saved.
        name: Its name.
        provider: What knows the provider.
        is_open: Whether whatever is posted there is believed.
    """

    kind: str
    name: str
    provider: Provider
    is_open: bool = False

    @property
    def reference(self) -> str:
        """`vonage-webhook/main`: how events name it."""
        return f"{self.kind}/{self.name}"

    @property
    def path(self) -> str:
        """The path of its URL."""
        return f"{PREFIX}/{self.reference}"


def make_endpoint(
    name: str, credentials: WebhookCredentials, *, load_action: Callable[[str], Action] | None = None
) -> Endpoint:
    """The endpoint of saved credentials.

    Args:
        name: Name that they are saved under.
        credentials: Of one of the kinds in `OPEN_PROVIDERS`.
        load_action: Gives the saved action that a generic webhook names.

    Raises:
        InputError: The action that a generic webhook names cannot be loaded, or a template does not parse.
    """
    provider: Provider
    if isinstance(credentials, VonageWebhook):
        provider = VonageProvider(credentials)
    elif isinstance(credentials, TwilioWebhook):
        provider = TwilioProvider(credentials)
    elif isinstance(credentials, GenericWebhook):
        provider = GenericProvider(credentials, mapping=_mapping(name, credentials, load_action))
    else:
        raise TypeError(f"no provider is known for {type(credentials).__name__}")
    return Endpoint(kind=credentials.kind, name=name, provider=provider, is_open=credentials.is_open())


def _mapping(
    name: str, credentials: GenericWebhook, load_action: Callable[[str], Action] | None
) -> GenericMapping | None:
    if credentials.action and load_action is not None:
        response = load_action(credentials.action).response
        return GenericMapping(response, where=f"{credentials.action}.response")
    if credentials.response is not None:
        return GenericMapping(credentials.response, where=f"{credentials.kind}/{name}.response")
    return None


def open_endpoint(kind: str, name: str) -> Endpoint:
    """An endpoint that believes whatever is posted there; `kind` is one of `OPEN_PROVIDERS`."""
    return Endpoint(kind=kind, name=name, provider=OPEN_PROVIDERS[kind](), is_open=True)


def by_path(endpoints: Sequence[Endpoint]) -> Mapping[tuple[str, str], Endpoint]:
    """The endpoints by kind and name."""
    return MappingProxyType({(each.kind, each.name): each for each in endpoints})


OPEN_PROVIDERS: Mapping[str, Callable[[], Provider]] = MappingProxyType(
    {
        VonageWebhook.kind: lambda: VonageProvider(None),
        TwilioWebhook.kind: lambda: TwilioProvider(None),
        GenericWebhook.kind: lambda: GenericProvider(GenericWebhook(), mapping=None),
    }
)
"""What reads the requests of each kind without asking for a proof."""
