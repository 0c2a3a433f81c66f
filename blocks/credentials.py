"""Credentials, saved as Prefect blocks: encrypted at rest, masked in the UI."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from prefect.blocks.core import Block, schema_extra
from pydantic import ConfigDict, HttpUrl

from blocks.documents import document_data
from clarion.models import credentials, webhook_secret
from clarion.models.credential_kinds import CREDENTIALS, parse_credentials, split_reference
from clarion.models.credentials import Credentials

_DOCUMENTATION = HttpUrl("https://github.com/clarion/clarion/blob/main/docs/credentials.md")


class BearerToken(Block, credentials.BearerToken):
    """A token that an API takes in the Authorization header.

    Example:
        ```python
        from blocks.credentials import BearerToken

        bearer_token = BearerToken.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Bearer Token"
    _block_type_slug = "bearer-token"
    _documentation_url = _DOCUMENTATION


class BasicAuth(Block, credentials.BasicAuth):
    """A user name and a password that an API takes in the Authorization header.

    Example:
        ```python
        from blocks.credentials import BasicAuth

        basic_auth = BasicAuth.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Basic Auth"
    _block_type_slug = "basic-auth"
    _documentation_url = _DOCUMENTATION


def _with_secret_values(schema: dict[str, Any], model: type[Block]) -> None:
    """Prefect's own additions to the schema, and every value of `fields` as secret.

    Prefect marks a mapping of secrets as one secret, which masks none of its values in the UI.
    """
    schema_extra(schema, model)
    schema["secret_fields"] = ["fields.*"]


class ApiKey(Block, credentials.ApiKey):
    """Secret fields that an API takes in its headers, its query or its body.

    Example:
        ```python
        from blocks.credentials import ApiKey

        api_key = ApiKey.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "API Key"
    _block_type_slug = "api-key"
    _documentation_url = _DOCUMENTATION

    model_config = ConfigDict(json_schema_extra=_with_secret_values)


class VonageApplication(Block, credentials.VonageApplication):
    """A Vonage application, whose private key signs a token for every quarter of an hour.

    Example:
        ```python
        from blocks.credentials import VonageApplication

        vonage_application = VonageApplication.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Vonage Application"
    _block_type_slug = "vonage-application"
    _documentation_url = _DOCUMENTATION


class WebhookUrl(Block, credentials.WebhookUrl):
    """The URL of an incoming webhook, which is a secret itself.

    Example:
        ```python
        from blocks.credentials import WebhookUrl

        webhook_url = WebhookUrl.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Webhook URL"
    _block_type_slug = "webhook-url"
    _documentation_url = _DOCUMENTATION


class WebhookSecret(Block, webhook_secret.WebhookSecret):
    """A secret that signs what subscribers of events get, as standardwebhooks.com specifies it.

    Example:
        ```python
        from blocks.credentials import WebhookSecret

        webhook_secret = WebhookSecret.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Webhook Secret"
    _block_type_slug = "webhook-secret"
    _documentation_url = _DOCUMENTATION


CredentialBlock = BearerToken | BasicAuth | ApiKey | VonageApplication | WebhookUrl | WebhookSecret

CREDENTIAL_BLOCKS: Mapping[str, type[CredentialBlock]] = MappingProxyType(
    {
        block.kind: block
        for block in (BearerToken, BasicAuth, ApiKey, VonageApplication, WebhookUrl, WebhookSecret)
    }
)
"""The blocks by the type that references name."""


def load_credentials(reference: str) -> Credentials:
    """The saved credentials of a reference such as `vonage-application/main`, as a model of the core.

    Raises:
        JobError: The reference is none, nothing is saved there, or what is saved is not valid.
        InputErrors: Several fields of it are not valid.
        SettingError: Prefect's API cannot be used.
    """
    kind, name = split_reference(reference)
    data = document_data(CREDENTIAL_BLOCKS[kind], name, save_with=f"clarion credentials save {reference}")
    return parse_credentials(CREDENTIALS[kind], data, source=reference)
