"""Homes whose machines become files while they are paused and nobody needs them.

So a thousand paused machines take no more memory than a thousand files. A snapshot goes on within milliseconds (docs/snapshots.md):
whatever needs the machine brings it back.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from kev.machine.ungrouped import ungrouped
from kev.service.home import Homes, Observer, Runner
from kev.service.parking.home import ParkedHome
from kev.spec.machine_spec import MachineSpec

AFTER: Final = 5.0
"""Seconds that a paused machine waits to be needed, if nothing else is said."""
_LOOKS: Final = 4
_BETWEEN_LOOKS: Final = 0.05
_AT_ONCE: Final = 2
"""So many are parked at the same time."""


@asynccontextmanager
async def parked_homes(homes: Homes, folder: Path, *, after: float = AFTER) -> "AsyncIterator[ParkedHomes]":
    """Homes over `homes` for the block, whose machines are parked in `folder` when nobody has needed them for `after` seconds.

    `folder` is there, and nobody else's.
    """
    with ungrouped():
        async with trio.open_nursery() as nursery:
            parked = ParkedHomes(homes, folder, after)
            nursery.start_soon(parked.sweep)
            yield parked
            nursery.cancel_scope.cancel()


class ParkedHomes:
    """See `kev.service.home.Homes`. Made by `parked_homes`."""

    def __init__(self, homes: Homes, folder: Path, after: float) -> None:
        self._beneath: Final = homes
        self._folder: Final = folder
        self._after: Final = after
        self._number = 0
        self._homes: Final[set[ParkedHome]] = set()

    async def open(
        self, spec: MachineSpec, observer: Observer, *, client: str | None = None, start: bool = False, passes: bool = False
    ) -> ParkedHome:
        """See `Homes`."""
        self._number += 1
        home = ParkedHome(self._beneath, spec, self._folder / f"{self._number}.snap", observer)
        await home.open(client, start=start, passes=passes)
        self._homes.add(home)
        return home

    def runner(self, spec: MachineSpec, client: str | None, most: int) -> AbstractAsyncContextManager[Runner]:
        """See `Homes`. None of its machines is ever paused."""
        return self._beneath.runner(spec, client, most)

    async def sweep(self) -> None:
        """Parks whom nobody needs, for ever."""
        while True:
            await trio.sleep(max(self._after / _LOOKS, _BETWEEN_LOOKS))
            await self.park(self._after)

    async def park(self, forgotten_for: float = 0) -> None:
        """Parks every machine that can be, and that nobody has needed for so many seconds. Returns when they are parked."""
        self._homes.difference_update([home for home in self._homes if home.status.state in ("ended", "lost")])
        limit = trio.CapacityLimiter(_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for home in self._homes:
                if home.is_forgotten(forgotten_for):
                    nursery.start_soon(_park, home, limit)


async def _park(home: ParkedHome, limit: trio.CapacityLimiter) -> None:
    async with limit:
        await home.park()
