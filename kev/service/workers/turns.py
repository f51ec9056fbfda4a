"""Whose machine begins: so many at once as there are processors, and the others behind them.

A guest that has just begun does much in little time: all of it is over sooner if few do so side by side, and share
the processors' caches. No machine waits long for its turn, since each turn is short.
"""

from typing import Final

import trio

from kev.work.processors import processors

_LONGEST: Final = 0.1
"""Seconds."""


class Turn:
    """One machine's, from the request that it was made by."""

    def __init__(self, places: trio.Semaphore) -> None:
        self._places: Final = places
        self._over: Final = trio.Event()

    def end(self) -> None:
        """Another machine may begin. It does not matter who says so, and how often."""
        if not self._over.is_set():
            self._over.set()
            self._places.release()

    async def run_out(self) -> None:
        """Ends it when it has lasted long enough."""
        try:
            with trio.move_on_after(_LONGEST):
                await self._over.wait()
        finally:
            self.end()


class Turns:
    """Of one service."""

    def __init__(self) -> None:
        self._places: Final = trio.Semaphore(processors())

    async def take(self) -> Turn:
        """Returns when it is this caller's turn. To be ended."""
        await self._places.acquire()
        return Turn(self._places)
