"""Sources whose reads are counted."""

from collections.abc import Awaitable
from typing import Final, TypeAlias

from kev.pager.source import AsynchronousSource, SynchronousSource

_Source: TypeAlias = SynchronousSource | AsynchronousSource


class ReadCounts:
    """How much was asked of sources so far, headers and directories included."""

    __slots__ = ("bytes", "reads")

    def __init__(self) -> None:
        self.reads = 0
        self.bytes = 0

    def counted(self, source: _Source) -> _Source:
        """The same source, counted here."""
        return _CountedAsynchronously(source, self) if isinstance(source, AsynchronousSource) else _Counted(source, self)

    def add(self, buffer: memoryview) -> None:
        self.reads += 1
        self.bytes += len(buffer)


class _Counted:
    """See `kev.pager.source.SynchronousSource`."""

    __slots__ = ("_counts", "_inner", "name", "size")

    def __init__(self, inner: SynchronousSource, counts: ReadCounts) -> None:
        self.name: Final = inner.name
        self.size: Final = inner.size
        self._inner: Final = inner
        self._counts: Final = counts

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        self._counts.add(buffer)
        return self._inner.read_into(offset, buffer)


class _CountedAsynchronously(AsynchronousSource):
    """The same of one that has to be awaited."""

    def __init__(self, inner: AsynchronousSource, counts: ReadCounts) -> None:
        super().__init__(_Counted(inner.blocking, counts))
        self._inner: Final = inner
        self._counts: Final = counts

    def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
        self._counts.add(buffer)
        return self._inner.read_into(offset, buffer)
