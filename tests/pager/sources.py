"""Sources of bytes for tests."""

from collections.abc import Awaitable, Callable

import attrs


@attrs.define(eq=False)
class BytesSource:
    """Bytes in memory; `short` makes every read return at most so many."""

    data: bytes
    name: str = "kernel"
    short: int | None = None
    reads: list[tuple[int, int]] = attrs.field(factory=list)
    """Offset and length of every read."""

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        self.reads.append((offset, len(buffer)))
        part = self.data[offset : offset + min(len(buffer), self.short or len(buffer))]
        buffer[: len(part)] = part
        return len(part)


@attrs.define(eq=False)
class WaitingSource:
    """The same bytes, after `wait` was awaited."""

    inner: BytesSource
    wait: Callable[[], Awaitable[object]]

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def size(self) -> int:
        return self.inner.size

    async def read_into(self, offset: int, buffer: memoryview, /) -> int:
        await self.wait()
        return self.inner.read_into(offset, buffer)
