"""What becomes of a sender's work when something around it fails: claims, results, leases, its wire."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from clarion.errors import SettingError
from clarion.ledger.database import Database
from clarion.ledger.workers import retire_worker
from clarion.sandbox.message import Answer, Request
from clarion.sending import sender as sending_module
from clarion.sending import writer as writing
from clarion.sending.session import RunSession
from tests.integration.ledger_runs import leases, planned, statuses
from tests.integration.scripted_provider import Provider
from tests.integration.sender_runs import (
    assert_sound,
    at_work,
    new_run,
    open_session,
    part_of,
    recipients_by_status,
    sender_of,
    sending,
    until,
)


def failing_claims(monkeypatch: pytest.MonkeyPatch, fails: Callable[[], bool]) -> None:
    """Makes claims fail while `fails` says so; one that shares its commit with a beat is asked for twice."""
    real = writing.claim

    def claim(*args: Any, **options: Any) -> Any:
        if fails():
            raise ZeroDivisionError("of ours")
        return real(*args, **options)

    monkeypatch.setattr(writing, "claim", claim)


def test_failed_claims_give_their_places_back(database: Database, monkeypatch: pytest.MonkeyPatch):
    """However many of them fail: the next one has places for a claim."""
    failing = [True]
    failing_claims(monkeypatch, lambda: failing[0])
    with Provider() as provider, sending(database) as sender:
        run = new_run(database, provider, 100)
        session, part = open_session(sender, run), part_of(database, run)
        for _ in range(10):  # with 64 places each they would need 640 of the 256
            with pytest.raises(ZeroDivisionError):
                sender.deliver(session, part)
        failing[0] = False
        assert sender.deliver(session, part).pending == 0
        sender.leave(session)
    assert_sound(database, run, succeeded=100)
    provider.assert_nobody_twice()


def test_claim_that_fails_leaves_the_calls_before_it_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """The slice tells of the error once they have settled: who leaves the run then makes none unknown."""
    with Provider(latency_ms=200) as provider, sending(database, connections=64) as sender:
        run = new_run(database, provider, 100)
        failing_claims(monkeypatch, lambda: statuses(database, run.id)["sending"] > 0)
        session = open_session(sender, run)
        with pytest.raises(ZeroDivisionError):
            sender.deliver(session, part_of(database, run))
        assert sender.leave(session) == 0
    assert_sound(database, run, succeeded=64, pending=36)
    assert set(provider.recipients()) == recipients_by_status(database, run)["succeeded"]
    provider.assert_nobody_twice()


def test_lost_lease_halts_the_session(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Somebody has ended the lease: nothing is sent any more, and what was on its way becomes the truth."""
    monkeypatch.setattr(sending_module, "BEAT_SECONDS", 0.01)
    lost: list[RunSession] = []

    def script(number: int, _: Request) -> Answer | None:
        if number == 5:
            session = lost[0]
            assert retire_worker(database, session.run.id, session.token) > 0
            until(session.halted.is_set)
        return None

    with Provider(script) as provider, sending(database, connections=4) as sender:
        run = new_run(database, provider, 300)
        part = part_of(database, run)
        lost.append(open_session(sender, run))
        sender.deliver(lost[0], part)
        sent = set(provider.recipients())
        assert 5 <= len(sent) <= 5 + 3
        sender.deliver(lost[0], part)
        assert provider.count() == len(sent)
        sender.leave(lost[0])
        found = recipients_by_status(database, run)
        assert found["succeeded"] == sent
        assert found["sending"] == set()
        assert len(found["unknown"]) + len(found["pending"]) == 300 - len(sent)
        assert leases(database, run.id) == set()
        again = open_session(sender, run)
        assert sender.deliver(again, part).pending == 0
        sender.leave(again)
    assert_sound(database, run, succeeded=300 - len(found["unknown"]), unknown=len(found["unknown"]))
    assert not found["unknown"] & set(provider.recipients())
    provider.assert_nobody_twice()


def test_lease_that_cannot_be_renewed_ends_the_sending(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Once its time is up by this process's own clock, though nobody has said so."""
    held: list[RunSession] = []

    def script(number: int, _: Request) -> Answer | None:
        if number == 7:
            held[0].leased_until = 0.0
        return None

    monkeypatch.setattr(sending_module, "BEAT_SECONDS", 600.0)
    with Provider(script) as provider, sending(database, connections=1) as sender:
        run = new_run(database, provider, 100)
        held.append(open_session(sender, run))
        until(lambda: held[0].beating)
        result = sender.deliver(held[0], part_of(database, run))
        assert (provider.count(), result.pending) == (7, 93)
        assert sender.leave(held[0]) == 0
    assert_sound(database, run, succeeded=7, pending=93)


def test_result_that_cannot_be_written_becomes_unknown(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Its place is free again, the slice ends, the others are told; it is not sent again."""
    monkeypatch.setattr(sending_module, "MOST_SENDING", 4)
    monkeypatch.setattr(sending_module, "LEAST_CLAIM", 2)
    real, poisoned = writing.settle, {f"r{row}" for row in range(3, 60, 5)}

    def settle(*args: Any, results: Any, **options: Any) -> Any:
        if any(each.item.recipient in poisoned for each in results):
            raise ZeroDivisionError("of ours")
        return real(*args, results=results, **options)

    monkeypatch.setattr(writing, "settle", settle)
    with Provider() as provider, sending(database) as sender:
        run = new_run(database, provider, 60)
        session = open_session(sender, run)
        with caplog.at_level(logging.ERROR):
            assert sender.deliver(session, part_of(database, run)).pending == 0
        assert_sound(database, run, succeeded=48, sending=12)
        assert sender.leave(session) == 12
    assert recipients_by_status(database, run)["unknown"] == poisoned
    assert_sound(database, run, succeeded=48, unknown=12)
    assert [record.getMessage() for record in caplog.records] == ["An item could not be settled"] * 12
    assert len(provider.recipients()) == 60
    provider.assert_nobody_twice()


def test_mistake_of_ours_in_a_call_costs_one_item(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """An item that nobody can say anything about is unknown; all others are sent."""
    real = sending_module.send_item

    async def send_item(session: RunSession, item: Any, **options: Any) -> Any:
        if item.recipient == "r7":
            raise ZeroDivisionError("of ours")
        return await real(session, item, **options)

    monkeypatch.setattr(sending_module, "send_item", send_item)
    with Provider() as provider, sending(database) as sender, caplog.at_level(logging.ERROR):
        run = new_run(database, provider, 50)
        session = open_session(sender, run)
        assert sender.deliver(session, part_of(database, run)).pending == 0
        assert sender.leave(session) == 1
    assert recipients_by_status(database, run)["unknown"] == {"r7"}
    assert_sound(database, run, succeeded=49, unknown=1)
    assert len(caplog.records) == 1


def test_sender_without_a_wire_says_why(database: Database):
    """Nobody waits for ever for a loop that could not begin."""

    def wire() -> httpx.AsyncBaseTransport:
        raise SettingError("not a proxy", where="HTTP_PROXY")

    before = set(threading.enumerate())  # another test's sender may still be there
    with pytest.raises(SettingError, match="not a proxy"):
        sender_of(database, connections=1, wire=wire)
    begun = {thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()}
    assert "clarion-sender" not in begun


def test_close_waits_for_what_is_written_in_the_background(database: Database):
    """Closed while something is on its way to the ledger, the sender ends after it."""
    done: list[str] = []
    closed = threading.Event()

    def work() -> None:
        closed.wait(0.3)  # comes back early where nobody waits for this
        done.append("written")

    sender = sender_of(database, connections=1)
    with Provider() as provider:
        session = open_session(sender, new_run(database, provider, 1))
        sender.leave(session)
        begun = threading.Event()
        sender._loop.call_soon_threadsafe(lambda: (sender._in_background(session, work), begun.set()))
        assert begun.wait(30)
        sender.close()
        closed.set()
        done.append("closed")
    assert done == ["written", "closed"]


def test_error_in_the_background_is_told(database: Database, caplog: pytest.LogCaptureFixture):
    """It is logged, and keeps nobody from leaving."""

    def work() -> None:
        raise ZeroDivisionError("of ours")

    with sending(database) as sender, Provider() as provider, caplog.at_level(logging.ERROR):
        session = open_session(sender, new_run(database, provider, 1))
        begun = threading.Event()
        sender._loop.call_soon_threadsafe(lambda: (sender._in_background(session, work), begun.set()))
        assert begun.wait(30)
        sender.leave(session)
    assert [record.getMessage() for record in caplog.records] == ["The ledger could not be written"]


def test_slices_that_wait_for_places_are_let_go(database: Database, monkeypatch: pytest.MonkeyPatch):
    """A run is left at once although another one holds every place, and the other goes on."""
    monkeypatch.setattr(sending_module, "MOST_SENDING", 8)
    monkeypatch.setattr(sending_module, "LEAST_CLAIM", 8)
    answer = threading.Event()

    def script(_: int, request: Request) -> Answer | None:
        assert answer.wait(30)
        return None

    with Provider(script) as provider, sending(database, connections=8) as sender:
        busy, idle = new_run(database, provider, 20), new_run(database, provider, 20)
        holding, waiting = open_session(sender, busy), open_session(sender, idle)
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(sender.deliver, holding, part_of(database, busy))
            until(lambda: len(recipients_by_status(database, busy)["sending"]) == 8)
            second = threads.submit(sender.deliver, waiting, part_of(database, idle))
            until(lambda: waiting.slices)
            assert sender.leave(waiting) == 0
            assert second.result().pending == 20
            assert not first.done()
            answer.set()
            assert first.result().pending == 0
        sender.leave(holding)
    assert_sound(database, busy, succeeded=20)
    assert_sound(database, idle, pending=20)
    provider.assert_nobody_twice()


def test_halted_run_leaves_the_other_alone(database: Database):
    """Two runs share the lanes; one is halted in the middle, and every item of the other is sent."""
    halted: list[Any] = []

    def script(number: int, _: Request) -> Answer | None:
        if number == 20:
            sender, session = halted
            sender.halt(session, "pause")
            until(session.halted.is_set)
        return None

    with Provider(script) as provider, sending(database, connections=4) as sender:
        runs = [
            new_run(database, provider, [planned(row, recipient=f"{name}{row}") for row in range(1, 201)])
            for name in ("first", "second")
        ]
        first, second = (open_session(sender, run) for run in runs)
        halted.extend((sender, first))
        work = [(first, part_of(database, runs[0])), (second, part_of(database, runs[1]))]
        with at_work(sender, *work) as results:
            assert results[1].result().pending == 0
            left = results[0].result().pending
        assert sender.leave(first) == 0
        assert sender.leave(second) == 0
    assert 0 < left < 200
    assert first.control == "pause"
    assert_sound(database, runs[0], succeeded=200 - left, pending=left)
    assert_sound(database, runs[1], succeeded=200)
    assert provider.count() == 400 - left
    provider.assert_nobody_twice()
