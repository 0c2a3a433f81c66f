"""Places: given out in lots, in turn, and never more than there are."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.sending.places import Places

A, B = object(), object()


def begin(coroutine: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
    """A task for what is to wait."""
    return asyncio.ensure_future(coroutine)


async def settle() -> None:
    """Lets everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_places_are_taken_at_once_while_there_are_some():
    """Up to as many as were asked for."""

    async def main() -> list[int]:
        places = Places(100, lot=32)
        return [await places.take(60, owner=A), await places.take(60, owner=A)]

    assert asyncio.run(main()) == [60, 40]


def test_places_wait_for_a_lot():
    """Single ones that become free are not given out; as many as were asked for are, where that is less."""

    async def main() -> None:
        places = Places(40, lot=32)
        assert await places.take(40, owner=A) == 40
        many, few = begin(places.take(64, owner=A)), begin(places.take(3, owner=B))
        await settle()
        places.give_back(31)
        await settle()
        assert not many.done()
        assert not few.done()  # in turn: else whoever wants much would never get it
        places.give_back(4)
        assert await many == 35
        await settle()
        assert not few.done()
        places.give_back(3)
        assert await few == 3

    asyncio.run(main())


def test_dismissed_owner_needs_no_places():
    """All its claims go on with none; the turn of everybody else comes as it would have."""

    async def main() -> None:
        places = Places(8, lot=8)
        assert await places.take(8, owner=A) == 8
        first, second = begin(places.take(8, owner=A)), begin(places.take(2, owner=A))
        other = begin(places.take(2, owner=B))
        await settle()
        places.give_back(4)
        places.dismiss(A)
        assert [await first, await second, await other] == [0, 0, 2]
        places.give_back(6)
        assert await places.take(9, owner=A) == 8

    asyncio.run(main())


@pytest.mark.parametrize("freed", ["before", "in the same moment", "after"])
def test_cancelled_wait_keeps_no_places(freed: str):
    """Neither while it waits nor where it was given some in that very moment; the next one has its turn."""

    async def main() -> None:
        places = Places(4, lot=4)
        assert await places.take(4, owner=A) == 4
        waiting, following = begin(places.take(4, owner=A)), begin(places.take(4, owner=B))
        await settle()
        if freed == "before":
            places.give_back(4)
        waiting.cancel()
        if freed == "in the same moment":
            places.give_back(4)
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        if freed == "after":
            places.give_back(4)
        assert await following == 4

    asyncio.run(main())


@given(
    count=st.integers(1, 40),
    lot=st.integers(1, 40),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.integers(1, 60)),
            st.tuples(st.just("give_back"), st.integers(1, 40)),
            st.tuples(st.just("dismiss"), st.just(0)),
            st.tuples(st.just("cancel"), st.integers(0, 20)),
        ),
        max_size=30,
    ),
)
def test_places_never_exceed_their_number_and_none_is_lost(
    count: int, lot: int, steps: list[tuple[str, int]]
):
    """Whatever is taken, given back, dismissed and cancelled in whichever order."""

    async def main() -> None:
        places = Places(count, lot=min(lot, count))
        tasks: list[asyncio.Task[int]] = []
        returned = 0

        def out() -> int:
            done = [task for task in tasks if task.done() and not task.cancelled()]
            return sum(task.result() for task in done) - returned

        for number, (what, value) in enumerate(steps):
            if what == "take":
                tasks.append(begin(places.take(value, owner=(A, B)[number % 2])))
            elif what == "give_back":
                given = min(value, out())
                returned += given
                places.give_back(given)
            elif what == "dismiss":
                places.dismiss(A)
            elif tasks:
                tasks[value % len(tasks)].cancel()
            await settle()
            assert 0 <= out() <= count
        places.dismiss(A)
        places.dismiss(B)
        await settle()
        assert all(task.done() for task in tasks)
        places.give_back(out())
        assert await places.take(count, owner=A) == count

    asyncio.run(main())
