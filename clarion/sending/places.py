"""Places among what a process may have in sending."""

import asyncio


class Places:
    """A number of places, given out in lots, first come, first served. For one event loop.

    A claim costs a transaction however few items it moves: given out one by one, as they become free, places
    made every item a claim of its own, and a run six times as slow.

    Args:
        count: Most places out at a time.
        lot: Fewest that are given out at a time, where so many are asked for.
    """

    def __init__(self, count: int, *, lot: int) -> None:
        self._free = count
        self._lot = lot
        self._turn = asyncio.Lock()
        self._wanted = 0
        self._enough = asyncio.Event()

    async def take(self, most: int) -> int:
        """Takes up to `most` places, as soon as there is a lot of them; how many."""
        async with self._turn:
            self._wanted = min(most, self._lot)
            while self._free < self._wanted:
                self._enough.clear()
                await self._enough.wait()
            taken = min(most, self._free)
            self._free -= taken
            return taken

    def give_back(self, places: int) -> None:
        """Frees places that were taken."""
        self._free += places
        if self._free >= self._wanted:
            self._enough.set()
