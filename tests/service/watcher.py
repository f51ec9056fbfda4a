"""An observer that remembers what it was told, and lets a test wait for it."""

from collections.abc import Callable

import trio

from kev.service.home import Status


class Watcher:
    def __init__(self) -> None:
        self.output = b""
        self.told: list[Status] = []
        self._news = trio.Event()

    def printed(self, data: bytes) -> None:
        self.output += data
        self._note()

    def changed(self, status: Status) -> None:
        self.told.append(status)
        self._note()

    def _note(self) -> None:
        self._news.set()
        self._news = trio.Event()

    @property
    def states(self) -> list[str]:
        return [status.state for status in self.told]

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(60):
            while not condition():
                await self._news.wait()

    async def prints(self, text: bytes) -> None:
        await self.until(lambda: text in self.output)

    async def ends(self) -> Status:
        """What the machine is at last."""
        await self.until(lambda: bool(self.told) and self.told[-1].state in ("ended", "lost"))
        return self.told[-1]
