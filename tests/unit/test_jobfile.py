"""Job files: the YAML, the JSON, the Python object, the snapshot and the block are the same job."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.jobfile import anchor_paths, inline_templates, load_action, load_job
from clarion.models.action import (
    Action,
    BackoffPolicy,
    Command,
    ErrorMapping,
    Parameter,
    ResponsePolicy,
    RetryPolicy,
)
from clarion.models.job import Job, Recipient, Recipients, RunList, Schedule, Segment, TemplateText
from clarion.models.lists import FileList, ItemsList
from tests.unit.campaigns import make_job

CONTRACT = """
name: renewals
recipients:
  include:
    - {file: customers.csv, key: Customer Id}
  exclude:
    - {file: unsubscribed.csv, key: Customer Id}
    - {file: complaints.csv, recipient: "{{ item.phone }}"}
    - {run: last, status: [succeeded], key: Customer Id}
recipient: {value: "{{ item['Phone 1'] }}", type: phone, region: "{{ item.Country }}"}
matching: first
segments:
  - name: gold
    condition: item.plan == "gold" and item.days_left <= 30
    action: send-sms
    parameters: {sender: Acme}
    template:
      message: "Dear {{ item['First Name'] | default('customer') }}, your {{ item.plan }} ends."
  - name: rest
    action: http-action/send-email
    template: {html: {file: offer.html}}
actions:
  send-sms:
    channel: sms
    parameters: [{name: sender, type: string, default: Clarion}]
    command:
      type: http-api-invoke
      method: POST
      url: "https://api.nexmo.com/v1/messages"
      headers: {X-Campaign: "{{ job.name }}"}
      payload:
        channel: sms
        message_type: text
        from: "{{ parameters.sender }}"
        to: "{{ recipient }}"
        text: "{{ template.message }}"
        client_ref: "{{ run_item.id }}"
    credentials: vonage-application/main
    tps: 30
    timeout_seconds: 5
    idempotency_header: Idempotency-Key
    on_unknown: hold
    retry_policy: {num_retries: 3, backoff_policy: {base_interval_seconds: 1, max_interval_seconds: 30}}
    response:
      success_codes: [2xx]
      success_condition: response.body.message_uuid != ""
      retry_codes: [408, 425, 429, 500, 503]
      retry_condition: response.body.messages[0].status == "1"
      unknown_codes: [502, 504]
      invocation_id: "{{ response.body.message_uuid }}"
      error:   {code: "{{ response.body.title }}", reason: "{{ response.body.detail }}"}
schedule: {cron: "0 9 * * mon", timezone: Europe/London}
"""

PYTHON = Job(
    name="renewals",
    recipients=Recipients(
        include=[FileList(file="customers.csv", key="Customer Id")],
        exclude=[
            FileList(file="unsubscribed.csv", key="Customer Id"),
            FileList(file="complaints.csv", recipient="{{ item.phone }}"),
            RunList(run="last", status=["succeeded"], key="Customer Id"),
        ],
    ),
    recipient=Recipient(value="{{ item['Phone 1'] }}", type="phone", region="{{ item.Country }}"),
    segments=[
        Segment(
            name="gold",
            condition='item.plan == "gold" and item.days_left <= 30',
            action="send-sms",
            parameters={"sender": "Acme"},
            template={
                "message": TemplateText(
                    text="Dear {{ item['First Name'] | default('customer') }}, your {{ item.plan }} ends."
                )
            },
        ),
        Segment(
            name="rest",
            action="http-action/send-email",
            template={"html": TemplateText(text="<p>Hello</p>", file="offer.html")},
        ),
    ],
    actions={
        "send-sms": Action(
            channel="sms",
            parameters=[Parameter(name="sender", default="Clarion")],
            command=Command(
                url="https://api.nexmo.com/v1/messages",
                headers={"X-Campaign": "{{ job.name }}"},
                payload={
                    "channel": "sms",
                    "message_type": "text",
                    "from": "{{ parameters.sender }}",
                    "to": "{{ recipient }}",
                    "text": "{{ template.message }}",
                    "client_ref": "{{ run_item.id }}",
                },
            ),
            credentials="vonage-application/main",
            tps=30,
            retry_policy=RetryPolicy(backoff_policy=BackoffPolicy()),
            response=ResponsePolicy(
                success_condition='response.body.message_uuid != ""',
                retry_condition='response.body.messages[0].status == "1"',
                invocation_id="{{ response.body.message_uuid }}",
                error=ErrorMapping(code="{{ response.body.title }}", reason="{{ response.body.detail }}"),
            ),
        )
    },
    schedule=Schedule(cron="0 9 * * mon", timezone="Europe/London"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the contract's job file and its template."""
    (tmp_path / "renewals.yaml").write_text(CONTRACT)
    (tmp_path / "offer.html").write_text("<p>Hello</p>")
    return tmp_path


def test_contract_is_read_whole(folder: Path):
    """The file with every key equals the Python object; what the file says by default is the default."""
    assert load_job(folder / "renewals.yaml") == PYTHON


def test_contract_in_json_is_the_same_job(folder: Path):
    """JSON is another way to write the same model."""
    data = yaml.safe_load(CONTRACT)
    (folder / "renewals.json").write_text(json.dumps(data))
    assert load_job(folder / "renewals.json") == load_job(folder / "renewals.yaml")


def test_byte_order_mark_and_windows_line_ends_change_nothing(folder: Path):
    """A file that was saved on Windows is the same job."""
    windows = folder / "windows.yaml"
    windows.write_bytes(b"\xef\xbb\xbf" + CONTRACT.replace("\n", "\r\n").encode())
    assert load_job(windows) == PYTHON


def test_mappings_may_be_lists_of_names_and_values(folder: Path):
    """`[{name, value}]`, the Campaign API's spelling, is the same mapping."""
    text = CONTRACT.replace("{sender: Acme}", "[{name: sender, value: Acme}]").replace(
        '{X-Campaign: "{{ job.name }}"}', '[{name: X-Campaign, value: "{{ job.name }}"}]'
    )
    (folder / "listed.yaml").write_text(text)
    assert load_job(folder / "listed.yaml") == PYTHON


def test_action_file_is_an_action(tmp_path: Path):
    """An action can have a file of its own, to be saved as a block."""
    path = tmp_path / "action.yaml"
    path.write_text("command: {url: 'https://api.test', method: put}\ntps: 5")
    assert load_action(path) == Action(command=Command(url="https://api.test", method="PUT"), tps=5)


SPELLED = """
name: 0049
tags: [20:00, +447700900123, NO, 1.10, 2026-12-25, 0x1F]
recipients: {include: [{items: [{phone: +447700900123, zip: 0049, price: 1.10, size: 7, day: NO}]}]}
recipient: "{{ item.phone }}"
segments:
  - {name: 20:00, action: send, parameters: {version: 1.10, count: 010, plain: 5}, template: {message: 1.10}}
actions:
  send:
    parameters: [{name: version}, {name: count, type: number}, {name: plain}]
    tps: 1.10
    timeout_seconds: 5
    retry_policy: {num_retries: 2}
    command:
      url: https://api.test
      headers: {X-Version: 1.10, X-Day: 2026-12-25}
      payload: {from: 0049123, to: +447700900123, price: 1.10, count: 7, nothing: null, yes: true, at: 20:00}
    response: {success_codes: [200, 2xx], retry_codes: [429]}
"""


def test_scalars_are_text_where_text_is_wanted(tmp_path: Path):
    """What YAML would call a number, a time or a truth stays what stands in the file."""
    (tmp_path / "job.yaml").write_text(SPELLED)
    job = load_job(tmp_path / "job.yaml")
    action, segment = job.actions["send"], job.segments[0]
    assert job.name == "0049"
    assert job.tags == ["20:00", "+447700900123", "NO", "1.10", "2026-12-25", "0x1F"]
    assert segment.name == "20:00"
    assert segment.template["message"].text == "1.10"
    assert action.command.headers == {"X-Version": "1.10", "X-Day": "2026-12-25"}
    assert action.response.success_codes == ["200", "2xx"]
    assert segment.parameters == {"version": "1.10", "count": "010", "plain": 5}


def test_scalars_are_numbers_where_numbers_are_wanted(tmp_path: Path):
    """The same spelling is a number for a key that takes one."""
    (tmp_path / "job.yaml").write_text(SPELLED)
    action = load_job(tmp_path / "job.yaml").actions["send"]
    assert (action.tps, action.timeout_seconds, action.retry_policy.num_retries) == (1.1, 5.0, 2)


def test_scalars_of_a_payload_are_json_except_ids(tmp_path: Path):
    """Where anything goes a number is a number, unless its digits would change: then it is an id."""
    (tmp_path / "job.yaml").write_text(SPELLED)
    job = load_job(tmp_path / "job.yaml")
    payload = job.actions["send"].command.payload
    assert payload == {
        "from": "0049123",
        "to": "+447700900123",
        "price": 1.1,
        "count": 7,
        "nothing": None,
        "yes": True,
        "at": "20:00",
    }
    assert {type(payload["price"]), type(payload["count"])} == {float, int}
    items = job.recipients.include[0].items
    assert items == [{"phone": "+447700900123", "zip": "0049", "price": "1.10", "size": 7, "day": "NO"}]


def snapshot(job: Job) -> Job:
    """The job as a run keeps it and reads it again."""
    return Job.model_validate_json(job.model_dump_json())


@pytest.mark.parametrize("text", [CONTRACT, SPELLED])
def test_snapshot_is_the_same_job(folder: Path, text: str):
    """A run works on the job as it was, to the last null and number."""
    (folder / "job.yaml").write_text(text)
    job = load_job(folder / "job.yaml")
    assert snapshot(job) == job
    assert snapshot(job).model_dump_json() == job.model_dump_json()


def test_snapshot_keeps_what_was_switched_off():
    """A null that replaces a default stays one."""
    send = {
        "command": {"url": "https://api.test", "payload": {"a": None, "b": []}},
        "idempotency_header": None,
    }
    job = snapshot(make_job(actions={"send": send}))
    assert job.actions["send"].idempotency_header is None
    assert job.actions["send"].command.payload == {"a": None, "b": []}


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=JSON_VALUES)
def test_snapshot_keeps_any_json(value: Any):
    """Whatever a payload, an item or a parameter holds comes back equal, and of the same type."""
    job = make_job(
        actions={"send": {"command": {"url": "x", "payload": value}, "parameters": [{"name": "p"}]}},
        recipients={"include": [{"items": [{"value": value}]}]},
        segments=[{"name": "all", "action": "send", "parameters": {"p": value}}],
    )
    again = snapshot(job)
    assert again == job
    assert json.dumps(again.actions["send"].command.payload) == json.dumps(value)


def test_block_is_the_same_job(folder: Path):
    """A job that became a Prefect block and came back equals the one from the file."""
    from blocks.job import Job as JobBlock

    job = load_job(folder / "renewals.yaml")
    block = JobBlock.model_validate(job.model_dump())
    assert Job.model_validate(block.model_dump(include=set(Job.model_fields))) == job


def test_template_files_are_read_in(folder: Path):
    """The text of a template file becomes part of the job; its name still tells that it is HTML."""
    text = load_job(folder / "renewals.yaml").segments[1].template["html"]
    assert (text.text, text.file) == ("<p>Hello</p>", "offer.html")


def test_template_text_stands_for_its_file(tmp_path: Path):
    """A job whose texts were read in needs their files no more."""
    job = PYTHON
    assert inline_templates(job, base=tmp_path) == job


@pytest.mark.parametrize(
    ("name", "file", "escaped"),
    [
        ("html", None, True),
        ("message", None, False),
        ("body", "offer.HTML", True),
        ("body", "offer.htm", True),
        ("body", "offer.txt", False),
    ],
)
def test_template_is_html_by_its_name_or_file(name: str, file: str | None, escaped: bool):
    """What is escaped follows from the name of the text or the extension of its file."""
    assert TemplateText(text="x", file=file).is_html(name) is escaped


def test_paths_of_lists_are_anchored_and_urls_stay(tmp_path: Path):
    """A saved job finds its files from any folder."""
    job = make_job(
        recipients={
            "include": [
                {"file": "lists/customers.csv"},
                {"file": "s3://bucket/leads.csv"},
                {"file": "/data/members.csv"},
                {"items": [{"a": 1}]},
            ],
            "exclude": [{"file": "../unsubscribed.csv", "key": "id"}, {"run": "last", "key": "id"}],
        }
    )
    anchored = anchor_paths(job, base=tmp_path / "jobs").recipients
    assert [source.file for source in anchored.include[:3]] == [
        str(tmp_path / "jobs" / "lists" / "customers.csv"),
        "s3://bucket/leads.csv",
        "/data/members.csv",
    ]
    assert anchored.include[3] == ItemsList(items=[{"a": 1}])
    assert anchored.exclude[0] == FileList(file=str(tmp_path / "unsubscribed.csv"), key="id")
    assert anchored.exclude[1] == RunList(run="last", key="id")
