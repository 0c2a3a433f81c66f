"""The examples: each previews as the index says, and runs against the sandbox as its provider documents.

They are found by their `job.yaml`, so a new one is tested by itself; it needs a row in the index, and an
entry in PROVIDERS where its provider is a new one.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from jsonschema import Draft202012Validator

from clarion.contacts import write_contacts
from clarion.jobfile import load_job
from clarion.ledger.database import Database
from clarion.sandbox import Behaviour, Sandbox
from clarion.sending.verdict import judge_response
from tests.acceptance.provider_requests import PROVIDERS, Provider
from tests.acceptance.rehearsals import EXAMPLES, campaign_of, previewed, rehearse

NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/job.yaml"))
FILES = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.is_file())
DEMO_CONTACTS = 400


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
            link, _provider, _shows, sent, skipped = (cell.strip() for cell in line.strip("|").split("|"))
            reasons = [] if skipped == "-" else [entry.rsplit(" ", 1) for entry in skipped.split(", ")]
            name = link.partition("](")[2].rstrip(")")
            rows[name] = Row(sent=int(sent), skipped={reason: int(count) for reason, count in reasons})
    return rows


def job_file(name: str) -> Path:
    """The job of an example."""
    return EXAMPLES / name / "job.yaml"


def readme(name: str) -> str:
    """The text of an example's README."""
    return (EXAMPLES / name / "README.md").read_text(encoding="utf-8")


def provider_of(url: httpx.URL) -> Provider:
    """What documents the requests to a URL."""
    address = f"{url.scheme}://{url.host}{url.path}"
    found = [provider for pattern, provider in PROVIDERS.items() if re.fullmatch(pattern, address)]
    assert len(found) == 1, f"{address} needs an entry in PROVIDERS"
    return found[0]


def without_secret(url: httpx.URL) -> str:
    """The path as the sandbox keeps it."""
    return re.sub(r"^(/services/\w+/\w+/)\w+$", r"\1***", url.path)


def agrees(shown: Any, sent: Any) -> bool:
    """Whether a README shows what is sent; a text that ends in `...` is the beginning of one."""
    if isinstance(shown, dict) and isinstance(sent, dict):
        return shown.keys() == sent.keys() and all(agrees(shown[key], sent[key]) for key in shown)
    if isinstance(shown, list) and isinstance(sent, list):
        return len(shown) == len(sent) and all(map(agrees, shown, sent))
    if isinstance(shown, str) and isinstance(sent, str) and shown.endswith(" ..."):
        return sent.startswith(shown.removesuffix(" ...") + "\n")
    return type(shown) is type(sent) and shown == sent


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A ledger of the test's own."""
    found = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield found
    found.close()


def test_examples_are_all_in_the_index():
    """The index has a row for each example, and no other."""
    assert NAMES
    assert sorted(index()) == NAMES


def test_examples_have_names_of_their_own():
    """Jobs of one name are in each other's way: a second is refused while the first is unfinished."""
    names = Counter(load_job(job_file(name)).name for name in NAMES)
    assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", NAMES)
def test_example_previews_as_the_index_says(name: str):
    """Nothing fails to render, and what would be sent and skipped is what the index promises."""
    row = index()[name]
    found = previewed(job_file(name))
    assert found.problems == []
    assert found.bad_rows == 0
    assert found.skipped_by_reason() == row.skipped
    assert found.counts()["pending"] == row.sent == len(found.samples)
    assert found.counts()["total"] == row.sent + sum(row.skipped.values())


@pytest.mark.parametrize("name", NAMES)
def test_example_uses_every_segment(name: str):
    """A segment that nobody is in shows nothing."""
    found = previewed(job_file(name))
    segments = [segment.name for segment in load_job(job_file(name)).segments]
    assert [segment for segment in segments if not found.counts(segment)["pending"]] == []


@pytest.mark.parametrize("name", NAMES)
def test_example_sends_what_its_provider_documents(name: str, database: Database):
    """Every item is settled as promised, and every request is one that the provider's reference describes."""
    row = index()[name]
    expected = {sample["row"]: httpx.URL(sample["url"]) for sample in previewed(job_file(name)).samples}
    with Sandbox() as sandbox:
        items = rehearse(job_file(name), database=database, against=sandbox.url)
        requests = sandbox.requests()
    statuses = Counter(item["status"] for item in items)
    assert statuses == Counter(succeeded=row.sent, skipped=sum(row.skipped.values()))
    reasons = Counter(item["reason"] for item in items if item["status"] == "skipped")
    assert reasons == Counter(row.skipped)
    assert Counter(request["path"] for request in requests) == Counter(
        without_secret(expected[item["row"]]) for item in items if item["status"] == "succeeded"
    )
    provider = provider_of(next(iter(expected.values())))
    for request in requests:
        assert request["method"] == "POST"
        assert request["headers"]["content-type"] == provider.content_type
        assert request["headers"].get("authorization") == provider.authorization
        assert dict(parse_qsl(request["query"])) == provider.query
        assert request["status"] == provider.status
        errors = [error.message for error in Draft202012Validator(provider.body).iter_errors(request["body"])]
        assert errors == []


@pytest.mark.parametrize("name", NAMES)
def test_example_reads_the_providers_id(name: str, database: Database):
    """Where the action says where the id of a message is, each message has one of its own."""
    campaign, _ = campaign_of(job_file(name))
    with Sandbox() as sandbox:
        items = rehearse(job_file(name), database=database, against=sandbox.url)
    sent = [item for item in items if item["status"] == "succeeded"]
    reads = {name: action.invocation_id is not None for name, action in campaign.actions.items()}
    assert [item["invocation_id"] is not None for item in sent] == [reads[item["action"]] for item in sent]
    ids = [item["invocation_id"] for item in sent if item["invocation_id"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_example_fails_with_the_providers_reason(name: str, database: Database):
    """A refusal is a failure at once, told in the provider's words wherever the answer has some."""
    campaign, _ = campaign_of(job_file(name))
    with Sandbox(Behaviour(reject=1.0)) as sandbox:
        items = rehearse(job_file(name), database=database, against=sandbox.url)
    refused = [item for item in items if item["status"] != "skipped"]
    assert {(item["status"], item["reason"], item["attempts"]) for item in refused} == {
        ("failed", "refused", 1)
    }
    for item in refused:
        action = campaign.actions[item["action"]]
        assert item["error_code"]
        assert action.error_code is None or item["error_code"] != str(item["status_code"])
        assert action.error_reason is None or item["error"]


@pytest.mark.parametrize("name", NAMES)
def test_example_readme_tells_how_to_run_it(name: str):
    """The README has the command for each credentials block, the rehearsal, and the first request."""
    text = readme(name)
    campaign, _ = campaign_of(job_file(name))
    for action in campaign.actions.values():
        if action.action.credentials:
            assert f"$ clarion credentials save {action.action.credentials}" in text
    assert f"$ clarion run examples/{name}/job.yaml --against http://127.0.0.1:8099\n" in text
    sample = previewed(job_file(name)).samples[0]
    assert f"`{sample['method']} {sample['url'].partition('?')[0]}`" in text
    shown = json.loads(text.partition("```json\n")[2].partition("```")[0])
    sent = {key: value for key, value in sample["body"].items() if value != "****"}
    assert agrees(shown, sent)


@pytest.mark.parametrize("name", FILES)
def test_example_files_name_nobody(name: str):
    """Every number is one of those kept free for fiction, every address is below an example domain."""
    text = (EXAMPLES / name).read_text(encoding="utf-8").replace("(0)", "")
    for token in re.findall(r"[+(]?\d[\d ().-]{7,}\d", text):
        digits = re.sub(r"\D", "", token)
        if 10 <= len(digits) <= 13:  # shorter is a date or an amount, longer an id
            assert re.fullmatch(r"(44|0)(7700900|2079460)\d{3}|1?\d{3}55501\d\d", digits), token
    for domain in re.findall(r"[\w.]+@([\w.]+\w)", text):
        assert domain in {"example.com", "example.net", "example.org"}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("0", "succeeded"), ("1", "retry"), ("10", "retry"), ("5", "refused"), ("7", "refused")],
)
def test_legacy_sms_reads_the_verdict_from_the_body(status: str, outcome: str):
    """The answer is HTTP 200 whatever happened; throttled is another try, never a success."""
    campaign, _ = campaign_of(job_file("vonage-sms-legacy"))
    answer = httpx.Response(200, json={"message-count": "1", "messages": [{"status": status}]})
    verdict = judge_response(campaign.actions["send-sms"], answer, {}, now=datetime.now(UTC))
    assert verdict.outcome == outcome


def test_legacy_sms_is_tried_again_when_the_body_says_so(database: Database):
    """Against a provider that errs within its 200s, each message is accepted once or told as failed."""
    with Sandbox(Behaviour(error=0.5, seed=1)) as sandbox:
        items = rehearse(job_file("vonage-sms-legacy"), database=database, against=sandbox.url)
        verdicts = Counter(request["verdict"] for request in sandbox.requests())
        stats = sandbox.stats()
    sent = [item for item in items if item["status"] != "skipped"]
    assert Counter(item["status"] for item in sent) == {
        "succeeded": verdicts["accepted"],
        "failed": verdicts["error"],
    }
    assert verdicts["unavailable"] > 0
    assert sum(item["attempts"] for item in sent) == stats["requests"]
    assert stats["duplicates"] == {}


def test_demo_job_comes_to_what_the_contacts_promise(tmp_path: Path, database: Database):
    """The demo's job, as the package has it, skips and sends what the list's own counts say."""
    path = tmp_path / "job.yaml"
    path.write_bytes((files("clarion") / "demo" / "job.yaml").read_bytes())
    contacts = write_contacts(tmp_path / "contacts.csv", count=DEMO_CONTACTS)
    found = previewed(path)
    assert found.problems == []
    skipped = found.skipped_by_reason()
    assert found.counts()["total"] == contacts.count
    assert found.counts()["pending"] == contacts.sendable - contacts.without_consent
    assert sum(skipped.values()) == contacts.count - found.counts()["pending"]
    assert set(skipped) == {"no-segment", "invalid-recipient", "duplicate"}
    assert all(found.counts(segment.name)["pending"] for segment in load_job(path).segments)
    behaviour = Behaviour(error=0.05, reject=0.02, seed=7)
    with Sandbox(behaviour) as sandbox:
        items = rehearse(path, database=database, against=sandbox.url)
        stats = sandbox.stats()
    settled = Counter(item["status"] for item in items)
    refused = sum(
        behaviour.refuses(str(item["recipient"])[1:]) for item in items if item["status"] != "skipped"
    )
    assert settled["failed"] == refused > 0
    assert settled["succeeded"] == stats["accepted"] == found.counts()["pending"] - refused
    assert stats["errors"] > 0
    assert stats["duplicates"] == {}
    assert {item["error_code"] for item in items if item["status"] == "failed"} == {
        "Invalid or Missing Msisdn Param"
    }


def test_example_runs_from_the_command_line(tmp_path: Path):
    """As the README says, in a process of its own, with nothing saved and nothing set up."""
    name = "vonage-messages-sms"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("CLARION", "PREFECT"))
    }
    home = {
        "HOME": str(tmp_path),
        "CLARION_HOME": str(tmp_path / "clarion"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
    }
    with Sandbox() as sandbox:
        command = [str(Path(sys.executable).parent / "clarion"), "run", f"examples/{name}/job.yaml"]
        done = subprocess.run(
            [*command, "--against", sandbox.url, "--json"],
            cwd=EXAMPLES.parent,
            env=environment | home | {"DO_NOT_TRACK": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        stats = sandbox.stats()
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "completed"
    assert report["counts"]["succeeded"] == stats["accepted"] == index()[name].sent
    assert report["skipped_by_reason"] == index()[name].skipped
    assert stats["duplicates"] == {}
