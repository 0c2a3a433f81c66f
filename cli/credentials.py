"""`clarion credentials save`: secrets from anywhere but the command line, where the shell would keep them."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from blocks.credentials import CREDENTIAL_BLOCKS, CredentialBlock
from blocks.documents import check_name, save_document
from blocks.webhook_credentials import WEBHOOK_BLOCKS, WebhookBlock
from clarion.documents import read_text
from clarion.errors import SettingError, nearest
from clarion.models.base import Model
from clarion.models.credential_kinds import parse_credentials, split_reference
from clarion.models.credentials import ApiKey, VonageApplication
from clarion.models.webhook_credentials import GenericWebhook
from clarion.receiving.endpoints import PREFIX
from cli.console import AsJson, print_json
from cli.usage import help_if_alone

SAVE = """
Save credentials that actions name as TYPE/NAME. What is not given is asked for, secrets without echo.

Types: bearer-token, basic-auth, api-key, vonage-application, webhook-url, webhook-secret; for endpoints of
`clarion serve` vonage-webhook, twilio-webhook, generic-webhook. A secret is never an argument, because
arguments stay in the shell's history: it comes from a hidden question, a variable, a file or standard input.

Examples:

    clarion credentials save bearer-token/sendgrid
    clarion credentials save vonage-application/main --set application_id=ID --private-key-file private.key
    clarion credentials save api-key/vonage --set location=body --env api_key=KEY --env api_secret=SECRET
    clarion credentials save bearer-token/sendgrid --stdin --replace < token.json
    clarion credentials save vonage-webhook/main --env signature_secret=SIGNATURE_SECRET
"""


CredentialBlockType = type[CredentialBlock] | type[WebhookBlock]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(
        callback=help_if_alone, invoke_without_command=True, help="Credentials of the APIs that actions call."
    )
    group.command("save", help=SAVE)(save)
    app.add_typer(group, name="credentials")


def save(
    reference: Annotated[str, typer.Argument(metavar="TYPE/NAME", help="Such as bearer-token/sendgrid.")],
    *,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field that is no secret.")
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="FIELD=VARIABLE", help="A field from an environment variable."),
    ] = None,
    private_key_file: Annotated[
        Path | None, typer.Option(help="File of a vonage-application's private key (PEM).")
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read fields from standard input, as a JSON object.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is saved under the name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Save credentials under TYPE/NAME."""
    block_types: Mapping[str, CredentialBlockType] = {**CREDENTIAL_BLOCKS, **WEBHOOK_BLOCKS}
    kind, name = split_reference(reference, kinds=block_types)
    block_type = block_types[kind]
    check_name(block_type, name, replace=replace)  # before anybody types a secret in vain
    fields = _from_stdin() if stdin else {}
    fields |= _from_arguments(block_type, values or [])
    fields |= _from_environment(block_type, variables or [], known=fields)
    if private_key_file is not None:
        fields["private_key"] = read_text(private_key_file, where="--private-key-file")
    fields |= _from_questions(block_type, _missing(block_type, fields))
    new = save_document(parse_credentials(block_type, fields, source=reference), name, replace=replace)
    if as_json:
        print_json({"saved": reference, "new": new})
    else:
        use = (
            f"`clarion serve` receives at {PREFIX}/{reference}"
            if kind in WEBHOOK_BLOCKS
            else f"An action names it: credentials: {reference}"
        )
        typer.echo(f"{'Saved' if new else 'Replaced'} {reference}. {use}")


def _from_stdin() -> dict[str, Any]:
    """The JSON object on standard input.

    Raises:
        SettingError: It is none. What it holds is not repeated: it may be a secret.
    """
    try:
        fields = json.load(sys.stdin)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise SettingError("holds no JSON object", where="--stdin", expected='fields, as {"token": "..."}')
    return fields


def _from_arguments(model: type[Model], pairs: list[str]) -> dict[str, Any]:
    """The fields of `--set FIELD=VALUE`.

    Raises:
        SettingError: No such field, or a secret one.
    """
    fields: dict[str, Any] = {}
    for pair in pairs:
        field, value = _split(pair, option="--set")
        if field in _secret_fields(model) or (field not in model.model_fields and issubclass(model, ApiKey)):
            raise SettingError(
                f"{field} is a secret, and arguments stay in the shell's history",
                where="--set",
                expected=f"--env {field}=VARIABLE, --stdin, or the hidden question",
            )
        fields[field] = _typed(model, field, value, option="--set")
    return fields


def _from_environment(model: type[Model], pairs: list[str], *, known: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `--env FIELD=VARIABLE`; an API key's are entries of its `fields`, added to those known.

    Raises:
        SettingError: No such field, or the variable is not set.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        field, variable = _split(pair, option="--env")
        value = os.environ.get(variable)
        if value is None:
            raise SettingError(f"the variable {variable} is not set", where=f"--env {field}")
        found[field] = value
    if found and issubclass(model, ApiKey):
        before = known.get("fields")
        return {"fields": (before if isinstance(before, dict) else {}) | found}
    return {field: _typed(model, field, value, option="--env") for field, value in found.items()}


def _missing(model: type[Model], fields: Mapping[str, Any]) -> list[str]:
    """The fields to ask for.

    Raises:
        SettingError: There are some, and nobody to ask.
    """
    missing = [
        name for name, field in model.model_fields.items() if field.is_required() and name not in fields
    ]
    if issubclass(model, GenericWebhook) and sys.stdin.isatty() and not {"token", "secret"} & set(fields):
        missing = ["token"]
    if missing and not sys.stdin.isatty():
        raise SettingError(
            f"no {' and no '.join(missing)} given, and nobody is here to be asked",
            where="credentials save",
            expected="--env FIELD=VARIABLE, --stdin, --set FIELD=VALUE for what is no secret, or a terminal",
        )
    return missing


def _from_questions(model: type[Model], missing: list[str]) -> dict[str, Any]:
    """What a person answers, secrets without echo."""
    answers: dict[str, Any] = {}
    for field in missing:
        question = str(model.model_fields[field].description).rstrip(".")
        if issubclass(model, ApiKey):
            name = typer.prompt("Name of the field", default="X-Api-Key", err=True)
            answers[field] = {name: typer.prompt(f"Secret value of {name}", hide_input=True, err=True)}
        elif issubclass(model, VonageApplication) and field == "private_key":
            path = Path(typer.prompt("File of the private key (PEM)", err=True))
            answers[field] = read_text(path, where="private_key")
        elif field in _secret_fields(model):
            answers[field] = typer.prompt(question, hide_input=True, default="", show_default=False, err=True)
        else:
            answers[field] = typer.prompt(question, err=True)
    return answers


def _secret_fields(model: type[Model]) -> set[str]:
    return {name for name, field in model.model_fields.items() if field.annotation is SecretStr} | (
        {"fields"} if issubclass(model, ApiKey) else set()
    )


def _split(pair: str, *, option: str) -> tuple[str, str]:
    field, equals, value = pair.partition("=")
    if not field or not equals:
        # The pair is not repeated: it may be a bare secret.
        raise SettingError("names no field", where=option, expected=f"{option} FIELD=...")
    return field, value


def _typed(model: type[Model], field: str, text: str, *, option: str) -> Any:
    """The text as the number that the field wants; as it is where it wants text, or where it is no number.

    Raises:
        SettingError: No such field.
    """
    if field not in model.model_fields:
        names = list(model.model_fields)
        raise SettingError(
            f"there is no field {field!r}",
            where=option,
            expected=f"one of {', '.join(names)}",
            nearest=nearest(field, names),
        )
    wanted = model.model_fields[field].annotation
    return int(text) if wanted is int and text.isdecimal() else text
