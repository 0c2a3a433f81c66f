"""The examples: each loads, previews as the index says, and runs against the sandbox as its provider documents.

They are found by their `job.yaml`, so a new one is tested by itself; it needs a row in the index, and an
entry in PROVIDERS where its provider is a new one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import phonenumbers
import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from clarion.campaign import Campaign, compile_job
from clarion.contacts import write_contacts
from clarion.jobfile import load_job
from clarion.ledger.claims import Slice
from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import NewRun, create_run
from clarion.ledger.summaries import count_items
from clarion.ledger.tables import RUN_ITEM
from clarion.models.credentials import ApiKey, Credentials, dummy_credentials
from clarion.planning import ListReader, Planner
from clarion.previewing import Preview, preview
from clarion.rendering import FORM_TYPE, JSON_TYPE
from clarion.sandbox import Behaviour, Sandbox
from clarion.sending.sender import Sender
from clarion.sending.wire import Wire
from clarion.sending.writer import Limit

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DEMO = ROOT / "clarion" / "demo" / "job.yaml"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/job.yaml"))

CREDENTIALS: Mapping[str, Credentials] = {
    "api-key/vonage": ApiKey(
        fields={"api_key": SecretStr("abcd1234"), "api_secret": SecretStr("abcdef0123456789")},
        location="body",
    ),
    "api-key/teams": ApiKey(fields={"sig": SecretStr("made-up-signature")}, location="query"),
}
"""As the READMEs save them; what is not here is made up by its type."""


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
E164 = {"type": "string", "pattern": r"^\+[1-9]\d{7,14}$"}
DIGITS = {"type": "string", "pattern": r"^[1-9]\d{7,14}$"}
SENDER = {"type": "string", "pattern": r"^([A-Za-z0-9]{1,11}|\d{7,15})$"}
ADDRESS = _object({"email": {"type": "string", "pattern": "@example"}}, {"name": TEXT})
REFERENCE = {"type": "string", "minLength": 1, "maxLength": 40}
MASKED = {"const": "***"}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A request as a provider documents it, and as the sandbox keeps it: the secrets as `***`."""

    status: int
    content_type: str = JSON_TYPE
    body: dict[str, Any]
    authorization: str | None
    query: dict[str, str] = field(default_factory=dict)


MESSAGE = {"from": SENDER, "to": DIGITS, "client_ref": REFERENCE}
PROVIDERS: Mapping[str, Provider] = {
    r"https://api\.nexmo\.com/v1/messages": Provider(
        status=202,
        authorization="Bearer ***",
        body={
            "oneOf": [
                _object(
                    {
                        "channel": {"const": "sms"},
                        "message_type": {"const": "text"},
                        "text": {"type": "string", "minLength": 1, "maxLength": 1000},
                        **MESSAGE,
                    }
                ),
                _object(
                    {
                        "channel": {"const": "whatsapp"},
                        "message_type": {"const": "template"},
                        "whatsapp": _object({"policy": {"const": "deterministic"}, "locale": TEXT}),
                        "template": _object(
                            {"name": {"type": "string", "pattern": "^[^:]+:[^:]+$"}, "parameters": _list(TEXT)}
                        ),
                        **MESSAGE,
                    }
                ),
            ]
        },
    ),
    r"https://api\.nexmo\.com/v0\.1/messages": Provider(
        status=202,
        authorization="Basic ***",
        body=_object(
            {
                "from": _object({"type": {"const": "sms"}, "number": DIGITS}),
                "to": _object({"type": {"const": "sms"}, "number": DIGITS}),
                "message": _object({"content": _object({"type": {"const": "text"}, "text": TEXT})}),
                "client_ref": REFERENCE,
            }
        ),
    ),
    r"https://api\.nexmo\.com/v1/calls": Provider(
        status=201,
        authorization="Bearer ***",
        body=_object(
            {
                "to": _list(_object({"type": {"const": "phone"}, "number": DIGITS})),
                "from": _object({"type": {"const": "phone"}, "number": DIGITS}),
                "ncco": _list(
                    _object(
                        {"action": {"const": "talk"}, "text": TEXT},
                        {
                            "language": TEXT,
                            "loop": {"type": "integer", "minimum": 0},
                            "bargeIn": {"type": "boolean"},
                        },
                    )
                ),
            },
            {"ringing_timer": {"type": "integer", "minimum": 1, "maximum": 120}},
        ),
    ),
    r"https://rest\.nexmo\.com/sms/json": Provider(
        status=200,
        content_type=FORM_TYPE,
        authorization=None,
        body=_object(
            {"api_key": MASKED, "api_secret": MASKED, "from": SENDER, "to": DIGITS, "text": TEXT},
            {
                "type": {"enum": ["text", "unicode"]},
                "ttl": {"type": "string", "pattern": r"^\d{5,9}$"},
                "client-ref": REFERENCE,
            },
        ),
    ),
    r"https://api\.twilio\.com/2010-04-01/Accounts/AC[0-9a-f]{32}/Messages\.json": Provider(
        status=201,
        content_type=FORM_TYPE,
        authorization="Basic ***",
        body=_object(
            {"To": E164, "From": E164, "Body": {"type": "string", "minLength": 1, "maxLength": 1600}},
            {"ValidityPeriod": {"type": "string", "pattern": r"^\d{1,5}$"}},
        ),
    ),
    r"https://api\.sendgrid\.com/v3/mail/send": Provider(
        status=202,
        authorization="Bearer ***",
        body=_object(
            {
                "personalizations": _list(
                    _object(
                        {"to": _list(ADDRESS)},
                        {"custom_args": {"type": "object", "additionalProperties": TEXT}},
                    )
                ),
                "from": ADDRESS,
                "subject": TEXT,
                "content": {
                    "type": "array",
                    "prefixItems": [
                        _object({"type": {"const": "text/plain"}, "value": TEXT}),
                        _object({"type": {"const": "text/html"}, "value": TEXT}),
                    ],
                    "minItems": 2,
                    "items": False,
                },
            },
            {"headers": {"type": "object", "additionalProperties": TEXT}, "categories": _list(TEXT)},
        ),
    ),
    r"https://hooks\.slack\.com/services/T\w+/B\w+/\w+": Provider(
        status=200,
        authorization=None,
        body=_object(
            {"text": TEXT},
            {
                "blocks": _list(
                    _object(
                        {
                            "type": {"enum": ["header", "section"]},
                            "text": _object({"type": {"enum": ["plain_text", "mrkdwn"]}, "text": TEXT}),
                        }
                    )
                )
            },
        ),
    ),
    r"https://[\w.-]+\.logic\.azure\.com/workflows/\w+/triggers/manual/paths/invoke": Provider(
        status=202,
        authorization=None,
        query={"api-version": "2016-06-01", "sp": "/triggers/manual/run", "sv": "1.0", "sig": "***"},
        body=_object(
            {
                "type": {"const": "message"},
                "attachments": _list(
                    _object(
                        {
                            "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                            "content": _object(
                                {
                                    "$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"},
                                    "type": {"const": "AdaptiveCard"},
                                    "version": TEXT,
                                    "body": _list({"type": "object", "required": ["type"]}),
                                }
                            ),
                        }
                    )
                ),
            }
        ),
    ),
}
"""By a pattern of the URL without its query."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the index says about an example."""

    sent: int
    skipped: dict[str, int]


def index() -> dict[str, Row]:
    """The rows of the index's table by the example's name."""
    rows: dict[str, Row] = {}
    for line in (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| ["):
            name, _provider, _shows, sent, skipped = (cell.strip() for cell in line.strip("|").split("|"))
            reasons = [] if skipped == "-" else [entry.rsplit(" ", 1) for entry in skipped.split(", ")]
            rows[name.partition("](")[2].rstrip(")")] = Row(
                sent=int(sent), skipped={reason: int(count) for reason, count in reasons}
            )
    return rows


def readme(name: str) -> str:
    """The text of an example's README."""
    return (EXAMPLES / name / "README.md").read_text(encoding="utf-8")


def no_runs(source: Any) -> Iterator[Any]:
    """For jobs that read no earlier run."""
    raise AssertionError(source)


def campaign_of(path: Path) -> tuple[Campaign, ListReader]:
    """A job compiled and checked, with what reads its lists."""
    campaign = compile_job(load_job(path))
    reader = ListReader(base=path.parent, run_items=no_runs)
    reader.check(campaign)
    return campaign, reader


def credentials_of(campaign: Campaign) -> dict[str, Credentials]:
    """The credentials of each action that has some, as saved by the README."""
    return {
        name: CREDENTIALS.get(action.action.credentials) or dummy_credentials(action.action.credentials)
        for name, action in campaign.actions.items()
        if action.action.credentials
    }


def previewed(path: Path) -> Preview:
    """A preview with all of its requests."""
    campaign, reader = campaign_of(path)
    auths = {name: found.masked_auth() for name, found in credentials_of(campaign).items()}
    return preview(campaign, reader=reader, auths=auths, samples=1_000)


def rehearse(path: Path, *, database: Database, against: str) -> list[dict[str, Any]]:
    """Plans and sends a job as a run does, without Prefect and without pacing; its items, settled."""
    campaign, reader = campaign_of(path)
    job = campaign.job
    run = create_run(
        database,
        NewRun(
            job_name=job.name,
            job=job.model_dump_json(),
            base=str(path.parent),
            kind="rehearsal",
            against=against,
        ),
    )
    writer = PlanWriter(database, run.id)
    writer.begin()
    for items in Planner(campaign=campaign, run=run.scope(), now=datetime.now(UTC), reader=reader).plan():
        writer.write(items)
    writer.finish(limit=None, bad_rows=reader.report.bad_rows)
    sender = Sender(database, wire=lambda: Wire(max_connections=8), connections=8)
    auths = {name: found.auth() for name, found in credentials_of(campaign).items()}
    limits = {name: Limit(key=name, tps=None) for name in campaign.actions}
    session = sender.open(run, campaign, auths=auths, limits=limits)
    for action in campaign.actions:
        sender.deliver(session, Slice(action=action, first_id=0, last_id=10**9))
    assert sender.leave(session) == 0
    sender.close()
    return [item for page in read_items(database, run.id) for item in page]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A ledger of the test's own."""
    found = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield found
    found.engine.dispose()
