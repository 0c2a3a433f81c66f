"""What is wrong in a job file is told with its path, what was expected and the nearest name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from clarion.errors import InputError, InputErrors, JobError
from clarion.jobfile import PLANNED_LISTS, load_action, load_job, parse_model
from clarion.models.action import Action
from clarion.models.job import Job
from tests.unit.campaigns import SEND, job_data


def refusal(model: type[Job | Action], data: object) -> str:
    """Why the data is no job or action."""
    with pytest.raises(InputError) as caught:
        parse_model(model, data, source="job.yaml")
    return str(caught.value)


def of_job(**changes: Any) -> str:
    """Why the changed job is refused; one line."""
    told = refusal(Job, job_data(**changes))
    assert "\n" not in told
    return told


def of_action(text: str) -> str:
    """Why an action with these lines of YAML is refused, as of `actions.send`; one line."""
    told = of_job(actions={"send": SEND | yaml.safe_load(text)})
    assert told.startswith("actions.send.")
    return told.removeprefix("actions.send.")


def of_list(text: str, *, where: str = "include") -> str:
    """Why a list in YAML is refused; one line, without its path."""
    lists = {"include": [{"items": []}], where: [yaml.safe_load(text)]}
    return of_job(recipients=lists).removeprefix(f"recipients.{where}[0]")


@pytest.mark.parametrize("kind", sorted(PLANNED_LISTS))
def test_list_of_a_later_version_is_refused_by_name(kind: str):
    """A list that cannot be read yet is told as such alone, not as a file without a name."""
    told = of_list(f"{kind}: renewals")
    assert told == f".{kind}: is not honoured by this version yet, so it is refused rather than ignored"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nmae": 1}, "nmae: unknown key; expected one of actions, conversion_days, "),
        ({"nmae": 1}, "(did you mean 'name'?)"),
        ({"a\nb": 1}, "['a\\nb']: unknown key"),
        ({"segments": [{"name": "a", "action": "send", "conditon": "x"}]}, "segments[0].conditon: unknown"),
        ({"segments": [{"name": "a", "action": "send", "conditon": "x"}]}, "(did you mean 'condition'?)"),
        ({"segments": [{"name": "a", "action": "send", "template": {"m": {"txt": "x", "text": "x"}}}]},
         "segments[0].template.m.txt: unknown key; expected one of file, text (did you mean 'text'?)"),
        ({"recipient": {"value": "x", "typ": "phone"}},
         "recipient.typ: unknown key; expected one of region, type, value (did you mean 'type'?)"),
        ({"schedule": {"corn": "0 9 * * *", "interval": 60}}, "schedule.corn: unknown key"),
    ],
)  # fmt: skip
def test_unknown_key_tells_path_choices_and_nearest(change: dict[str, Any], told: str):
    """A typing error in a key is found where it is."""
    assert told in of_job(**change)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timeout: 5", "timeout: unknown key; expected one of channel, command, credentials, "),
        ("timeout: 5", "(did you mean 'timeout_seconds'?)"),
        ("command: {url: x, methd: GET}", "command.methd: unknown key; expected one of body, form, "),
        ("retry_policy: {retries: 1}", "retry_policy.retries: unknown key; expected one of backoff_policy, "),
        ("retry_policy: {backoff_policy: {max: 1}}", "retry_policy.backoff_policy.max: unknown key"),
        ("response: {error: {cod: x}}", "response.error.cod: unknown key; expected one of code, reason"),
        ("parameters: [{name: a, typ: string}]", "parameters[0].typ: unknown key"),
        ("tps: fast", 'tps: "fast" is not valid; expected a number'),
        ("tps: true", "tps: true is not valid; expected a number"),
        ("tps: '5'", 'tps: "5" is not valid; expected a number'),
        ("tps: 0", "tps: 0 is not valid; expected greater than 0"),
        ("tps: .nan", "tps: NaN is not valid; expected "),
        ("tps: .inf", "tps: Infinity is not valid; expected less than or equal to 100000"),
        ("retry_policy: {num_retries: 2.5}", "num_retries: 2.5 is not valid; expected a whole number"),
        ("retry_policy: {num_retries: true}", "expected a whole number"),
        ("retry_policy: {num_retries: -1}", "expected greater than or equal to 0"),
        ("timeout_seconds: null", "timeout_seconds: null is not valid; expected a number"),
        ("command: send", 'command: "send" is not valid; expected a mapping'),
        ("command: {url: ''}", 'command.url: "" is not valid; expected at least 1 character'),
        ("command: {url: x, method: FETCH}",
         "expected 'GET', 'POST', 'PUT', 'PATCH' or 'DELETE' (did you mean 'PATCH'?)"),
        ("command: {url: x, headers: [a]}", "command.headers: entry 0 must be {name: ..., value: ...}"),
        ("command: {url: x, headers: {A: true}}", "command.headers.A: true is not valid; expected text"),
        ("command: {url: x, payload: {}, body: x}", "command: takes one of payload, form and body, not pay"),
        ("on_unknown: resent", "expected 'hold' or 'resend' (did you mean 'resend'?)"),
        ("credentials: main", "credentials: 'main' is no saved credentials; they are named TYPE/NAME"),
        ("channel: ' sms'", "channel: must not begin or end with a blank, nor hold a control character"),
        ("parameters: {a: 1}", "parameters: {\"a\": 1} is not valid; expected a list"),
        ("parameters: [{name: a}, {name: a}]", "parameters: two parameters are named 'a'"),
        ("parameters: [{name: a, type: number, default: x}]", "parameters[0]: the value is no number"),
        ("parameters: [{name: a, default: '{{ item.a }}'}]", "parameters[0]: a default is no template"),
        ("response: {success_codes: 200}", "response.success_codes: 200 is not valid; expected a list"),
        ("response: {success_codes: []}", "success_codes: [] is not valid; expected at least 1 entry"),
        ("response: {success_codes: [2yy]}", "response.success_codes[0]: must be a status code such as 202"),
        ("response: {success_codes: [600]}", "response.success_codes[0]: must be a status code such as 202"),
        ("response: {retry_codes: [502]}",
         "response: 502 stands in retry_codes and in unknown_codes; give both lists"),
    ],
)  # fmt: skip
def test_wrong_value_in_an_action_is_told(text: str, told: str):
    """Wrong types are never bent to fit, and what contradicts itself is refused."""
    assert told in of_action(text)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, 'name: "" is not valid; expected at least 1 character'),
        ({"name": "a/b"}, "name: 'a/b' holds one of / % & < >"),
        ({"name": "a\0b"}, "name: must not begin or end with a blank, nor hold a control character"),
        ({"name": "x" * 256}, "expected at most 255 characters"),
        ({"name": {"a": "x" * 1000}}, "xxx... is not valid; expected text"),
        ({"matching": "firts"}, "matching: \"firts\" is not valid; expected 'first' or 'all' (did you mean"),
        ({"matching": {"a": 1}}, "matching: {\"a\": 1} is not valid; expected 'first' or 'all'"),
        ({"recipient": 5}, "recipient: must be text or a mapping"),
        ({"recipient": {"value": "x", "region": "GB"}}, "recipient: region goes with type phone"),
        ({"recipients": []}, "recipients: [] is not valid; expected a mapping"),
        ({"recipients": {"include": []}}, "recipients.include: [] is not valid; expected at least 1 entry"),
        ({"segments": []}, "segments: [] is not valid; expected at least 1 entry"),
        ({"segments": [{"name": "a"}]}, "segments[0].action: is missing"),
        ({"segments": [{"name": "a", "action": "send"}] * 2}, "segments: two segments are named 'a'"),
        ({"segments": [{"name": "a", "action": "send", "template": {"m": {}}}]},
         "segments[0].template.m: needs a text or a file"),
        ({"segments": [{"name": "a", "action": "send", "template": {"m": True}}]},
         "segments[0].template.m: must be text or a mapping"),
        ({"segments": [{"name": "a", "action": "send", "parameters": [{"name": [], "value": 1}]}]},
         "segments[0].parameters: the name of entry 0 must be text"),
        ({"segments": [{"name": "a", "action": "send", "parameters": [{"name": "x", "value": 1}] * 2}]},
         "segments[0].parameters: entry 1 repeats the name 'x'"),
        ({"actions": {" x": SEND}}, "actions[' x']: must not begin or end with a blank"),
        ({"schedule": {}}, "schedule: takes exactly one of cron, interval and rrule"),
        ({"schedule": {"cron": "0 9 * * *", "interval": 60}}, "schedule: takes exactly one of"),
        ({"schedule": {"cron": "0 9 * * *", "timezone": "Europe/Londno"}},
         "schedule.timezone: unknown time zone 'Europe/Londno' (did you mean 'Europe/London'?)"),
        ({"schedule": {"cron": "0 9 * * *", "timezone": "../../etc/passwd"}}, "unknown time zone"),
        ({"schedule": {"cron": "0 9 * * *", "timezone": "Europe"}}, "unknown time zone"),
        ({"schedule": {"cron": "0 9 * * *", "anchor_date": "2026-01-01"}}, "anchor_date goes with interval"),
        ({"schedule": {"interval": 60, "anchor_date": "soon"}}, "anchor_date must be an ISO date and time"),
        ({"schedule": {"interval": 59}}, "interval: 59 is not valid; expected greater than or equal to 60"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_wrong_value_in_a_job_is_told(change: dict[str, Any], told: str):
    """Each mistake is one line with its path."""
    assert told in of_job(**change)


@pytest.mark.parametrize(
    ("text", "where", "told"),
    [
        ("5", "include", ": 5 is not valid; expected a mapping"),
        ("{items: [], encoding: utf-8}", "include", ".encoding: unknown key; expected one of items, key, "),
        ("{run: last, sheet: a}", "include",
         ".sheet: unknown key; expected one of key, reason, recipient, run, status"),
        ("{file: a.csv, shet: a}", "include", "(did you mean 'sheet'?)"),
        ("{file: a.csv, items: []}", "include", ".file: unknown key"),
        ("{file: a.csv, recipient: x}", "include", ": takes no recipient; the job's own recipient "),
        ("{file: a.csv}", "exclude", ": needs either key or recipient to be matched by"),
        ("{file: a.csv, key: a, recipient: b}", "exclude", ": needs either key or recipient to be "),
        ("{run: last, key: ''}", "include", '.key: "" is not valid; expected at least 1 character'),
        ("{run: last, status: [sent]}", "include", ".status[0]: \"sent\" is not valid; expected 'skipped', "),
        ("{items: [{a: .nan}]}", "include", ".items[0].a: must be JSON, which has no infinite number"),
        ("{items: [{a: 2026-01-01}]}", "include", ".items[0].a: must be JSON: text, a number, "),
        ("{items: {a: 1}}", "include", ".items: {\"a\": 1} is not valid; expected a list"),
    ],
)  # fmt: skip
def test_wrong_list_is_told_as_the_list_that_it_is(text: str, where: str, told: str):
    """A list is told apart by its first word; only the keys of its own kind are expected of it."""
    assert told in of_list(text, where=where)


def test_half_a_character_is_refused_where_it_stands():
    """No text enters a job that no database, log or request could carry."""
    told = of_job(recipients={"include": [{"items": [{"a": ["\ud800"]}]}]})
    assert told == "recipients.include[0].items[0].a: holds half a character (a lone surrogate)"


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_deep_value_is_refused(wrap: Any):
    """Nesting has a bound, before anything follows it down; also in a value that holds itself."""
    value: Any = 1
    for _ in range(65):
        value = wrap(value)
    assert "is nested deeper than 64 levels" in of_job(recipients={"include": [{"items": [{"a": value}]}]})
    endless: list[Any] = []
    endless.append(endless)
    assert "deeper" in of_job(actions={"send": {"command": {"url": "x", "payload": endless}}})


def test_several_mistakes_are_told_at_once():
    """A person mends a file in one go: every mistake is a line of its own."""
    data = job_data(matching="frist", windows="all")
    del data["name"]
    with pytest.raises(InputErrors) as caught:
        parse_model(Job, data, source="job.yaml")
    assert sorted(str(problem).split(":")[0] for problem in caught.value.problems) == [
        "matching",
        "name",
        "windows",
    ]
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "- name: x", "just text", "5"])
def test_file_without_a_mapping_is_refused(tmp_path: Path, content: str):
    """An empty file and a list at the top are no job and no action."""
    path = tmp_path / "job.yaml"
    path.write_text(content)
    with pytest.raises(JobError) as caught:
        load_job(path)
    assert str(caught.value) == f"{path}: holds no mapping; expected the keys of a job"
    with pytest.raises(JobError, match="holds no mapping; expected the keys of an action"):
        load_action(path)


def test_missing_template_file_tells_its_segment_and_the_nearest(tmp_path: Path):
    """The path of a message text is looked up from the job file's folder."""
    (tmp_path / "offer.html").touch()
    segment = {"name": "a", "action": "send", "template": {"html": {"file": "ofer.html"}}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job_data(segments=[segment])))
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "job.yaml")
    assert str(caught.value) == (
        f"segments[0].template.html: no file 'ofer.html' in {tmp_path} (did you mean 'offer.html'?)"
    )
