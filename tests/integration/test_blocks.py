"""Blocks on a real Prefect server: registered, saved, loaded, and silent about their secrets."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from blocks.credentials import (
    CREDENTIAL_BLOCKS,
    ApiKey,
    BasicAuth,
    BearerToken,
    VonageApplication,
    WebhookSecret,
    WebhookUrl,
    load_credentials,
)
from blocks.documents import document_name, save_document, saved_names
from blocks.http_action import HttpAction, load_action
from blocks.job import Job, load_job
from blocks.lists import FileList, ItemsList
from blocks.registry import ALL_BLOCKS, register_blocks
from blocks.webhook_credentials import WEBHOOK_BLOCKS, GenericWebhook, TwilioWebhook, VonageWebhook
from blocks.webhooks import WebhookSubscriber
from clarion.errors import JobError, SettingError
from clarion.models import action, credentials, job
from clarion.models.credential_kinds import CREDENTIALS, WEBHOOK_CREDENTIALS

SECRET = "s3cret-value-4711"

ACTION: dict[str, Any] = {
    "channel": "sms",
    "command": {
        "url": "http://127.0.0.1:9/v1/messages",
        "headers": {"X-Campaign": "{{ job.name }}"},
        "payload": {
            "to": "{{ recipient }}",
            "text": "{{ template.message }}",
            "context": {},
            "n": [1, 1.5, None],
        },
    },
    "credentials": "vonage-application/main",
    "tps": 30,
}
JOB: dict[str, Any] = {
    "name": "renewals",
    "recipients": {
        "include": [{"file": "customers.csv", "key": "Customer Id"}, {"items": [{"phone": "+447700900000"}]}],
        "exclude": [{"file": "complaints.csv", "recipient": "{{ item.phone }}"}],
    },
    "recipient": "{{ item.phone }}",
    "segments": [
        {
            "name": "gold",
            "condition": 'item.plan == "gold"',
            "action": "send-sms",
            "template": {"message": "Dear {{ item['First Name'] | default('customer') }}"},
        }
    ],
    "actions": {"send-sms": ACTION},
    "schedule": {"cron": "0 9 * * mon", "timezone": "Europe/London"},
}


SUBSCRIBER: dict[str, Any] = {
    "url": "https://crm.test/hooks",
    "events": ["recipient-response"],
    "secret": "webhook-secret/crm",
}


def webhook_samples() -> list[Block]:
    """One block of every kind of endpoint."""
    return [
        VonageWebhook(signature_secret=SecretStr(SECRET), previous_signature_secret=SecretStr(f"{SECRET}-2")),
        TwilioWebhook(auth_token=SecretStr(SECRET), previous_auth_token=SecretStr(f"{SECRET}-2")),
        GenericWebhook.model_validate(
            {"token": SECRET, "previous_token": f"{SECRET}-2", "response": {"status": {"value": "sent"}}}
        ),
    ]


def samples() -> list[Block]:
    """One block of every type."""
    return [
        BearerToken(token=SecretStr(SECRET)),
        BasicAuth(username="acme", password=SecretStr(SECRET)),
        ApiKey(fields={"api_key": SecretStr(SECRET), "a.b": SecretStr(f"{SECRET}-2")}, location="body"),
        VonageApplication.dummy(),
        WebhookUrl(url=SecretStr(f"https://hooks.test/services/{SECRET}")),
        WebhookSecret.dummy(),
        *webhook_samples(),
        FileList.model_validate({"file": "customers.csv", "key": "Customer Id"}),
        ItemsList.model_validate({"items": [{"phone": "0049123", "plan": None, "n": 1.5}]}),
        HttpAction.model_validate(ACTION),
        Job.model_validate(JOB),
        WebhookSubscriber.model_validate(SUBSCRIBER),
    ]


def slug(block: Block | type[Block]) -> str:
    """The block type's name in references."""
    return block.get_block_type_slug()


class TestStandard(BlockStandardTestSuite):
    """What Prefect asks of every block."""

    # No logo: the UI would fetch it from another host.
    test_has_a_valid_image = None

    @pytest.fixture(params=ALL_BLOCKS, ids=slug)
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        """Every block type."""
        return request.param


def test_samples_hold_one_block_of_every_type():
    """A new block type is tested as the others are."""
    assert [type(block) for block in samples()] == list(ALL_BLOCKS)


def test_credential_blocks_are_the_kinds_of_the_core():
    """Every kind of credentials can be saved, under the type that references name."""
    assert {kind: slug(block) for kind, block in CREDENTIAL_BLOCKS.items()} == {
        kind: kind for kind in CREDENTIALS
    }
    assert {kind: slug(block) for kind, block in WEBHOOK_BLOCKS.items()} == {
        kind: kind for kind in WEBHOOK_CREDENTIALS
    }


@pytest.mark.parametrize("block", samples(), ids=slug)
def test_block_refuses_unknown_keys(block: Block):
    """A block is as strict as its model: a key that nobody reads is an error, not ignored."""
    fields = {name: getattr(block, name) for name in type(block).model_fields}
    with pytest.raises(ValidationError, match="extra_forbidden"):
        type(block)(**fields, quiet_hours="22:00")
    with pytest.raises(ValidationError, match="extra_forbidden"):
        type(block).model_validate({**block.model_dump(), "quiet_hours": "22:00"})


def test_register_blocks_twice_changes_nothing(prefect_server: None):
    """All types are offered in the UI, once each, however often they are registered."""
    first = register_blocks()
    with get_client(sync_client=True) as client:
        before = [client.read_block_type_by_slug(each) for each in first]
    assert register_blocks() == first == [slug(block) for block in ALL_BLOCKS]
    with get_client(sync_client=True) as client:
        assert [client.read_block_type_by_slug(each) for each in first] == before


@pytest.mark.parametrize("block", samples(), ids=slug)
def test_block_comes_back_as_it_was_saved(prefect_server: None, block: Block):
    """Saved, loaded and saved over, a frozen block keeps every field."""
    assert save_document(block, "round-trip", replace=False)
    fields = {name: getattr(block, name) for name in type(block).model_fields}
    first = type(block).load("round-trip")
    assert not save_document(first, "round-trip", replace=True)
    second = type(block).load("round-trip")
    for loaded in (first, second):
        assert {name: getattr(loaded, name) for name in type(block).model_fields} == fields


@pytest.mark.parametrize("block", [*samples()[:4], *webhook_samples()], ids=slug)
def test_saved_secrets_are_masked_and_encrypted(prefect_server: None, block: Block):
    """The API gives stars unless it is asked for secrets, and the database's files hold none in the clear."""
    save_document(block, "masked", replace=True)
    with get_client(sync_client=True) as client:
        shown = client.read_block_document_by_name("masked", slug(block), include_secrets=False).data
        hidden = client.read_block_document_by_name("masked", slug(block), include_secrets=True).data
    flat = [
        each for value in hidden.values() for each in (value.values() if isinstance(value, dict) else [value])
    ]
    secrets = [each for each in flat if isinstance(each, str) and (SECRET in each or "PRIVATE KEY" in each)]
    database = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).partition("///")[2])
    stored = b"".join(file.read_bytes() for file in database.parent.glob(f"{database.name}*"))
    assert secrets
    assert b"masked" in stored
    for secret in secrets:
        assert secret not in str(shown)
        assert secret not in repr(block)
        assert secret.encode() not in stored


def test_load_credentials_gives_what_was_saved(prefect_server: None):
    """A reference leads to credentials of the core, ready to authenticate."""
    save_document(ApiKey(fields={"X-Key": SecretStr(SECRET)}), "loaded", replace=True)
    loaded = load_credentials("api-key/loaded")
    assert type(loaded) is credentials.ApiKey
    assert SECRET in loaded.secrets()


def test_load_credentials_names_the_nearest_and_how_to_save(prefect_server: None):
    """What is not there is met with what is, and with the command that makes it."""
    save_document(BearerToken(token=SecretStr(SECRET)), "sendgrid", replace=True)
    with pytest.raises(JobError, match=r"no block bearer-token/sendgrit is saved") as caught:
        load_credentials("bearer-token/sendgrit")
    assert caught.value.nearest == "bearer-token/sendgrid"
    assert "clarion credentials save bearer-token/sendgrit" in str(caught.value)
    with pytest.raises(JobError, match="did you mean 'bearer-token'"):
        load_credentials("bearer-tokn/sendgrid")


def test_load_credentials_tells_what_is_wrong_with_what_was_saved(prefect_server: None):
    """The UI saves whatever was typed: the mistake is told on loading, without the secret."""
    VonageApplication.dummy().save("typed-in-ui", overwrite=True)
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("typed-in-ui", "vonage-application")
        client.request(
            "PATCH",
            "/block_documents/{id}",
            path_params={"id": document.id},
            json={"data": {"private_key": SECRET}},
        )
    with pytest.raises(JobError, match=r"^vonage-application/typed-in-ui\.private_key: holds no") as caught:
        load_credentials("vonage-application/typed-in-ui")
    assert SECRET not in str(caught.value)


def test_load_action_gives_the_action_of_the_core(prefect_server: None):
    """A saved action is the same model as one in a job file."""
    save_document(HttpAction.model_validate(ACTION), "send-sms", replace=True)
    assert load_action("http-action/send-sms") == action.Action.model_validate(ACTION)
    with pytest.raises(JobError, match=r"did you mean 'http-action/send-sms'"):
        load_action("http-action/send-sm")
    for reference in ("send-sms", "http-action/", "api-key/main"):
        with pytest.raises(JobError, match="http-action/NAME"):
            load_action(reference)


def test_load_job_gives_the_job_of_the_core(prefect_server: None):
    """A saved job is the same model as the file's, by its name or its reference; templates survive."""
    save_document(Job.model_validate(JOB), "renewals", replace=True)
    assert load_job("renewals") == load_job("job/renewals") == job.Job.model_validate(JOB)
    with pytest.raises(JobError, match=r"clarion job save FILE --name renewal`.*did you mean 'job/renewals'"):
        load_job("renewal")


def test_load_job_tells_the_place_of_a_mistake(prefect_server: None):
    """What a newer or older version saved is held against this one, with the path of what does not fit."""
    Job.model_validate({**JOB, "name": "broken"}).save("broken", overwrite=True)
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("broken", "job")
        client.request(
            "PATCH",
            "/block_documents/{id}",
            path_params={"id": document.id},
            json={"data": {"matching": "frist"}},
        )
    with pytest.raises(JobError, match=r"^matching: .*did you mean 'first'"):
        load_job("broken")


def test_save_document_keeps_what_is_saved_unless_told(prefect_server: None):
    """A slip of the name loses no credentials."""
    assert save_document(BearerToken(token=SecretStr(SECRET)), "kept", replace=False)
    with pytest.raises(
        JobError, match="bearer-token/kept is saved already; expected another name, or --replace"
    ):
        save_document(BearerToken(token=SecretStr("other")), "kept", replace=False)
    assert SECRET in load_credentials("bearer-token/kept").secrets()


@pytest.mark.parametrize("name", ["Send SMS", "send_sms", "", "a/b"])
def test_save_document_refuses_a_name_that_prefect_refuses(prefect_server: None, name: str):
    """The name is refused with one that fits."""
    with pytest.raises(JobError, match="lower-case letters, digits and dashes"):
        save_document(BearerToken(token=SecretStr(SECRET)), name, replace=False)


def test_document_name_is_one_that_prefect_takes():
    """A job's name becomes a block's name."""
    assert document_name("Spring Sale 2026: 50% off!") == "spring-sale-2026-50-off"


def test_saved_names_are_those_of_one_type(prefect_server: None):
    """Every saved name of the type is listed, sorted, and none of another type."""
    for name in ("names-b", "names-a"):
        save_document(BasicAuth(username="acme", password=SecretStr("")), name, replace=True)
    save_document(BearerToken(token=SecretStr(SECRET)), "names-c", replace=True)
    assert [name for name in saved_names(BasicAuth) if name.startswith("names-")] == ["names-a", "names-b"]


class _Refusing(BaseHTTPRequestHandler):
    """A server that asks for a password."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815  # named by http.server

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def refusing_url() -> Iterator[str]:
    """The address of a server that refuses everybody."""
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_refuses_is_told_with_the_setting_to_check(refusing_url: str):
    """A missing password of Prefect's API is a setting to mend, not a traceback."""
    with (
        temporary_settings({PREFECT_API_URL: refusing_url}),
        pytest.raises(SettingError, match=r"^PREFECT_API_AUTH_STRING: "),
    ):
        load_credentials("bearer-token/main")


def test_a_server_that_does_not_answer_is_told_with_the_setting_to_check():
    """A wrong address of Prefect's API is a setting to mend, not a traceback."""
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(SettingError, match=r"^PREFECT_API_URL: .*127\.0\.0\.1:9/api does not answer"),
    ):
        load_credentials("bearer-token/main")
