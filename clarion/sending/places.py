"""Places among what a process may have in sending."""

import asyncio
from collections import deque
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class _Waiting:
    """Somebody who waits for places."""

    owner: object
    most: int
    taken: asyncio.Future[int]


class Places:
    """A number of places, given out in lots, first come, first served. For one event loop.

    A claim costs a transaction however few items it moves: given out one by one, as they become free, places
    made every item a claim of its own, and a run six times as slow.

    Args:
        count: Most places out at a time.
        lot: Fewest that are given out at a time, where so many are asked for; at most `count`.
    """

    def __init__(self, count: int, *, lot: int) -> None:
        self._free = count
        self._lot = lot
        self._queue: deque[_Waiting] = deque()

    async def take(self, most: int, *, owner: object) -> int:
        """Takes up to `most` places, as soon as there is a lot of them.

        Args:
            most: At least 1.
            owner: Who asks.

        Returns:
            How many; 0 where the owner was dismissed meanwhile.
        """
        waiting = _Waiting(owner, most, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._give_out()
        try:
            return await waiting.taken
        except asyncio.CancelledError:
            if not waiting.taken.cancelled():  # given some in this very moment
                self.give_back(waiting.taken.result())
            self._give_out()  # to whoever stood behind
            raise

    def give_back(self, places: int) -> None:
        """Frees places that were taken."""
        self._free += places
        self._give_out()

    def dismiss(self, owner: object) -> None:
        """Lets everybody go who waits on behalf of an owner; they need no places any more."""
        for waiting in self._queue:
            if waiting.owner is owner and not waiting.taken.done():
                waiting.taken.set_result(0)
        self._give_out()

    def _give_out(self) -> None:
        while self._queue:
            waiting = self._queue[0]
            if not waiting.taken.done():  # neither cancelled nor dismissed
                if self._free < min(waiting.most, self._lot):
                    return
                taken = min(waiting.most, self._free)
                self._free -= taken
                waiting.taken.set_result(taken)
            self._queue.popleft()
