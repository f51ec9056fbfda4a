"""Images for guests that are run again and again."""

from collections.abc import Awaitable
from typing import Final

from kev.pager.source import AsynchronousSource
from kev.race.arrival import Arrival
from kev.race.points import TracePoint, reach


class MemorySource:
    """Bytes that are in memory already."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name: Final = name
        self.size: Final = len(data)
        self.data: Final = memoryview(data)

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        part = self.data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)


class ScheduledSource(AsynchronousSource):
    """The same, but bytes come when the schedule lets them."""

    def __init__(self, inner: MemorySource) -> None:
        super().__init__(inner, at_hand=True)
        self._inner: Final = inner
        self.scheduled = True
        """There is a schedule. Without one, bytes are there at once."""

    def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
        if not self.scheduled:
            return self._inner.read_into(offset, buffer)

        async def arrive() -> None:
            await reach(TracePoint.ARRIVE, -1)
            self._inner.read_into(offset, buffer)

        return Arrival(arrive, min(len(buffer), max(self.size - offset, 0)))
