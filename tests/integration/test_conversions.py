"""Conversions: who may tell of them, and which message each is counted for."""

import hashlib
import hmac
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from clarion.addresses import address_of
from clarion.conversions.routes import REFERENCE, conversions_router
from clarion.ledger.attribution import attribute_batch
from clarion.ledger.clicks import Click, store_clicks
from clarion.ledger.database import Database
from clarion.ledger.runs import RunRecord
from clarion.ledger.tables import RUN, RUN_ITEM
from clarion.models.webhook_credentials import GenericWebhook
from clarion.receiving.endpoints import make_endpoint
from clarion.templating.links import Stem
from tests.integration.link_servers import (
    URL,
    events_of,
    fell_back,
    item_ids,
    linked_run,
    links_of,
    phone,
    served,
)

TOKEN = "a-bearer-token"
NAME = REFERENCE.rpartition("/")[2]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@contextmanager
def receiving(database: Database, **credentials: str) -> Generator[httpx.Client]:
    """A client of a server for conversions; with the bearer token where no other credentials are given."""
    given: dict[str, Any] = {
        name: SecretStr(value) for name, value in (credentials or {"token": TOKEN}).items()
    }
    endpoint = make_endpoint(NAME, GenericWebhook(**given))
    with served(database, conversions_router(database, endpoint)) as client:
        if not credentials:
            client.headers["authorization"] = f"Bearer {TOKEN}"
        yield client


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def token_of(run: RunRecord, run_item_id: int, *, step: int = 0) -> str:
    """The click token of a message, as the shop gets it."""
    return links_of(run, run_item_id, base_url="", step=step).link(URL, Stem("offer", URL)).rpartition("/")[2]


def clicked(database: Database, run: RunRecord, run_item_id: int, *, ago: timedelta, **changes: Any) -> None:
    """Somebody has followed the link of a message."""
    click = Click(
        run_id=run.id,
        run_item_id=run_item_id,
        name="offer",
        visitor=None,
        occurred_at=datetime.now(UTC) - ago,
        user_agent="",
    )
    with database.write() as connection:
        store_clicks(connection, [replace(click, **changes)])


def counted_for(database: Database) -> list[tuple[int | None, str | None]]:
    """The run item that each conversion is counted for, and by what."""
    return events_of(database, "run_item_id", "attributed_by", kind="conversion")


def post(client: httpx.Client, **conversion: Any) -> dict[str, Any]:
    """What is answered to a conversion; it must have been taken."""
    answer = client.post("/conversions", json={"event_id": "e1"} | conversion)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_conversion_is_stored_with_the_message_behind_it(database: Database):
    """By the token of its click: all that was told, and the run item with its action and segment."""
    run = linked_run(database, 2, sent_ago=2 * HOUR)
    _, item = item_ids(database, run)
    clicked(database, run, item, ago=HOUR)
    with receiving(database) as client:
        told = {"click": token_of(run, item), "name": "order", "value": 129.5, "currency": "EUR"}
        assert post(client, **told, data={"order": "A-17"}) == {"new": True, "attributed_by": "click"}
    columns = (
        "endpoint", "provider_event_id", "state", "run_id", "run_item_id", "attributed_by", "action",
        "src_ctx", "recipient", "name", "value", "currency",
    )  # fmt: skip
    assert events_of(database, *columns, kind="conversion") == [
        (
            REFERENCE, "e1", "received", run.id, item, "click", "send",
            "all", address_of(phone(2)), "order", 129.5, "EUR",
        )
    ]  # fmt: skip
    [(data, occurred_at)] = events_of(database, "data", "occurred_at", kind="conversion")
    assert data["data"] == {"order": "A-17"}
    assert datetime.now(UTC) - occurred_at < timedelta(minutes=1)


def test_conversion_is_stored_once(database: Database):
    """By its id; what comes again is answered alike, and changes nothing."""
    run = linked_run(database)
    with receiving(database) as client:
        assert post(client, recipient=phone(1), value=1)["new"]
        assert not post(client, recipient=phone(1), value=2)["new"]
        assert post(client, recipient=phone(1), value=3, event_id="e2")["new"]
    assert events_of(database, "run_id", "value", kind="conversion") == [(run.id, 1), (run.id, 3)]


def test_conversion_is_counted_for_the_last_click_not_the_last_message(database: Database):
    """Of the messages to a recipient the one that was clicked last, even where a later one was not."""
    runs = [linked_run(database, sent_ago=ago) for ago in (3 * DAY, 2 * DAY, HOUR)]
    items = [item_ids(database, run)[0] for run in runs]
    with receiving(database) as client:
        assert post(client, recipient="0044 (0)1", event_id="nobody")["attributed_by"] is None
        assert post(client, recipient=phone(1))["attributed_by"] == "message"
        clicked(database, runs[0], items[0], ago=DAY)
        clicked(database, runs[1], items[1], ago=DAY + HOUR)
        assert post(client, recipient=phone(1).replace("+", "00"), event_id="e2")["attributed_by"] == "click"
        clicked(database, runs[1], items[1], ago=HOUR)
        clicked(database, runs[0], items[0], ago=HOUR / 2, visitor="scanner")
        assert post(client, recipient=phone(1), event_id="e3")["attributed_by"] == "click"
    assert counted_for(database) == [
        (None, None),
        (items[2], "message"),
        (items[0], "click"),
        (items[1], "click"),
    ]


def test_conversion_is_counted_for_the_step_whose_link_was_followed(database: Database):
    """A click in the first message is not one in the mail that followed it, to another address."""
    run = linked_run(database, sent_ago=2 * HOUR)
    [item] = item_ids(database, run)
    fell_back(database, run, item)
    clicked(database, run, item, ago=HOUR)
    mail = {"recipient": "ann@example.com"}
    with receiving(database) as client:
        assert post(client, click=token_of(run, item))["attributed_by"] == "click"
        assert post(client, event_id="e2", click=token_of(run, item, step=1))["attributed_by"] == "message"
        assert post(client, event_id="e3", **mail)["attributed_by"] == "message"
        clicked(database, run, item, ago=HOUR / 2, step=1)
        assert post(client, event_id="e4", click=token_of(run, item, step=1))["attributed_by"] == "click"
        assert post(client, event_id="e5", click=token_of(run, item))["attributed_by"] == "click"
    phoned, mailed = (address_of(phone(1)), "send"), ("ann@example.com", "mail")
    assert events_of(database, "recipient", "action", kind="conversion") == [
        phoned, mailed, mailed, mailed, phoned,
    ]  # fmt: skip


def test_conversion_is_counted_within_the_days_of_its_job(database: Database):
    """The job of each message has its own; a later conversion is kept without a message."""
    short = linked_run(database, sent_ago=3 * DAY, conversion_days=2)
    long = linked_run(database, sent_ago=20 * DAY, conversion_days=30, name="slow")
    [late], [item] = item_ids(database, short), item_ids(database, long)
    with receiving(database) as client:
        assert post(client, click=token_of(short, late))["attributed_by"] is None
        assert post(client, recipient=phone(1), event_id="e2")["attributed_by"] == "message"
        clicked(database, short, late, ago=HOUR)
        assert post(client, click=token_of(short, late), event_id="e3")["attributed_by"] == "click"
        long_ago = (datetime.now(UTC) - 25 * DAY).isoformat()
        told = {"recipient": phone(1), "event_id": "e4", "occurred_at": long_ago}
        assert post(client, **told)["attributed_by"] is None
    assert counted_for(database) == [(None, None), (item, "message"), (late, "click"), (None, None)]


def test_conversion_names_its_message_by_our_reference(database: Database):
    """As the action sent it, or the idempotency key; where it is another ledger's, by the recipient."""
    run = linked_run(database, 2, sent_ago=HOUR)
    first, second = item_ids(database, run)
    with receiving(database) as client:
        post(client, client_ref=f"{run.uid}-{first}")
        post(client, client_ref=f"{run.uid}-{second}.0.0", event_id="e2")
        post(client, client_ref=f"{'0' * 16}-{first}", event_id="e3")
        post(client, client_ref="our order 17", recipient=phone(2), event_id="e4")
        clicked(database, run, first, ago=HOUR / 2)
        post(client, client_ref=f"{run.uid}-{first}", event_id="e5")
    assert counted_for(database) == [
        (first, "message"), (second, "message"), (None, None), (second, "message"), (first, "click"),
    ]  # fmt: skip


def test_conversion_with_a_token_that_is_none_is_found_otherwise(database: Database):
    """A visitor may have changed the page's address: what else is told still counts."""
    run = linked_run(database, sent_ago=HOUR)
    [item] = item_ids(database, run)
    with receiving(database) as client:
        post(client, click="x" + token_of(run, item))
        post(client, click="", recipient=phone(1), event_id="e2")
        post(client, click=token_of(run, 4_711), recipient=phone(1), event_id="e3")
    assert counted_for(database) == [(None, None), (item, "message"), (item, "message")]


def test_conversion_by_a_token_counts_where_a_scanner_seemed_to_click(database: Database):
    """Who has the token has been on the page, whatever their browser calls itself."""
    run = linked_run(database, sent_ago=2 * HOUR)
    [item] = item_ids(database, run)
    clicked(database, run, item, ago=HOUR, visitor="scanner")
    with receiving(database) as client:
        assert post(client, click=token_of(run, item))["attributed_by"] == "click"
        assert post(client, recipient=phone(1), event_id="e2")["attributed_by"] == "message"


def test_conversion_is_of_nobody_whom_no_message_reached(database: Database):
    """Neither what was refused, nor a rehearsal, counts by its recipient."""
    refused, rehearsed = linked_run(database, sent_ago=HOUR), linked_run(database, sent_ago=HOUR)
    with database.write() as connection:
        failed = {"status": "failed", "reason": "refused"}
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.run_id == refused.id).values(failed))
        against = {"against": "http://127.0.0.1:1"}
        connection.execute(RUN.update().where(RUN.c.id == rehearsed.id).values(against))
    [item] = item_ids(database, rehearsed)
    with receiving(database) as client:
        assert post(client, recipient=phone(1))["attributed_by"] is None
        assert post(client, click=token_of(rehearsed, item), event_id="e2")["attributed_by"] == "message"


def test_conversion_reaches_the_handlers_as_it_was_counted(database: Database):
    """Attribution by recipient, which listens for other days, leaves conversions as they are."""
    run = linked_run(database, sent_ago=3 * DAY, conversion_days=2)
    [item] = item_ids(database, run)
    with receiving(database) as client:
        post(client, recipient=phone(1))
        post(client, client_ref=f"{run.uid}-{item}", event_id="e2")
    assert [(event.type, event.run_item_id) for event in attribute_batch(database, limit=10)] == [
        ("conversion", None)
    ] * 2


def test_conversion_needs_the_token_or_the_signature(database: Database, caplog: pytest.LogCaptureFixture):
    """Else 401, the log names the setting, and nothing is stored."""
    linked_run(database)
    body = json.dumps({"event_id": "e1", "recipient": phone(1)}).encode()
    with receiving(database) as client:
        for headers in ({"authorization": "Bearer x"}, {"authorization": ""}):
            assert client.post("/conversions", content=body, headers=headers).status_code == 401
    assert "check token" in caplog.text
    with receiving(database, secret="s" * 32) as client:
        signature = hmac.new(b"s" * 32, body, hashlib.sha256).hexdigest()
        wrong = client.post("/conversions", content=body + b" ", headers={"x-signature": signature})
        assert wrong.status_code == 401
        assert events_of(database, "id", kind="conversion") == []
        right = client.post("/conversions", content=body, headers={"x-signature": f"sha256={signature}"})
        assert right.status_code == 200


@pytest.mark.parametrize(
    ("conversion", "problem"),
    [
        ({"recipient": "+447700900001"}, "event_id: Field required"),
        ({"event_id": "e1"}, "needs one of click, client_ref and recipient"),
        ({"event_id": "e1", "recipient": "x", "value": "12"}, "value: "),
        ({"event_id": "e1", "recipient": "x", "currency": "euro"}, "currency: "),
        ({"event_id": "e1", "recipient": "x", "worth": 12}, "worth: "),
        ({"event_id": "e1", "recipient": "x", "occurred_at": "2026-01-01T00:00:00"}, "occurred_at: "),
        ({"event_id": "e1", "recipient": "x", "occurred_at": "2999-01-01T00:00:00Z"}, "lies in the future"),
        ({"event_id": "x" * 300, "recipient": "x"}, "event_id: "),
        ({"event_id": "e\x001", "recipient": "x"}, "event_id: "),
        ({"event_id": "e1", "recipient": "x", "data": {"x": 10**20}}, "data: holds a number"),
        ({"event_id": "e1", "recipient": "x", "occurred_at": "0001-01-01T00:00:00Z"}, "before 1970"),
        ({"event_id": "e1", "recipient": "x", "occurred_at": "0001-01-01T00:00:00+14:00"}, "before 1970"),
        ({"event_id": "e1", "recipient": "x", "data": {"x": deep(64)}}, "nested deeper than 64 levels"),
        ({"event_id": "e1", "recipient": "x", "data": {"x": deep(600)}}, "nested deeper than 64 levels"),
        ([], ""),
    ],
)
def test_conversion_that_is_not_valid_is_refused(database: Database, conversion: Any, problem: str):
    """422 with what is wrong, and nothing of what was given."""
    with receiving(database) as client:
        answer = client.post("/conversions", json=conversion)
    assert answer.status_code == 422
    assert problem in answer.json()["error"]
    assert "+447700900001" not in answer.text
    assert events_of(database, "id", kind="conversion") == []


def test_conversion_of_whatever_bytes_is_no_server_error(database: Database):
    """Property: taken or refused, whatever comes."""
    texts = st.text(st.characters(codec="utf-8"), max_size=8)
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    )
    names = st.sampled_from(
        ["event_id", "name", "click", "client_ref", "recipient", "value", "currency", "data"]
    )
    times = st.datetimes().map("{:%Y-%m-%dT%H:%M:%SZ}".format) | texts
    levels = st.integers(1, 1_200).map(lambda each: b'{"data":{"x":%s}}' % (b"[" * each + b"]" * each))
    objects = st.dictionaries(names, values) | st.builds(
        lambda data, at: {"event_id": "e", "recipient": "x", "data": {"x": data}, "occurred_at": at},
        values,
        times,
    )
    bodies = st.binary(max_size=60) | levels | objects.map(lambda each: json.dumps(each).encode())
    with receiving(database) as client:

        @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
        @given(body=bodies)
        def send(body: bytes) -> None:
            assert client.post("/conversions", content=body).status_code in {200, 422}

        send()
        assert client.post("/conversions", content=b"x" * 100_000).status_code == 413
        assert client.get("/conversions").status_code == 405


def test_conversion_that_cannot_be_stored_is_asked_for_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """503 with the time to wait."""

    def away(*arguments: Any, **options: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("the server is down"))

    monkeypatch.setattr("clarion.conversions.routes.store_conversion", away)
    with receiving(database) as client:
        answer = client.post("/conversions", json={"event_id": "e1", "recipient": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


def test_conversion_nudges_whoever_handles_events(database: Database):
    """Once each that is new."""
    told: list[int] = []
    endpoint = make_endpoint(NAME, GenericWebhook(token=SecretStr(TOKEN)))
    router = conversions_router(database, endpoint, on_stored=lambda: told.append(1))
    with served(database, router) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        post(client, recipient="x")
        post(client, recipient="x")
    assert told == [1]
