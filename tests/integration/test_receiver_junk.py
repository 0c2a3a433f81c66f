"""Junk for the receiver: never a 500, never a stored row without a proof, never an event lost with one."""

import json
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from clarion.ledger.answer_tables import EVENT
from clarion.ledger.database import Database
from clarion.ledger.events import store_events
from clarion.models.webhook_credentials import VonageWebhook
from clarion.receiving.endpoints import make_endpoint, open_endpoint
from clarion.receiving.incoming import IncomingEvent
from clarion.templating.limits import MAX_DEPTH, to_json
from tests.integration.ledger_databases import KINDS
from tests.integration.receivers import VONAGE_PATH, receiver
from tests.unit.webhook_payloads import TWILIO_INBOUND, TWILIO_STATUS, VONAGE
from tests.unit.webhook_signers import SECRET


@pytest.fixture(scope="module", params=KINDS)
def junk_receiver(request: pytest.FixtureRequest) -> Iterator[tuple[httpx.Client, Database]]:
    """A receiver for many requests, with a database of its own."""
    databases = request.getfixturevalue(request.param)
    url = databases.empty()
    database = Database(url)
    served = [
        make_endpoint(
            "main", VonageWebhook(signature_secret=SecretStr(SECRET), sms_signature_method="sha256")
        ),
        open_endpoint("vonage-webhook", "open"),
        open_endpoint("twilio-webhook", "open"),
        open_endpoint("generic-webhook", "open"),
    ]
    with receiver(database, served=served) as client:
        yield client, database
    database.close()
    databases.drop(url)


def count(database: Database) -> int:
    """How many events are stored."""
    with database.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(EVENT)) or 0


HEADER = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
CONTENT_TYPES = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
NAMES = sorted({name for payload in (*VONAGE.values(), TWILIO_INBOUND, TWILIO_STATUS) for name in payload})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=5)
    ),
    max_leaves=20,
)
DEPTHS = st.sampled_from([60, 64, 65, 250, 254, 255, 300, 990, 1_000, 1_023, 1_024, 1_025, 5_000, 100_000])
DEEP = st.one_of(
    DEPTHS.map(lambda levels: b"[" * levels),
    DEPTHS.map(lambda levels: b'{"sig":' * levels),
    DEPTHS.map(lambda levels: b"[" * levels + b"]" * levels),
    DEPTHS.map(lambda levels: b'{"a":' * levels + b"1" + b"}" * levels),
    DEPTHS.map(lambda levels: b'{"text": "STOP", "sig": "x", "x": %s}' % (b"[" * levels + b"]" * levels)),
)
BODIES = st.one_of(st.binary(max_size=300), JSON.map(json.dumps).map(str.encode), DEEP)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=BODIES, authorization=HEADER, content_type=CONTENT_TYPES, query=st.text(max_size=40))
def test_junk_without_a_proof_is_never_stored(
    junk_receiver: tuple[httpx.Client, Database],
    body: bytes,
    authorization: str,
    content_type: str,
    query: str,
):
    """Whatever anybody posts or gets without the secret: 401, never a 500, never a row."""
    client, database = junk_receiver
    before = count(database)
    headers = {"Authorization": f"Bearer {authorization}", "Content-Type": content_type}
    url = httpx.URL(VONAGE_PATH, params={"sig": query, query[:10]: query})
    assert client.post(url, content=body, headers=headers).status_code == 401
    assert client.get(url, headers={"Content-Type": content_type}).status_code == 401
    assert count(database) == before


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=BODIES, content_type=CONTENT_TYPES, kind=st.sampled_from(["vonage", "twilio", "generic"]))
def test_verified_junk_is_kept(
    junk_receiver: tuple[httpx.Client, Database], body: bytes, content_type: str, kind: str
):
    """Whatever a provider posts that is believed is acknowledged, and its events are in the database."""
    client, database = junk_receiver
    path = f"/webhooks/{kind}-webhook/open"
    answer = client.post(path, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 200
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(EVENT.c.endpoint == path[10:]))


def test_junk_on_the_socket_is_survived(junk_receiver: tuple[httpx.Client, Database]):
    """What is no HTTP, or half a request, ends its connection and nothing else."""
    client, database = junk_receiver
    before = count(database)
    host, port = client.base_url.host, client.base_url.port
    half = f"POST {VONAGE_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode()
    odd = b"GET /webhooks/%ff%00/%0a?%zz HTTP/1.1\r\nHost: a/b?c\r\nConnection: close\r\n\r\n"
    for sent in (b"\x16\x03\x01", b"GET\r\n\r\n", half, odd):
        with socket.create_connection((host, port)) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert client.get("/health").json()["status"] == "ok"
    assert count(database) == before


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_store_events_stores_each_event_once(database: Database, data: st.DataObject):
    """However events and redeliveries are mixed, each id is one row, and the ids follow the arrival."""
    endpoint = f"kind/{uuid.uuid4()}"
    sent = data.draw(st.lists(st.integers(0, 8), max_size=30))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=3)))
    numbers: list[int] = []
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        events = [IncomingEvent(type="unknown", provider_event_id=str(each)) for each in sent[begin:end]]
        with database.write() as connection:
            numbers += store_events(connection, endpoint, events)
    assert numbers == sorted(numbers)
    with database.read() as connection:
        rows = connection.execute(
            sa.select(EVENT.c.id, EVENT.c.provider_event_id)
            .where(EVENT.c.endpoint == endpoint)
            .order_by(EVENT.c.id)
        ).all()
    assert [(row.id, int(row.provider_event_id)) for row in rows] == list(
        zip(numbers, dict.fromkeys(sent), strict=True)
    )


@pytest.mark.parametrize("levels", [63, 64, 200, 252])
def test_store_events_keeps_data_as_deep_as_templates_take(database: Database, levels: int):
    """Whoever stores an event: what is nested too deeply in it is text, and stops no handler."""
    data: dict[str, Any] = {}
    for _ in range(levels):
        data = {"x": data}
    with database.write() as connection:
        store_events(connection, "a/b", [IncomingEvent(type="unknown", provider_event_id="1", data=data)])
    with database.read() as connection:
        kept = json.loads(connection.scalar(sa.select(EVENT.c.data)) or "")
    assert (kept == data) == (levels < MAX_DEPTH)
    assert to_json(kept) == kept
