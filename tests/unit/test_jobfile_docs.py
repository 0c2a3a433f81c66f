"""docs/job-file.md is true: every key of every model stands there, and every example is read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import PydanticUndefined

from clarion import documents
from clarion.compiling import compile_job
from clarion.errors import InputErrors
from clarion.jobfile import PLANNED_LISTS, load_job, parse_model
from clarion.models import action, answers, base, handlers, job, subscribers, timing
from clarion.models.job import ITEM_STATUSES, Job

PAGE = (Path(__file__).parents[2] / "docs" / "job-file.md").read_text(encoding="utf-8")

SECTIONS: dict[type[base.Model], str] = {
    job.Job: "## Job",
    job.Recipients: "## Recipients",
    job.RunList: "### List of a run",
    job.Recipient: "## Recipient",
    job.Segment: "## Segment",
    job.FallbackStep: "### Fallback step",
    job.TemplateText: "### Text of a template",
    action.Action: "## Action",
    action.ActionLimit: "### Limit",
    action.Parameter: "### Parameter",
    action.Command: "### Command",
    action.RetryPolicy: "### Retry policy",
    action.BackoffPolicy: "Waits between tries:",
    action.ResponsePolicy: "### Response",
    action.ErrorMapping: "What a refusal says, or a receipt where the template asks for `event`:",
    answers.StatusMapping: "status means:",
    answers.EventMapping: (
        "Where a receipt names its call; only a [generic endpoint](receiver.md) asks for it, the modules of "
        "providers know:"
    ),
    handlers.Handler: "## Handler",
    handlers.Unsubscribe: "`unsubscribe`, or its scope alone:",
    handlers.AddToList: "`add_to_list`, or the list alone:",
    handlers.RemoveFromList: "`remove_from_list`, or the list alone:",
    handlers.SetAttribute: "`set_attribute`:",
    handlers.RunJob: "`run_job`, or the job alone:",
    handlers.Notify: "`notify` of a handler:",
    handlers.Emit: "`emit`, or the subscriber alone:",
    job.Schedule: "## Schedule",
    timing.Window: "## Window",
    subscribers.Subscriber: "## Subscriber",
}

EXAMPLES: dict[str, type[base.Model]] = {
    "job": job.Job,
    "recipients": job.Recipients,
    "recipient": job.Recipient,
    "segment": job.Segment,
    "fallback_step": job.FallbackStep,
    "action": action.Action,
    "limit": action.ActionLimit,
    "parameter": action.Parameter,
    "command": action.Command,
    "retry_policy": action.RetryPolicy,
    "response": action.ResponsePolicy,
    "handler": handlers.Handler,
    "schedule": job.Schedule,
    "window": timing.Window,
    "subscriber": subscribers.Subscriber,
}


def table_under(title: str) -> dict[str, tuple[str, str]]:
    """Default and meaning of each key in the first table below a title."""
    section = PAGE.split(f"\n{title}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \| (.+) \|$", table[0], re.MULTILINE)
    return {key: (default, meaning) for key, default, meaning in rows}


def told_default(default: Any) -> str:
    """A field's default as the page writes it."""
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, base.Model):
        return "below"
    if isinstance(default, list):
        return f"`[{', '.join(default)}]`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def test_every_model_of_the_file_has_a_section():
    """A model that a job can hold is documented here, or on the page on lists."""
    named = set(Job.model_json_schema()["$defs"]) | {"Job"}
    assert named == {model.__name__ for model in SECTIONS} | {"FileList", "ItemsList", "ManagedList"}


@pytest.mark.parametrize("model", list(SECTIONS), ids=lambda model: model.__name__)
def test_every_key_stands_there_with_default_and_meaning(model: type[base.Model]):
    """Key, default and the model's own words; no key too many."""
    assert table_under(SECTIONS[model]) == {
        name: (told_default(field.get_default(call_default_factory=True)), field.description)
        for name, field in model.model_fields.items()
    }


def examples() -> list[tuple[str, str]]:
    """Kind and content of every YAML example."""
    return re.findall(r"^```yaml (\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_every_kind_has_one_example():
    """One example a section."""
    assert sorted(kind for kind, _ in examples()) == sorted(EXAMPLES)


@pytest.mark.parametrize(("kind", "text"), examples(), ids=[kind for kind, _ in examples()])
def test_example_is_read(kind: str, text: str, tmp_path: Path):
    """An example is a valid value of its model, read as a file is read."""
    path = tmp_path / "example.yaml"
    path.write_text(text)
    found = parse_model(EXAMPLES[kind], documents.read_document(path), source=kind)
    assert found.model_dump(exclude_unset=True).keys() == yaml.safe_load(text).keys()


def test_job_example_compiles(tmp_path: Path):
    """The first example is a whole job."""
    (tmp_path / "job.yaml").write_text(dict(examples())["job"])
    assert compile_job(load_job(tmp_path / "job.yaml")).job.name == "renewals"


def test_errors_are_told_as_shown():
    """The two lines of the page are what a person sees."""
    data = yaml.safe_load(dict(examples())["job"])
    data["segments"][0]["conditon"] = "x"
    data["actions"]["send-sms"]["tps"] = "fast"
    with pytest.raises(InputErrors) as caught:
        parse_model(Job, data, source="job.yaml")
    shown = re.search(r"^  ```\n(.*?)^  ```", PAGE, re.DOTALL | re.MULTILINE)
    assert shown is not None
    assert str(caught.value).splitlines() == [line.strip() for line in shown[1].splitlines()]


def test_every_list_of_a_later_version_is_named():
    """What is refused as not honoured yet stands on the page."""
    sentence = PAGE.split("- **Lists of later versions**")[1].split("\n- **")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == PLANNED_LISTS


def test_numbers_and_statuses_are_those_of_the_code():
    """Bounds on the page are the bounds."""
    assert f"at most {documents.MAX_FILE_BYTES >> 20} MiB" in PAGE
    assert f"at most {base.MAX_DEPTH} levels" in PAGE
    assert f"more than {documents.MAX_REPEATED_VALUES:,} values" in PAGE
    assert f"Statuses: {', '.join(f'`{status}`' for status in ITEM_STATUSES)}." in PAGE
