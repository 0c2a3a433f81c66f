"""A provider that asks for patience, fails in a row, or repeats our credentials."""

import itertools
import logging
import threading
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from clarion.ledger.circuits import pause_for_errors
from clarion.ledger.database import Database
from clarion.ledger.named_limits import NamedLimit
from clarion.ledger.runs import get_run
from clarion.ledger.tables import RUN, LedgerTable
from clarion.models.credentials import BearerToken
from clarion.planning import PlannedItem
from clarion.sandbox.message import Answer, Request
from clarion.sending import sender as sending_module
from clarion.sending.writer import Limit
from tests.integration.ledger_runs import attempts_of, planned, rows_of
from tests.integration.scripted_provider import Provider, refuse
from tests.integration.sender_runs import (
    FREE,
    assert_sound,
    at_work,
    campaign,
    new_run,
    open_session,
    part_of,
    recipients_by_status,
    sending,
    until,
)

WAIT = refuse(429, "slow down", Retry_After="60")
BY_SENDER = Limit(key=FREE.key, tps=None, named=(NamedLimit(name="sender", tps=500.0),))


def first_waits(number: int, _: Request) -> Answer | None:
    """Asks the first request for patience."""
    return WAIT if number == 1 else None


def people(name: str, count: int) -> list[PlannedItem]:
    """Items whose recipients no other run has."""
    return [planned(row, recipient=f"{name}{row}") for row in range(1, count + 1)]


@pytest.mark.parametrize("tps", [None, 100.0])
def test_throttled_answer_holds_back_everyone_of_the_limit(database: Database, tps: float | None):
    """Another slice, another run and another process: nobody calls before the time; no try is used up."""
    limits = {"send": Limit(key=FREE.key, tps=tps)}
    with Provider(first_waits) as provider, sending(database) as sender, sending(database) as elsewhere:
        one, other = (new_run(database, provider, people(name, 50)) for name in ("one", "other"))
        session = open_session(sender, one, limits=limits)
        alone = sender.deliver(session, part_of(database, one, 1, 1))
        assert (provider.count(), alone.pending) == (1, 1)
        assert 50 < alone.held_seconds <= 60
        assert 50 < sender.deliver(session, part_of(database, one, 2)).held_seconds <= 60
        same_process, other_process = (
            open_session(sender, other, limits=limits),
            open_session(elsewhere, other, limits=limits),
        )
        for process, theirs in ((sender, same_process), (elsewhere, other_process)):
            held = process.deliver(theirs, part_of(database, other))
            assert (held.pending, provider.count()) == (50, 1)
            assert 50 < held.held_seconds <= 60
        free = open_session(sender, other, limits={"send": Limit(key="another", tps=tps)})
        assert sender.deliver(free, part_of(database, other)).pending == 0
        for process, theirs in (
            (sender, session), (sender, same_process), (sender, free), (elsewhere, other_process),
        ):  # fmt: skip
            assert process.leave(theirs) == 0
    assert set(rows_of(database, one.id, "attempts", "epoch")) == {(0, 0), (0, 1)}
    assert_sound(database, one, pending=50)
    assert_sound(database, other, succeeded=50)
    provider.assert_nobody_twice()


def test_short_wait_is_waited_for_and_everyone_is_sent_to(database: Database):
    """Several answers ask for a moment; each item is sent once in the end, all tries unused."""

    def script(number: int, _: Request) -> Answer | None:
        return refuse(429, Retry_After="0") if number % 10 == 3 else None

    with Provider(script) as provider, sending(database) as sender:
        run = new_run(database, provider, 60)
        session = open_session(sender, run)
        assert sender.deliver(session, part_of(database, run)).pending == 0
        assert sender.leave(session) == 0
    assert_sound(database, run, succeeded=60)
    assert set(rows_of(database, run.id, "attempts")) == {1}
    assert {each["outcome"] for each in attempts_of(database, run.id)} == {"held"}
    assert len(attempts_of(database, run.id)) == provider.count() - 60 > 0
    provider.assert_nobody_twice()


def test_throttled_answer_holds_back_only_its_key(database: Database):
    """Of two senders one is asked for patience: the other's items all leave, its own wait, in any run."""

    def script(number: int, request: Request) -> Answer | None:
        return WAIT if number == 1 or request.headers["x-sender"] == "a" else None

    action: dict[str, Any] = {
        "command": {
            "url": "http://127.0.0.1/v1/messages",
            "headers": {"X-Sender": "{{ item.sender }}"},
            "payload": {"to": "{{ recipient }}"},
        }
    }
    options = {"campaign": campaign(action=action), "limits": {"send": BY_SENDER}}

    def items(name: str) -> list[PlannedItem]:
        return [
            planned(
                row,
                recipient=f"{name}{key}{row}",
                item=f'{{"sender":"{key}"}}',
                limit_keys=f'["{key}"]',
            )
            for row, key in zip(range(1, 41), itertools.cycle("ab"), strict=False)
        ]

    with Provider(script) as provider, sending(database) as sender:
        runs = [new_run(database, provider, items(name)) for name in ("one", "two")]
        sessions = [open_session(sender, run, **options) for run in runs]
        with at_work(sender, (sessions[0], part_of(database, runs[0], 1, 1))) as (first,):
            until(lambda: attempts_of(database, runs[0].id))
            with at_work(
                sender,
                *((session, part_of(database, run)) for session, run in zip(sessions, runs, strict=True)),
            ) as rest:
                until(
                    lambda: all(rows_of(database, run.id, "status").count("succeeded") == 20 for run in runs)
                )
                assert [sender.leave(session) for session in sessions] == [0, 0]
                assert [each.result().pending for each in rest] == [20, 20]
            assert first.result().pending == 1
    assert Counter(each["status"] for each in provider.requests()) == {429: 1, 202: 40}
    for run in runs:
        assert_sound(database, run, succeeded=20, pending=20)
        assert all("a" in each for each in recipients_by_status(database, run)["pending"])
    provider.assert_nobody_twice()


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("retries", [0, 2])
def test_errors_in_a_row_pause_the_run_and_burn_no_tries(database: Database, connections: int, retries: int):
    """Three in a row; the run's reason says so, every try is given back, and after a resume all are sent."""
    down = [True]

    def script(*_: Any) -> Answer | None:
        return refuse(500, "out of order") if down[0] else None

    backoff = {"base_interval_seconds": 0.001, "max_interval_seconds": 0.001}
    action = {"retry_policy": {"num_retries": retries, "backoff_policy": backoff}}
    breaking = campaign(action=action, pause_after_errors=3)
    with Provider(script) as provider, sending(database, connections=connections) as sender:
        run = new_run(database, provider, 50)
        session = open_session(sender, run, campaign=breaking)
        sender.deliver(session, part_of(database, run))
        assert (session.halted.is_set(), session.control) == (True, "pause")
        assert sender.leave(session) == 0
        assert 3 <= provider.count() <= 3 + connections - 1
        paused = get_run(database, run.id)
        assert paused.control == "pause"
        assert paused.reason == "3 provider errors in a row: status 500, out of order"
        assert_sound(database, run, pending=50)
        assert set(rows_of(database, run.id, "attempts")) == {0}
        down[0] = False
        with database.write() as connection:
            connection.execute(RUN.update().values(control="run"))
        again = open_session(sender, run, campaign=breaking)
        assert sender.deliver(again, part_of(database, run)).pending == 0
        assert sender.leave(again) == 0
    assert get_run(database, run.id).control == "run"
    assert_sound(database, run, succeeded=50)
    provider.assert_nobody_twice()


def test_pause_that_could_not_be_written_is_written_on_leave(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The ledger was away as the circuit broke: the run is not left going on against a broken provider."""
    asked: list[str] = []

    def pause(*args: Any, **options: Any) -> bool:
        asked.append(options["reason"])
        if len(asked) == 1:
            raise ZeroDivisionError("of ours")
        return pause_for_errors(*args, **options)

    monkeypatch.setattr(sending_module, "pause_for_errors", pause)
    with Provider(lambda *_: refuse(502)) as provider, sending(database, connections=1) as sender:
        run = new_run(database, provider, 9)
        session = open_session(sender, run, campaign=campaign(pause_after_errors=2))
        sender.deliver(session, part_of(database, run))
        sender.leave(session)
        assert get_run(database, run.id).control == "pause"
        with database.write() as connection:
            connection.execute(RUN.update().values(control="run"))
        sender.leave(session)  # once more, as an `atexit` may
    assert len(asked) == 2
    assert get_run(database, run.id).control == "run"  # what a person has resumed stays so
    assert "The ledger could not be written" in caplog.text
    assert_sound(database, run, unknown=2, pending=7)


def test_pause_is_written_before_the_run_is_left(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Who leaves waits for it: a flow that asks the ledger then is told to pause."""
    order: list[str] = []
    left = threading.Event()

    def pause(*args: Any, **options: Any) -> bool:
        left.wait(0.3)  # comes back early where nobody waits for this
        done = pause_for_errors(*args, **options)
        order.append("paused")
        return done

    monkeypatch.setattr(sending_module, "pause_for_errors", pause)
    with Provider(lambda *_: refuse(502)) as provider, sending(database, connections=1) as sender:
        run = new_run(database, provider, 9)
        session = open_session(sender, run, campaign=campaign(pause_after_errors=1))
        sender.deliver(session, part_of(database, run))
        sender.leave(session)
        order.append("left")
        left.set()
    assert order == ["paused", "left"]
    assert get_run(database, run.id).control == "pause"


TOKEN = "tok-" + "0123456789abcdef" * 4


def test_secret_that_a_provider_repeats_never_reaches_the_ledger(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """Not as an error, a code, an id or a reason; not of a retry, and no part of it where a text is cut."""

    def script(number: int, request: Request) -> Answer | None:
        told = request.headers["authorization"]
        assert TOKEN in told
        status = {0: 202, 1: 422, 2: 500, 3: 502}[number % 4]
        padding = "x" * (number * 7 % 500)
        detail = f"{padding}{told}"
        return refuse(status, detail, X_Echo=told)

    words = {
        "invocation_id": "{{ response.body.detail }}",
        "error": {"code": "{{ response.headers['x-echo'] }}", "reason": "{{ response.body.detail }}"},
    }
    backoff = {"base_interval_seconds": 0.001, "max_interval_seconds": 0.001}
    action = {"response": words, "retry_policy": {"num_retries": 2, "backoff_policy": backoff}}
    credentials = BearerToken(token=SecretStr(TOKEN))
    options = {
        "campaign": campaign(action=action, pause_after_errors=60),
        "auths": {"send": credentials.auth()},
        "masks": {"send": credentials.mask},
    }
    with Provider(script) as provider, sending(database, connections=1) as sender:
        run = new_run(database, provider, 200)
        session = open_session(sender, run, **options)
        with caplog.at_level(logging.DEBUG):
            sender.deliver(session, part_of(database, run))
            sender.leave(session)
    told = "\n".join(_everything(database))
    assert "****" in told
    for start in range(len(TOKEN) - 8):
        assert TOKEN[start : start + 8] not in told
    assert TOKEN[:8] not in caplog.text
    assert len(attempts_of(database, run.id)) > 0
    provider.assert_nobody_twice()


def test_reason_of_a_pause_holds_no_secret(database: Database):
    """The last error of the row is told in it, masked."""
    credentials = BearerToken(token=SecretStr(TOKEN))

    def script(_: int, request: Request) -> Answer | None:
        return refuse(500, f"bad {request.headers['authorization']}")

    with Provider(script) as provider, sending(database, connections=1) as sender:
        run = new_run(database, provider, 5)
        session = open_session(
            sender,
            run,
            campaign=campaign(pause_after_errors=2),
            auths={"send": credentials.auth()},
            masks={"send": credentials.mask},
        )
        sender.deliver(session, part_of(database, run))
        sender.leave(session)
    reason = "2 provider errors in a row: status 500, bad Bearer ****"
    assert get_run(database, run.id).reason == reason
    assert TOKEN not in "\n".join(_everything(database))
    assert_sound(database, run, pending=5)


def _everything(database: Database) -> list[str]:
    """Every row of every table, as text."""
    with database.read() as connection:
        return [
            str(tuple(row))
            for table in LedgerTable.metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        ]
