"""Saving the secrets of endpoints from the command line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from blocks.webhook_credentials import load_webhook_credentials
from clarion.errors import InputError
from clarion.models.credential_kinds import split_reference
from clarion.models.webhook_credentials import GenericWebhook, VonageWebhook
from cli.credentials import register

SECRET = "s3cret-of-an-endpoint"
Clarion = Callable[..., str]


@pytest.fixture
def clarion(prefect_server: None) -> Clarion:
    """Runs `clarion credentials save` with arguments; gives what it printed, raises what it raises."""

    def run(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
        app = typer.Typer()
        register(app)
        arguments = ("credentials", "save", *arguments)
        result = CliRunner(env=env).invoke(app, arguments, input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_secrets_of_an_endpoint_are_saved(clarion: Clarion):
    """Secrets from variables, the rest as arguments; the answer tells the URL's path."""
    told = clarion(
        "vonage-webhook/saved", "--set", "max_age_seconds=600", "--set", "api_key=abcd1234",
        "--env", "signature_secret=NEW", "--env", "previous_signature_secret=OLD",
        env={"NEW": SECRET, "OLD": f"{SECRET}-old"},
    )  # fmt: skip
    assert told == (
        "Saved vonage-webhook/saved. `clarion serve` receives at /webhooks/vonage-webhook/saved\n"
    )
    loaded = load_webhook_credentials("vonage-webhook/saved")
    assert isinstance(loaded, VonageWebhook)
    assert loaded.secrets() == (SECRET.encode(), f"{SECRET}-old".encode())
    assert (loaded.max_age_seconds, loaded.api_key) == (600, "abcd1234")


def test_mapping_of_an_endpoint_is_saved(clarion: Clarion):
    """Nested fields come as JSON on standard input."""
    fields = {"token": SECRET, "response": {"status": {"value": "{{ event.state }}"}}}
    clarion("generic-webhook/mapped", "--stdin", stdin=json.dumps(fields))
    loaded = load_webhook_credentials("generic-webhook/mapped")
    assert isinstance(loaded, GenericWebhook)
    assert loaded.response is not None
    assert loaded.response.status.value == "{{ event.state }}"
    assert not loaded.is_open()


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (["vonage-webhook/x", "--set", f"signature_secret={SECRET}"], None, "shell's history"),
        (["vonage-webhook/x"], None, "no signature_secret given"),
        (["vonage-webhok/x"], None, "did you mean 'vonage-webhook'"),
        (["generic-webhook/x", "--stdin"], {"token": SECRET, "secret": SECRET}, r"generic-webhook/x\.secret"),
        (["twilio-webhook/x", "--stdin"], {"auth_token": ""}, r"twilio-webhook/x\.auth_token"),
        (
            ["twilio-webhook/x", "--stdin"],
            {"auth_token": SECRET, "auth_tokn": SECRET},
            "did you mean 'auth_token'",
        ),
    ],
)
def test_mistakes_with_secrets_of_endpoints_name_no_secret(
    clarion: Clarion, arguments: list[str], stdin: Any, problem: str
):
    """A mistake is told with its field, never with what was given; nothing is saved."""
    with pytest.raises(InputError, match=problem) as caught:
        clarion(*arguments, stdin=json.dumps(stdin) if stdin else None)
    assert SECRET not in str(caught.value)
    with pytest.raises(InputError):
        load_webhook_credentials(arguments[0])


def test_no_action_can_use_the_secrets_of_an_endpoint():
    """They are of requests that come in; an action that names them is refused, with those that it can use."""
    with pytest.raises(InputError, match="no credentials of type 'vonage-webhook'"):
        split_reference("vonage-webhook/main")
