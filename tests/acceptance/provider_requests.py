"""What providers document about their requests, as far as the examples use it; nothing else is allowed.

Written by hand after the providers' references. The two APIs whose OpenAPI files are in tests/data/specs have
a judge that is not ours, in tests/integration/test_openapi.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clarion.rendering import FORM_TYPE, JSON_TYPE


def exactly(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def some(items: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list with at least one entry."""
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
E164 = {"type": "string", "pattern": r"^\+[1-9]\d{7,14}$"}
DIGITS = {"type": "string", "pattern": r"^[1-9]\d{7,14}$"}
SENDER = {"type": "string", "pattern": r"^([A-Za-z0-9]{1,11}|\d{7,15})$"}
ADDRESS = exactly({"email": {"type": "string", "pattern": "@example"}}, {"name": TEXT})
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
                exactly(
                    {
                        "channel": {"const": "sms"},
                        "message_type": {"const": "text"},
                        "text": {"type": "string", "minLength": 1, "maxLength": 1000},
                        **MESSAGE,
                    }
                ),
                exactly(
                    {
                        "channel": {"const": "whatsapp"},
                        "message_type": {"const": "template"},
                        "whatsapp": exactly({"policy": {"const": "deterministic"}, "locale": TEXT}),
                        "template": exactly(
                            {"name": {"type": "string", "pattern": "^[^:]+:[^:]+$"}, "parameters": some(TEXT)}
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
        body=exactly(
            {
                "from": exactly({"type": {"const": "sms"}, "number": DIGITS}),
                "to": exactly({"type": {"const": "sms"}, "number": DIGITS}),
                "message": exactly({"content": exactly({"type": {"const": "text"}, "text": TEXT})}),
                "client_ref": REFERENCE,
            }
        ),
    ),
    r"https://api\.nexmo\.com/v1/calls": Provider(
        status=201,
        authorization="Bearer ***",
        body=exactly(
            {
                "to": some(exactly({"type": {"const": "phone"}, "number": DIGITS})),
                "from": exactly({"type": {"const": "phone"}, "number": DIGITS}),
                "ncco": some(
                    exactly(
                        {"action": {"const": "talk"}, "text": TEXT | {"maxLength": 1500}},
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
        body=exactly(
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
        body=exactly(
            {"To": E164, "From": E164, "Body": {"type": "string", "minLength": 1, "maxLength": 1600}},
            {"ValidityPeriod": {"type": "string", "pattern": r"^\d{1,5}$"}},
        ),
    ),
    r"https://api\.sendgrid\.com/v3/mail/send": Provider(
        status=202,
        authorization="Bearer ***",
        body=exactly(
            {
                "personalizations": some(
                    exactly(
                        {"to": some(ADDRESS)},
                        {"custom_args": {"type": "object", "additionalProperties": TEXT}},
                    )
                ),
                "from": ADDRESS,
                "subject": TEXT,
                "content": {
                    "type": "array",
                    "prefixItems": [
                        exactly({"type": {"const": "text/plain"}, "value": TEXT}),
                        exactly({"type": {"const": "text/html"}, "value": TEXT}),
                    ],
                    "minItems": 2,
                    "items": False,
                },
            },
            {"headers": {"type": "object", "additionalProperties": TEXT}, "categories": some(TEXT)},
        ),
    ),
    r"https://hooks\.slack\.com/services/T\w+/B\w+/\w+": Provider(
        status=200,
        authorization=None,
        body=exactly(
            {"text": TEXT},
            {
                "blocks": some(
                    exactly(
                        {
                            "type": {"enum": ["header", "section"]},
                            "text": exactly({"type": {"enum": ["plain_text", "mrkdwn"]}, "text": TEXT}),
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
        body=exactly(
            {
                "type": {"const": "message"},
                "attachments": some(
                    exactly(
                        {
                            "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                            "content": exactly(
                                {
                                    "$schema": {
                                        "const": "http://adaptivecards.io/schemas/adaptive-card.json"
                                    },
                                    "type": {"const": "AdaptiveCard"},
                                    "version": TEXT,
                                    "body": some({"type": "object", "required": ["type"]}),
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
