"""The kinds of credentials: by the name that references use, and read from what a person gives."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from clarion.errors import InputError, InputErrors, JobError, nearest
from clarion.models.base import Model
from clarion.models.credentials import (
    ApiKey,
    BasicAuth,
    BearerToken,
    Credentials,
    VonageApplication,
    WebhookUrl,
)
from clarion.models.webhook_credentials import (
    GenericWebhook,
    TwilioWebhook,
    VonageWebhook,
    WebhookCredentials,
)
from clarion.models.webhook_secret import WebhookSecret

CREDENTIALS: Mapping[str, type[Credentials]] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (BearerToken, BasicAuth, ApiKey, VonageApplication, WebhookUrl, WebhookSecret)
    }
)
"""The kinds of credentials by the name that references use."""

WEBHOOK_CREDENTIALS: Mapping[str, type[WebhookCredentials]] = MappingProxyType(
    {kind.kind: kind for kind in (VonageWebhook, TwilioWebhook, GenericWebhook)}
)
"""The kinds that prove who posts to an endpoint of `clarion serve`; no action can use them."""


def split_reference(reference: str, *, kinds: Collection[str] = CREDENTIALS) -> tuple[str, str]:
    """The kind and the name of `vonage-application/main`.

    Args:
        reference: As it was given.
        kinds: The kinds it may be of.

    Raises:
        JobError: It has no such form, or no kind of credentials has this name.
    """
    kind, _, name = reference.partition("/")
    if not kind or not name:
        raise JobError(
            f"{reference!r} names no credentials",
            where="credentials",
            expected=f"TYPE/NAME, as {next(iter(kinds))}/main",
        )
    if kind not in kinds:
        raise JobError(
            f"there are no credentials of type {kind!r}",
            where="credentials",
            expected=f"one of {', '.join(kinds)}",
            nearest=nearest(kind, kinds),
        )
    return kind, name


def dummy_credentials(reference: str) -> Credentials:
    """Made-up credentials of the kind that a reference names; raises as `split_reference`."""
    return CREDENTIALS[split_reference(reference)[0]].dummy()


C = TypeVar("C", bound=Model)


def parse_credentials(model: type[C], data: Mapping[str, Any], *, source: str) -> C:
    """`data` as credentials.

    Args:
        model: Kind of credentials.
        data: Its fields.
        source: What the fields belong to, told in errors.

    Raises:
        JobError: One field is wrong. What was given is never in the message.
        InputErrors: Several fields are wrong.
    """
    try:
        return model.model_validate(data)
    except JobError as exc:
        raise exc.at(source) from None
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False, include_context=False)
    problems = [_problem(model, error, source=source) for error in errors]
    raise problems[0] if len(problems) == 1 else InputErrors(problems)


def _problem(model: type[Model], error: ErrorDetails, *, source: str) -> InputError:
    field = ".".join(str(step) for step in error["loc"])
    where = f"{source}.{field}"
    if error["type"] == "missing":
        return JobError("is missing", where=where)
    if error["type"] == "extra_forbidden":
        names = list(model.model_fields)
        return JobError(
            "unknown key", where=where, expected=f"one of {', '.join(names)}", nearest=nearest(field, names)
        )
    message = error["msg"].removeprefix("Input should be ")
    return JobError("is not valid", where=where, expected=message[0].lower() + message[1:])
