"""`clarion serve` in processes of its own: what it serves, how it ends, and what a kill leaves behind."""

import json
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.documents import save_document
from blocks.endpoints import load_endpoints
from blocks.webhook_credentials import GenericWebhook, TwilioWebhook, VonageWebhook, load_webhook_credentials
from clarion.errors import JobError, SettingError
from clarion.ledger.database import Database
from tests.acceptance.installations import wait_for
from tests.integration.receivers import VONAGE_PATH, stored
from tests.integration.serving import CLARION, serving, settings
from tests.unit.webhook_payloads import INBOUND_SMS, as_body
from tests.unit.webhook_signers import SECRET, vonage_token

ACKNOWLEDGED_BEFORE_THE_KILL = 150
SENDERS = 8


@pytest.fixture
def saved(prefect_server: None) -> None:
    """One endpoint of each kind, and one that anybody may post to."""
    secret = SecretStr(SECRET)
    save_document(VonageWebhook(signature_secret=secret), "main", replace=True)
    save_document(TwilioWebhook(auth_token=secret), "main", replace=True)
    save_document(GenericWebhook(token=secret), "main", replace=True)
    save_document(GenericWebhook(), "anybody", replace=True)


def post(client: httpx.Client, name: str) -> int:
    """Posts a signed inbound message of its own."""
    body = as_body({**INBOUND_SMS, "message_uuid": name, "text": "Hello"})
    headers = {"Authorization": f"Bearer {vonage_token(body)}", "Content-Type": "application/json"}
    return client.post(VONAGE_PATH, content=body, headers=headers).status_code


def test_killed_receiver_has_every_acknowledged_event(
    saved: None, database: Database, database_url: str, tmp_path: Path
):
    """`kill -9` under load, twice: what was answered 200 is in the database, once, whenever it came."""
    env, acknowledged = settings(tmp_path, database_url), []
    for round_ in range(2):
        with serving("--no-handle", env=env) as server, ThreadPoolExecutor(SENDERS) as pool:
            enough = threading.Event()

            def send(
                sender: int, *, of: int = round_, to: httpx.Client = server.client, reached: Any = enough
            ) -> None:
                for number in range(10_000):
                    name = f"{of}-{sender}-{number}"
                    try:
                        status = post(to, name)
                    except httpx.TransportError:
                        return
                    assert status == 200
                    acknowledged.append(name)
                    if len(acknowledged) >= ACKNOWLEDGED_BEFORE_THE_KILL * (of + 1):
                        reached.set()

            sending = [pool.submit(send, sender) for sender in range(SENDERS)]
            assert enough.wait(timeout=60)
            server.process.send_signal(signal.SIGKILL)
            for each in sending:
                each.result()
            assert server.process.wait() == -signal.SIGKILL
    names = [row["provider_event_id"].removeprefix("inbound:") for row in stored(database)]
    assert len(names) == len(set(names))
    assert len(acknowledged) >= 2 * ACKNOWLEDGED_BEFORE_THE_KILL
    assert set(acknowledged) <= set(names)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(saved: None, sqlite: Any, tmp_path: Path, number: signal.Signals):
    """Exit code 0, the log as JSON lines without personal data, no traceback."""
    url = sqlite.migrated()
    with serving("--no-handle", "--endpoint", "vonage-webhook/main", env=settings(tmp_path, url)) as server:
        assert server.told["endpoints"] == [
            {"endpoint": "vonage-webhook/main", "url": f"{server.told['url']}{VONAGE_PATH}", "open": False}
        ]
        assert post(server.client, "one") == 200
        assert server.client.get(VONAGE_PATH, params={"msisdn": "447700900999"}).status_code == 401
        code, lines = server.leave(number)
    assert code == 0
    log = [json.loads(line) for line in lines]
    facts = [(line.get("method"), line.get("path"), line.get("status")) for line in log]
    assert facts == [("POST", VONAGE_PATH, 200), (None, None, None), ("GET", VONAGE_PATH, 401)]
    assert "vonage-webhook/main: a request has no Authorization" in log[1]["message"]
    assert "447700900" not in "\n".join(lines)


def test_all_saved_endpoints_are_served_but_open_ones(saved: None, sqlite: Any, tmp_path: Path):
    """What asks for no proof must be asked for by name, and is warned of."""
    env = settings(tmp_path, sqlite.migrated())
    with serving("--no-handle", "--open", "anybody", "--public-url", "https://a.test/x/", env=env) as server:
        named = {each["endpoint"]: each for each in server.told["endpoints"]}
        assert {"vonage-webhook/main", "twilio-webhook/main", "generic-webhook/main"} <= set(named)
        assert [name for name, each in named.items() if each["open"]] == ["generic-webhook/anybody"]
        assert named["generic-webhook/anybody"]["url"] == "https://a.test/x/webhooks/generic-webhook/anybody"
        assert server.client.post("/webhooks/generic-webhook/anybody", json={}).status_code == 200
        assert server.client.post("/webhooks/generic-webhook/main", json={}).status_code == 401
        code, lines = server.leave(signal.SIGTERM)
    assert code == 0
    assert any("generic-webhook/anybody is open" in line for line in lines)


def test_events_are_handled_as_they_come(saved: None, sqlite: Any, tmp_path: Path):
    """The receiver handles what it stored: nobody has to start a flow."""
    url = sqlite.migrated()
    with serving("--endpoint", "vonage-webhook/main", env=settings(tmp_path, url)) as server:
        assert post(server.client, "one") == 200
        with Database(url) as database:
            wait_for(
                lambda: [row["state"] for row in stored(database)] == ["handled"] or None, what="the handling"
            )
        assert server.leave(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "70000"), ["--port", "70000 is no port"]),
        (("--max-body-bytes", "3"), ["--max-body-bytes"]),
        (("--public-url", "answers.test"), ["--public-url", "answers.test"]),
        (("--open", "vonage/main"), ["vonage-webhook"]),
    ],
)
def test_mistakes_are_one_line(
    prefect_server: None, sqlite: Any, tmp_path: Path, options: Any, words: list[str]
):
    """Exit code 2, what and where, no traceback."""
    ran = subprocess.run(
        [*CLARION, "serve", "--port", "0", *options],
        env=settings(tmp_path, sqlite.migrated()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    for word in words:
        assert word in ran.stderr


def test_endpoints_that_are_asked_for_wrongly_are_refused(saved: None):
    """No such block, an open one without --open, and a secret one with it."""
    with pytest.raises(JobError, match="no block vonage-webhook/mian is saved") as missing:
        load_endpoints(["vonage-webhook/mian"], opened=[])
    assert missing.value.nearest == "vonage-webhook/main"
    with pytest.raises(SettingError, match="anybody could post there"):
        load_endpoints(["generic-webhook/anybody"], opened=[])
    with pytest.raises(SettingError, match="has a secret"):
        load_endpoints([], opened=["generic-webhook/main"])
    with pytest.raises(JobError, match="no credentials of type"):
        load_endpoints(["bearer-token/main"], opened=[])
    [endpoint] = load_endpoints(["vonage-webhook/main"], opened=[])
    assert endpoint.path == VONAGE_PATH


def test_webhook_credentials_come_back_as_they_were_saved(saved: None):
    """With their secrets, as a model of the core."""
    loaded = load_webhook_credentials("twilio-webhook/main")
    assert loaded.kind == "twilio-webhook"
    assert SECRET not in repr(loaded)
    with pytest.raises(JobError, match="clarion credentials save vonage-webhook/other"):
        load_webhook_credentials("vonage-webhook/other")
