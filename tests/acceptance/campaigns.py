"""Job files for the acceptance tests."""

import csv
import json
from pathlib import Path
from typing import Any


def write_job(folder: Path, **changes: Any) -> Path:
    """Writes a job that texts everyone in people.csv; `changes` replace its top-level keys."""
    job: dict[str, Any] = {
        "name": "hello",
        "recipients": {"include": [{"file": "people.csv", "key": "id"}]},
        "recipient": {"value": "{{ item.phone }}", "type": "phone"},
        "segments": [
            {
                "name": "gold",
                "condition": 'item.plan == "gold"',
                "action": "send-sms",
                "parameters": {"sender": "Acme"},
                "template": {"message": "Dear {{ item['First Name'] | default('customer') }}"},
            },
            {"name": "rest", "action": "send-sms", "template": {"message": "Hello {{ item.id }}"}},
        ],
        "actions": {"send-sms": action()},
    } | changes
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def action(**changes: Any) -> dict[str, Any]:
    """A send-sms action of the Messages API; `changes` replace its keys."""
    return {
        "channel": "sms",
        "parameters": [{"name": "sender", "default": "Clarion"}],
        "command": {
            "url": "https://api.nexmo.com/v1/messages",
            "payload": {
                "channel": "sms",
                "message_type": "text",
                "to": "{{ recipient }}",
                "from": "{{ parameters.sender }}",
                "text": "{{ template.message }}",
                "client_ref": "{{ run_item.id }}",
            },
        },
        "retry_policy": {
            "num_retries": 8,
            "backoff_policy": {"base_interval_seconds": 0.1, "max_interval_seconds": 0.4},
        },
        "response": {
            "invocation_id": "{{ response.body.message_uuid }}",
            "error": {"code": "{{ response.body.title }}", "reason": "{{ response.body.detail }}"},
        },
    } | changes


def write_people(folder: Path, count: int, *, plans: tuple[str, ...] = ("gold", "basic", "basic")) -> Path:
    """Writes people.csv: ids from 1, numbers that nobody has, plans in turn, every seventh name missing."""
    path = folder / "people.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "First Name", "phone", "plan"))
        for number in range(1, count + 1):
            name = "" if number % 7 == 0 else f"Ann {number}"
            writer.writerow((number, name, f"+1202555{number:04d}", plans[number % len(plans)]))
    return path
