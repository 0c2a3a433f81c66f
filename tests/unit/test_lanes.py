"""Lanes: tickets in their order, so many at once, and back on demand."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from clarion.ledger.claims import ClaimedItem
from clarion.sending.lanes import Lanes, Outstanding, Ticket
from clarion.sending.session import RunSession
from clarion.sending.writer import Permit

PERMIT = Permit(0.0, 1.0, "send")
ONE = cast("RunSession", object())
OTHER = cast("RunSession", object())
LONG = 3_600.0


def ticket(number: int, session: RunSession = ONE) -> Ticket:
    """A ticket; lanes look at its session alone."""
    item = ClaimedItem(number, number, "all", "send", f"r{number}", "{}", 0, 0, 0)
    return Ticket(session, item, Outstanding(), PERMIT)


class Work:
    """What lanes do in a test: notes what begins, and ends it when it is told to."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.at_once = self.most_at_once = 0
        self.lanes: dict[int, asyncio.Task[None]] = {}
        self.errors: dict[int, Exception] = {}
        self._ends: dict[int, asyncio.Event] = {}

    async def __call__(self, ticket: Ticket, lane: asyncio.Task[None]) -> None:
        number = ticket.item.id
        self.begun.append(number)
        self.lanes[number] = lane
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self._ends.setdefault(number, asyncio.Event()).wait()
            if number in self.errors:
                raise self.errors[number]
        finally:
            self.at_once -= 1

    async def end(self, *numbers: int) -> None:
        """Ends the work on these, and lets the lanes go on."""
        for number in numbers:
            self._ends.setdefault(number, asyncio.Event()).set()
        await turns()


async def turns() -> None:
    """Lets everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def run(count: int, use: Callable[[Lanes, Work], Awaitable[Any]]) -> Any:
    """Runs `use` with so many lanes."""

    async def main() -> Any:
        work = Work()
        return await use(Lanes(count, work=work), work)

    return asyncio.run(main())


def numbers(tickets: list[Ticket]) -> list[int]:
    """Which tickets."""
    return [each.item.id for each in tickets]


def test_lanes_take_tickets_in_their_order():
    """One lane, one after the other; a ticket that comes later waits behind the others."""

    async def use(lanes: Lanes, work: Work) -> None:
        for number in (3, 1, 2):
            lanes.put(ticket(number), delay=0)
        await work.end(1, 2, 3)
        lanes.put(ticket(9), delay=-5)
        await work.end(9)
        assert work.begun == [3, 1, 2, 9]

    run(1, use)


def test_lanes_do_no_more_at_once_than_there_are():
    """Three of ten at a time, all of them in the end."""

    async def use(lanes: Lanes, work: Work) -> None:
        for number in range(10):
            lanes.put(ticket(number), delay=0)
        await turns()
        assert work.begun == [0, 1, 2]
        await work.end(1)
        assert work.begun == [0, 1, 2, 3]
        await work.end(*range(10))
        assert (sorted(work.begun), work.most_at_once, work.at_once) == (list(range(10)), 3, 0)

    run(3, use)


def test_lane_goes_on_with_what_comes_in_its_last_step():
    """A ticket that is put by the work itself, or as it ends, is not left lying."""

    async def use(lanes: Lanes, work: Work) -> None:
        lanes.put(ticket(1), delay=0)
        await turns()
        work.lanes[1].add_done_callback(lambda _: lanes.put(ticket(2), delay=0))
        await work.end(1)
        await work.end(2)
        assert work.begun == [1, 2]
        assert work.lanes[1] is not work.lanes[2]

    run(1, use)


def test_delayed_ticket_waits_for_its_time():
    """What may leave at once passes it; then it takes its turn."""

    async def use(lanes: Lanes, work: Work) -> None:
        due = asyncio.Event()
        lanes.put(ticket(1), delay=0.01)
        lanes.put(ticket(2), delay=0)
        await work.end(1, 2)
        assert work.begun == [2]
        asyncio.get_running_loop().call_later(0.02, due.set)  # after the other, by the same clock
        await due.wait()
        await turns()
        assert work.begun == [2, 1]

    run(2, use)


def test_recall_takes_back_what_no_lane_has_begun_with():
    """Waiting and delayed tickets of one session, each once; those of the other stay in their order."""

    async def use(lanes: Lanes, work: Work) -> None:
        lanes.put(ticket(1), delay=0)
        await turns()
        for number, session in ((2, ONE), (3, OTHER), (4, ONE), (5, OTHER)):
            lanes.put(ticket(number, session), delay=0)
        lanes.put(ticket(6), delay=LONG)
        lanes.put(ticket(7, OTHER), delay=LONG)
        assert numbers(lanes.recall(ONE)) == [2, 4, 6]
        assert lanes.recall(ONE) == []
        await work.end(*range(1, 8))
        assert work.begun == [1, 3, 5]
        assert numbers(lanes.recall(OTHER)) == [7]

    run(1, use)


def test_recalled_ticket_never_begins(caplog: pytest.LogCaptureFixture):
    """Its timer is cancelled, also where it was just due; and a place in the queue is given up."""

    async def use(lanes: Lanes, work: Work) -> None:
        lanes.put(ticket(1), delay=1e-9)
        assert numbers(lanes.recall(ONE)) == [1]
        lanes.put(ticket(2), delay=0)  # its lane has not begun yet
        assert numbers(lanes.recall(ONE)) == [2]
        await turns()
        assert work.begun == []
        lanes.put(ticket(3), delay=0)
        await work.end(3)
        assert work.begun == [3]

    run(2, use)
    assert caplog.records == []  # as the loop would tell of a timer that finds its ticket gone


def test_cancelled_lane_is_replaced():
    """What waits behind the one that was cancelled is done by another lane, no more than so many at once."""

    async def use(lanes: Lanes, work: Work) -> None:
        for number in range(5):
            lanes.put(ticket(number), delay=0)
        await turns()
        work.lanes[0].cancel()
        work.lanes[1].cancel()
        await turns()
        assert work.begun == [0, 1, 2, 3]
        await work.end(2, 3, 4)
        assert (work.begun, work.most_at_once, work.at_once) == ([0, 1, 2, 3, 4], 2, 0)

    run(2, use)


def test_lane_that_is_cancelled_before_it_begins_is_replaced():
    """The ticket that it was opened for is not lost with it."""

    async def use(lanes: Lanes, work: Work) -> None:
        before = asyncio.all_tasks()
        lanes.put(ticket(1), delay=0)
        (lane,) = asyncio.all_tasks() - before
        lane.cancel()
        await work.end(1)
        assert work.begun == [1]

    run(1, use)


def test_error_in_the_work_is_told_and_the_lane_replaced(caplog: pytest.LogCaptureFixture):
    """A mistake of ours stops nobody else, and is not swallowed."""

    async def use(lanes: Lanes, work: Work) -> None:
        work.errors[0] = ZeroDivisionError("of ours")
        for number in range(3):
            lanes.put(ticket(number), delay=0)
        await work.end(0, 1, 2)
        assert work.begun == [0, 1, 2]

    with caplog.at_level(logging.ERROR):
        run(1, use)
    (record,) = caplog.records
    assert record.getMessage() == "A lane broke down"
    assert "ZeroDivisionError: of ours" in caplog.text


def test_outstanding_waits_for_the_last():
    """At once where there is nothing; else until the last is done; and again for what came since."""

    async def main() -> None:
        calls = Outstanding()
        await calls.wait()
        calls.add(0)
        await calls.wait()
        calls.add(2)
        waiting = asyncio.ensure_future(calls.wait())
        calls.done()
        await turns()
        assert not waiting.done()
        calls.add(1)
        calls.done()
        await turns()
        assert not waiting.done()
        calls.done()
        await waiting
        calls.add(1)
        again = asyncio.ensure_future(calls.wait())
        await turns()
        assert not again.done()
        calls.done()
        await again

    asyncio.run(main())
