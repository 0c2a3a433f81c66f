"""The page on receiving tells of every option and every field, and its example works."""

import json
import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from clarion.models.credential_kinds import WEBHOOK_CREDENTIALS, parse_credentials
from clarion.models.webhook_credentials import GenericWebhook
from clarion.receiving.endpoints import make_endpoint
from cli.serve import register
from tests.unit.webhook_signers import request

PAGE = (Path(__file__).parents[2] / "docs" / "receiver.md").read_text(encoding="utf-8")


def test_every_option_of_serve_is_told():
    """With its own name, as `clarion serve --help` has it."""
    app = typer.Typer()
    register(app)
    names = {name for each in get_command(app).params for name in (*each.opts, *each.secondary_opts)}
    untold = {name for name in names if f"`{name}" not in PAGE} - {
        "--help", "--install-completion", "--show-completion",
    }  # fmt: skip
    assert untold == set()


@pytest.mark.parametrize("kind", sorted(WEBHOOK_CREDENTIALS))
def test_every_field_of_an_endpoint_is_told(kind: str):
    """In the section of its kind."""
    section = PAGE.partition(f"### {kind}")[2].partition("\n##")[0]
    assert [name for name in WEBHOOK_CREDENTIALS[kind].model_fields if f"`{name}`" not in section] == []


def test_example_of_a_mapping_reads_what_it_shows():
    """The JSON of the page is credentials, and its templates find their parts."""
    [example] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    credentials = parse_credentials(GenericWebhook, json.loads(example), source="page")
    provider = make_endpoint("crm", credentials).provider
    came = {
        "id": "e",
        "sender": "+447700900001",
        "receiver": "us",
        "text": "Yes",
        "at": "2026-03-01 09:00:00",
    }
    body = json.dumps(came).encode()
    [event] = provider.events(request(body, content_type="application/json"), delivery="d")
    assert (event.type, event.recipient, event.text) == ("recipient-response", "+447700900001", "Yes")
    assert event.occurred_at is not None
