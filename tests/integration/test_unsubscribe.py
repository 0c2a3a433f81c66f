"""The unsubscribe page, over real sockets."""

from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from clarion.addresses import address_of
from clarion.ledger.answer_tables import SUPPRESSION, SUPPRESSION_CHANGE
from clarion.ledger.database import Database, utc_now
from clarion.ledger.runs import RunRecord
from clarion.ledger.tables import ATTEMPT, RUN_ITEM
from clarion.links.unsubscribe_routes import unsubscribe_router
from clarion.templating.links import Stem
from tests.integration.ledger_runs import planned, planned_run
from tests.integration.link_servers import (
    SEND,
    URL,
    events_of,
    item_ids,
    linked_run,
    links_of,
    phone,
    served,
)

ONE_CLICK = "List-Unsubscribe=One-Click"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def suppressions(database: Database) -> set[tuple[str, str, str]]:
    """Address, scope and on whose word."""
    query = sa.select(SUPPRESSION.c.address, SUPPRESSION.c.scope, SUPPRESSION.c.who)
    with database.read() as connection:
        return {tuple(row) for row in connection.execute(query)}


def page_of(run: RunRecord, run_item_id: int, scope: str = "everything", *, step: int = 0) -> str:
    """The path of the unsubscribe page of a message."""
    return urlsplit(links_of(run, run_item_id, base_url="", step=step).unsubscribe_link(scope)).path


@pytest.mark.parametrize(
    ("scope", "suppressed"),
    [("everything", ""), ("job", "job:greetings"), ("channel", "channel:sms")],
)
def test_unsubscribe_page_asks_and_button_does_it(database: Database, scope: str, suppressed: str):
    """GET changes nothing; the form's POST suppresses the recipient from what the template says."""
    run = linked_run(database, 2)
    _, second = item_ids(database, run)
    with served(database, unsubscribe_router(database)) as client:
        page = page_of(run, second, scope)
        asked = client.get(page, headers={"accept-language": "de-DE,en;q=0.5"})
        assert asked.status_code == 200
        assert '<html lang="de">' in asked.text
        assert "default-src 'none'" in asked.headers["content-security-policy"]
        assert client.head(page).status_code == 200
        assert suppressions(database) == set()
        done = client.post(page, headers={"accept-language": "de"})
        assert (done.status_code, "Sie sind abgemeldet" in done.text) == (200, True)
        assert suppressions(database) == {(address_of(phone(2)), suppressed, "recipient")}
    columns = ("run_id", "run_item_id", "state", "attributed_by", "action", "src_ctx", "recipient", "data")
    data = {"scope": suppressed, "one_click": False}
    assert events_of(database, *columns, kind="unsubscribe") == [
        (run.id, second, "received", "link", "send", "all", address_of(phone(2)), data)
    ]
    assert None not in events_of(database, "occurred_at", kind="unsubscribe")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (ONE_CLICK.encode(), FORM),
        (
            b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n',
            {"content-type": "multipart/form-data; boundary=b"},
        ),
    ],
)
def test_mail_program_unsubscribes_with_one_click(database: Database, body: bytes, headers: dict[str, str]):
    """RFC 8058: a POST of that one field, in either encoding, without a cookie or a redirect."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, unsubscribe_router(database)) as client:
        answer = client.post(page_of(run, item), content=body, headers=headers)
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert events_of(database, "data", kind="unsubscribe") == [{"scope": "", "one_click": True}]
    with database.read() as connection:
        [reason] = connection.scalars(sa.select(SUPPRESSION_CHANGE.c.reason))
    assert reason.startswith("one-click unsubscribe (event ")


def test_unsubscribe_that_is_asked_again_is_one(database: Database):
    """The same answer, one event, one suppression, one change."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, unsubscribe_router(database)) as client:
        answers = [client.post(page_of(run, item)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(suppressions(database)) == len(events_of(database, "id", kind="unsubscribe")) == 1
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(SUPPRESSION_CHANGE)) == 1


def test_unsubscribe_gives_up_what_waits_to_be_sent(database: Database):
    """Somebody who leaves by the link of one message does not get the next one that is planned."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    next_run = planned_run(database, [planned(1, recipient=phone(1))], job_name="next")
    with served(database, unsubscribe_router(database)) as client:
        client.post(page_of(run, item))
    query = sa.select(RUN_ITEM.c.status, RUN_ITEM.c.reason).where(RUN_ITEM.c.run_id == next_run)
    with database.read() as connection:
        assert connection.execute(query).one() == ("skipped", "suppressed")


def test_unsubscribe_is_of_the_address_that_got_the_message(database: Database):
    """A link of an earlier step is the earlier recipient's, who may have another address."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    of_item = {"run_id": run.id, "run_item_id": item, "step": 0, "action": "send", "recipient": phone(1)}
    attempt = {**of_item, "idempotency_key": "k", "outcome": "failed", "attempted_at": utc_now()}
    with database.write() as connection:
        connection.execute(ATTEMPT.insert().values(attempt))
        later = {"step": 1, "recipient": "Ann@Example.com"}
        connection.execute(RUN_ITEM.update().where(RUN_ITEM.c.id == item).values(later))
    with served(database, unsubscribe_router(database)) as client:
        client.post(page_of(run, item))
        assert {address for address, _, _ in suppressions(database)} == {address_of(phone(1))}
        client.post(page_of(run, item, step=1))
        assert "ann@example.com" in {address for address, _, _ in suppressions(database)}
        assert client.post(page_of(run, item, step=2)).status_code == 404


def test_unsubscribe_link_of_a_channel_that_has_no_name_is_of_everything(database: Database):
    """Somebody who wants to leave does leave."""
    action = {name: value for name, value in SEND.items() if name != "channel"}
    run = linked_run(database, actions={"send": action})
    [item] = item_ids(database, run)
    with served(database, unsubscribe_router(database)) as client:
        client.post(page_of(run, item, "channel"))
    assert {scope for _, scope, _ in suppressions(database)} == {""}


def test_unsubscribe_link_that_was_changed_is_unknown(database: Database):
    """404 with a page, whatever the method; nobody is suppressed."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    page = page_of(run, item)
    changed = page[:-3] + ("A" if page[-3] != "A" else "B") + page[-2:]
    redirect = links_of(run, item, base_url="").link(URL, Stem("offer", URL)).replace("/l/", "/u/")
    unknown = (changed, page + "x", "/u/x", redirect, page_of(run, 4_711))
    with served(database, unsubscribe_router(database)) as client:
        for path in unknown:
            assert "This link is not valid" in client.post(path).text
            assert client.post(path).status_code == 404
        assert [client.get(path).status_code for path in unknown] == [404, 404, 404, 404, 200]
    assert suppressions(database) == set()
    assert events_of(database, "id", kind="unsubscribe") == []


def test_unsubscribe_link_of_another_ledger_suppresses_nobody(
    database: Database, tmp_path_factory: pytest.TempPathFactory
):
    """Numbers that are somebody else's here are not taken for theirs."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with Database(f"sqlite:///{tmp_path_factory.mktemp('other') / 'ledger.db'}") as other:
        their = linked_run(other)
        with served(database, unsubscribe_router(database)) as client:
            assert their.id == run.id
            assert client.post(page_of(their, item)).status_code == 404
    assert suppressions(database) == set()


def test_unsubscribe_that_cannot_be_stored_is_not_told_as_done(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """503: a mail program asks again, a person is told to."""

    def away(*arguments: Any, **options: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("the server is down"))

    run = linked_run(database)
    [item] = item_ids(database, run)
    monkeypatch.setattr("clarion.links.unsubscribe_routes.unsubscribe", away)
    with served(database, unsubscribe_router(database)) as client:
        assert client.post(page_of(run, item)).status_code == 503


def test_unsubscribe_reads_no_long_body(database: Database):
    """What is no mail program's form is not read to its end, and unsubscribes all the same."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    with served(database, unsubscribe_router(database)) as client:
        answer = client.post(page_of(run, item), content=b"x" * 20_000 + ONE_CLICK.encode(), headers=FORM)
    assert answer.status_code == 200
    assert events_of(database, "data", kind="unsubscribe") == [{"scope": "", "one_click": False}]


def test_unsubscribe_nudges_whoever_handles_events(database: Database):
    """A job may say goodbye; looking at the page tells nobody."""
    run = linked_run(database)
    [item] = item_ids(database, run)
    told: list[int] = []
    with served(database, unsubscribe_router(database, on_stored=lambda: told.append(1))) as client:
        client.get(page_of(run, item))
        assert told == []
        client.post(page_of(run, item))
    assert told == [1]
