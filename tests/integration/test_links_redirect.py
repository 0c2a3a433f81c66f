"""Following the links of messages, over real sockets."""

from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from clarion.addresses import address_of
from clarion.compiling import compile_job
from clarion.errors import LedgerError
from clarion.handling import handle_batch
from clarion.ledger import clicks as ledger_clicks
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.attribution import attribute_batch
from clarion.ledger.clicks import Click, store_clicks
from clarion.ledger.database import Database
from clarion.links import recording
from clarion.links.routes import links_router
from clarion.links.unsubscribe_routes import unsubscribe_router
from clarion.models.job import Job
from clarion.sending.session import RunSession
from clarion.templating.links import Stem
from tests.integration.handled_runs import child_of
from tests.integration.ledger_runs import claimed, whole
from tests.integration.link_servers import (
    BROWSER,
    URL,
    events_of,
    fell_back,
    item_ids,
    linked_run,
    links_of,
    phone,
    served,
    served_by_process,
)

OFFER = Stem("offer", URL)
OWN = Stem("own", f"{URL}?c=", "cid")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_link_redirects_and_counts(database: Database):
    """302 to the page that the template named; the click is in the ledger by then, with all it belongs to."""
    run = linked_run(database, 2)
    _, second = item_ids(database, run)
    before = datetime.now(UTC)
    with served(database, links_router(database)) as client:
        answer = client.get(links_of(run, second, base_url=str(client.base_url)).link(URL, OFFER))
        columns = ("run_id", "run_item_id", "name", "status", "state", "attributed_by", "action", "src_ctx")
        assert events_of(database, *columns, "recipient", kind="click") == [
            (run.id, second, "offer", None, "received", "link", "send", "all", address_of(phone(2)))
        ]
    assert (answer.status_code, answer.headers["location"]) == (302, URL)
    assert answer.headers["cache-control"] == "no-store"
    [(occurred_at, received_at, data)] = events_of(
        database, "occurred_at", "received_at", "data", kind="click"
    )
    assert before <= occurred_at <= datetime.now(UTC)
    assert abs(received_at - occurred_at) < timedelta(minutes=1)
    assert data["user_agent"].startswith("Mozilla/5.0 (iPhone")


def test_click_reaches_the_handlers_with_its_item(database: Database):
    """What handles events gets it with the run item of its link."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, links_router(database)) as client:
        client.get(links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER))
    [event] = attribute_batch(database, limit=10)
    assert (event.type, event.name, event.run_item_id, event.listening) == ("click", "offer", item, True)
    assert event.item == {"id": 1}


def test_click_is_of_whoever_got_the_message(database: Database):
    """A link of an earlier step is the earlier recipient's, also where the item has fallen back since."""
    run = linked_run(database, 2)
    item, other = item_ids(database, run)
    fell_back(database, run, item)
    with served(database, links_router(database)) as client:
        for number, step in ((item, 0), (item, 1), (item, 2), (other, 0)):
            link = links_of(run, number, base_url=str(client.base_url), step=step).link(URL, OFFER)
            assert client.get(link).headers["location"] == URL
    assert events_of(database, "run_item_id", "recipient", "action", kind="click") == [
        (item, address_of(phone(1)), "send"),
        (item, "ann@example.com", "mail"),
        (item, None, None),  # nobody knows of such a message
        (other, address_of(phone(2)), "send"),
    ]


def test_link_with_a_part_of_the_items_own_hands_its_token_on(database: Database):
    """The page gets the token by which it can tell of a conversion."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, links_router(database)) as client:
        link = links_of(run, item, base_url=str(client.base_url)).link(f"{URL}?c=47", OWN)
        token = urlsplit(link).path.rpartition("/")[2]
        assert client.get(link).headers["location"] == f"{URL}?c=47&cid={token}"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("HEAD", {}, "head"),
        ("GET", {"sec-purpose": "prefetch;prerender"}, "prefetch"),
        ("GET", {"purpose": "prefetch"}, "prefetch"),
        ("GET", {"user-agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}, "scanner"),
        ("GET", {"user-agent": ""}, "scanner"),
    ],
)
def test_machine_that_follows_a_link_is_no_person(
    database: Database, method: str, headers: dict[str, str], status: str
):
    """It is led on and recorded as what it is; no handler takes it for a click."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, links_router(database)) as client:
        link = links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER)
        assert client.request(method, link, headers=headers).headers["location"] == URL
    assert events_of(database, "status", "state", kind="click") == [(status, "handled")]
    assert events_of(database, "handled_at", kind="click") != [None]
    assert attribute_batch(database, limit=10) == []


def test_nobody_is_led_elsewhere(database: Database):
    """Property: whatever is made of a token, or made up, leads to where a template said, or nowhere."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, links_router(database), unsubscribe_router(database)) as client:
        links = links_of(run, item, base_url="")
        tokens = [
            each.rpartition("/")[2]
            for each in (links.link(URL, OFFER), links.link(f"{URL}?c=x", OWN), links.unsubscribe_link("job"))
        ]

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(data=st.data())
        def follow(data: st.DataObject) -> None:
            token = data.draw(st.sampled_from(tokens))
            begin = data.draw(st.integers(0, len(token)))
            end = data.draw(st.integers(begin, min(len(token), begin + 3)))
            text = token[:begin] + data.draw(st.text(ALPHABET, max_size=3)) + token[end:]
            assume(text and text not in tokens)
            answer = client.get(f"/l/{text}")
            assert answer.status_code == 404
            assert "location" not in answer.headers

        follow()
        for path in (
            tokens[2],
            "https://evil.example",
            "//evil.example",
            "%0d%0aLocation:x",
            "é",
            "a" * 9_000,
        ):
            assert client.get(f"/l/{path}").status_code == 404
        assert client.post(f"/l/{tokens[0]}").status_code == 405
    assert events_of(database, "id", kind="click") == []


def test_hot_path_reads_no_database(database: Database, monkeypatch: pytest.MonkeyPatch):
    """After the first click of a run nothing is read but within the transaction of clicks."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, links_router(database)) as client:
        link = links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER)
        assert client.get(link).status_code == 302
        monkeypatch.setattr(Database, "read", lambda _: pytest.fail("the ledger is read"))
        assert [client.get(link).status_code for _ in range(5)] == [302] * 5
        monkeypatch.undo()
    assert len(events_of(database, "id", kind="click")) == 6


def test_clicks_of_many_at_once_are_all_there(database: Database):
    """Each click that was answered is in the ledger, however many share a transaction."""
    run = linked_run(database, 20)
    ids = item_ids(database, run)
    with served(database, links_router(database)) as client:
        paths = [urlsplit(links_of(run, item, base_url="").link(URL, OFFER)).path for item in ids] * 5
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda path: client.get(path).status_code, paths))
        clicked = events_of(database, "run_item_id", kind="click")
    assert answers == [302] * 100
    assert sorted(clicked) == sorted(ids * 5)


def test_person_gets_to_the_page_while_the_ledger_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """The click is kept meanwhile, and written once the ledger is back."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    away = [True]

    def store(connection: sa.Connection, clicks: list[Click]) -> None:
        if away[0]:
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        store_clicks(connection, clicks)

    monkeypatch.setattr(recording, "store_clicks", store)
    monkeypatch.setattr(recording, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.01)
    with served(database, links_router(database)) as client:
        link = links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER)
        assert [client.get(link).headers["location"] for _ in range(3)] == [URL] * 3
        assert events_of(database, "id", kind="click") == []
        away[0] = False
    assert events_of(database, "run_item_id", kind="click") == [item] * 3


@pytest.mark.parametrize(
    "error", [PoolTimeoutError("no connection is free"), LedgerError("the ledger is away")]
)
def test_click_whose_commit_was_not_answered_is_stored_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    """It is written until somebody says that it is there, however the ledger is away; handlers see one."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    tries = 0
    write = Database.write

    @contextmanager
    def unanswered(self: Database) -> Generator[sa.Connection]:
        nonlocal tries
        with write(self) as connection:
            yield connection
        tries += 1
        if tries == 1:
            raise error

    monkeypatch.setattr(Database, "write", unanswered)
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.01)
    with served(database, links_router(database)) as client:
        link = links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER)
        assert client.get(link).headers["location"] == URL
    assert events_of(database, "run_item_id", kind="click") == [item]
    assert tries == 2


def test_click_that_cannot_be_stored_keeps_no_other(database: Database, monkeypatch: pytest.MonkeyPatch):
    """It is told in the log; those that came with it are stored."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    made = ledger_clicks._row

    def broken(click: Click, row: sa.Row[tuple[int]] | None) -> dict[str, object]:
        values = made(click, row)
        return values | {"run_id": 10_000_000} if click.user_agent == "broken" else values

    monkeypatch.setattr(ledger_clicks, "_row", broken)
    with served(database, links_router(database)) as client, ThreadPoolExecutor(8) as threads:
        link = links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER)
        agents = ["broken", "Mozilla/5.0 (X11)"] * 8
        answers = threads.map(
            lambda agent: client.get(link, headers={"user-agent": agent}).status_code, agents
        )
        assert list(answers) == [302] * 16
    assert len(events_of(database, "id", kind="click")) == 8


def test_link_of_another_ledger_leads_nowhere(database: Database, tmp_path_factory: pytest.TempPathFactory):
    """With the same secret key and the same numbers, but another run: 404, and no click."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with Database(f"sqlite:///{tmp_path_factory.mktemp('other') / 'ledger.db'}") as other:
        their = linked_run(other)
        assert (their.id, item_ids(other, their)) == (run.id, [item])
        with served(database, links_router(database)) as client:
            link = links_of(their, item, base_url=str(client.base_url)).link(URL, OFFER)
            assert client.get(link).status_code == 404
            answer = client.get(links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER))
            assert answer.status_code == 302
    assert len(events_of(database, "id", kind="click")) == 1


def test_link_whose_item_is_gone_still_leads_there(database: Database):
    """The click is kept without one."""
    run = linked_run(database)
    with served(database, links_router(database)) as client:
        link = links_of(run, 4_711, base_url=str(client.base_url)).link(URL, OFFER)
        assert client.get(link).headers["location"] == URL
    assert events_of(database, "run_id", "run_item_id", "name", "attributed_by", kind="click") == [
        (None, None, "offer", None)
    ]


def test_link_is_told_to_come_again_where_its_run_cannot_be_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """Only the first click of a run in a process reads the ledger; while that fails nobody knows the page."""
    run = linked_run(database)
    [item] = item_ids(database, run)

    def away(*arguments: object) -> None:
        raise OperationalError("SELECT", {}, Exception("the server is down"))

    with served(database, links_router(database)) as client:
        link = links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER)
        with monkeypatch.context() as patched:
            patched.setattr("clarion.links.destinations.run_document", away)
            answer = client.get(link)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert client.get(link).status_code == 302


def test_click_count_of_people_leaves_machines_out(database: Database):
    """By the status alone: a person's has none."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, links_router(database)) as client:
        link = links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER)
        client.get(link)
        client.head(link)
        httpx.get(link, headers={"user-agent": "curl/8"}, trust_env=False)
    people = sa.select(sa.func.count()).where(EVENT.c.type == "click", EVENT.c.status.is_(None))
    with database.read() as connection:
        assert connection.scalar(people) == 1


def test_kill_of_the_server_loses_no_answered_click(database: Database):
    """Killed in the middle of many: every click whose redirect arrived is in the ledger."""
    run = linked_run(database, 8)
    with served_by_process(database) as (process, url), ThreadPoolExecutor(8) as threads:
        answered = [0] * 8

        def follow(number: int, item: int) -> None:
            link = links_of(run, item, base_url=url).link(URL, OFFER)
            person = httpx.Client(headers={"user-agent": BROWSER}, timeout=60, trust_env=False)
            with person as client, suppress(httpx.TransportError):
                while client.get(link).status_code == 302:
                    answered[number] += 1
                    if sum(answered) >= 200:
                        process.kill()

        for done in [threads.submit(follow, *each) for each in enumerate(item_ids(database, run))]:
            done.result()
    clicked = Counter(events_of(database, "run_item_id", kind="click"))
    assert sum(answered) >= 200
    for number, item in enumerate(item_ids(database, run)):
        assert answered[number] <= clicked[item] <= answered[number] + 1


def test_click_of_a_person_nudges_whoever_handles_events(database: Database):
    """A machine's click does not, nor does one that could not be stored."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    told: list[int] = []
    with served(database, links_router(database, on_stored=lambda: told.append(1))) as client:
        link = links_of(run, item, base_url=str(client.base_url)).link(URL, OFFER)
        client.head(link)
        assert told == []
        client.get(link)
    assert told == [1]


def test_click_is_answered_by_a_reaction_with_links_of_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """A handler of clicks by their name; what its message links to belongs to the reaction's run item."""
    thanks = {
        "name": "thanks",
        "condition": 'event.type == "click" and event.name == "offer"',
        "action": "send",
        "template": {"message": '{{ link("https://shop.example/more", name="more") }}'},
    }
    run = linked_run(database, events=[thanks])
    [item] = item_ids(database, run)
    with served(database, links_router(database)) as client:
        monkeypatch.setenv("CLARION_LINK_BASE_URL", str(client.base_url))
        links = links_of(run, item, base_url=str(client.base_url))
        for link in (links.link(URL, OFFER), links.link(f"{URL}?c=1", OWN)):
            client.get(link)
        client.head(links.link(URL, OFFER))
        handle_batch(database, attribute_batch(database, limit=10))
        child = child_of(database, run)
        [reaction] = claimed(database, child.id, "token", part=whole())
        campaign = compile_job(Job.model_validate_json(child.job))
        session = RunSession(
            run=child, campaign=campaign, auths={}, limits={}, masks={}, token="token", leased_until=0
        )
        made = session.scope(reaction)["template"]["message"]
        assert client.get(made).headers["location"] == "https://shop.example/more"
    clicks = events_of(database, "run_id", "run_item_id", "name", kind="click")
    assert clicks[-1] == (child.id, reaction.id, "more")
