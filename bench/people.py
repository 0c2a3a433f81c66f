"""A list of made-up people and the campaign that speaks to them: the same data for every benchmark."""

from pathlib import Path

from clarion.models.job import Job

COLUMNS = (
    "Customer Id", "First Name", "Last Name", "Company", "City", "Country",
    "Phone 1", "Email", "plan", "days_left", "Subscription Date", "Website",
)  # fmt: skip
FIRST_NAMES = ("Anna", "Ben", "Chloë", "Dmitri", "Eve", "Faisal", "Grace", "Hiro")
PLANS = ("gold", "silver", "bronze", "free")
WRITTEN_AT_ONCE = 10_000


def write_people(path: Path, rows: int) -> None:
    """A CSV of `rows` people of 12 columns (about 150 bytes each), every phone number and id once."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for start in range(0, rows, WRITTEN_AT_ONCE):
            file.writelines(_line(number) for number in range(start, min(rows, start + WRITTEN_AT_ONCE)))


def _line(number: int) -> str:
    name = FIRST_NAMES[number % 8]
    phone = f"+4477{number * 7_368_787 % 100_000_007:08d}"
    return (
        f"{customer_id(number)},{name},Example{number % 977},Acme {number % 131} Ltd,London,United Kingdom,"
        f"{phone},{name.lower()}.{number}@example.com,{PLANS[number % 4]},{number % 90},"
        f"2025-{1 + number % 12:02d}-{1 + number % 28:02d},https://www.example.com/{number}\n"
    )


def customer_id(number: int) -> str:
    """The key of a person; what lies beside it in the alphabet lies far away in the list."""
    return f"C{number * 7_368_787 % 1_000_000_007:010d}"


def campaign_job(people: Path, *, url: str, exclude: Path | None = None) -> Job:
    """The job: four segments over `people`, each an SMS of one sentence to `url`."""
    names = {
        "gold": 'item.plan == "gold" and item.days_left <= 30',
        "silver": 'item.plan == "silver" and contains(lower(item.Email), "@example.com")',
        "new": 'item["Subscription Date"] >= "2025-07-01"',
        "rest": None,
    }
    segments = [
        {"name": name, "action": "send-sms", "template": {"message": _MESSAGE}}
        | ({"condition": condition} if condition else {})
        for name, condition in names.items()
    ]
    recipients: dict[str, object] = {"include": [{"file": str(people), "key": "Customer Id"}]}
    if exclude is not None:
        recipients["exclude"] = [{"file": str(exclude), "key": "Customer Id"}]
    return Job.model_validate(
        {
            "name": "bench",
            "recipients": recipients,
            "recipient": {"value": "{{ item['Phone 1'] }}", "type": "phone", "region": "{{ item.Country }}"},
            "segments": segments,
            "actions": {"send-sms": _action(url)},
        }
    )


_MESSAGE = "Dear {{ item['First Name'] }}, your {{ item.plan }} plan ends in {{ item.days_left }} days."


def _action(url: str) -> dict[str, object]:
    return {
        "channel": "sms",
        "parameters": [{"name": "sender", "type": "string", "default": "Clarion"}],
        "command": {
            "url": url,
            "payload": {
                "channel": "sms",
                "message_type": "text",
                "from": "{{ parameters.sender }}",
                "to": "{{ recipient }}",
                "text": "{{ template.message }}",
                "client_ref": "{{ run_item.id }}",
            },
        },
        "response": {"invocation_id": "{{ response.body.message_uuid }}"},
    }
