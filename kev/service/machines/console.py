"""What a guest has printed: the last of it, for any number of readers, each at its own place."""

from typing import Final, NamedTuple

import trio


class Piece(NamedTuple):
    """Consecutive bytes of a console."""

    offset: int
    """Of the first byte: how many bytes the guest had printed before it."""
    data: bytes
    is_last: bool
    """The run has ended, and nothing comes behind these bytes."""

    @property
    def next(self) -> int:
        """The offset behind the last byte."""
        return self.offset + len(self.data)


class Console:
    """Keeps the last `most` bytes. Who reads slowly loses what is older, and is told so by the offset of what comes instead."""

    def __init__(self, most: int, start: int = 0, data: bytes = b"") -> None:
        """`data` was printed before, behind `start` bytes that nobody has kept."""
        self._most: Final = most
        self._data = bytearray(data)
        self._start = start
        self._closed = False
        self._news: trio.Event | None = None

    @property
    def start(self) -> int:
        """The offset of the first byte that is kept."""
        return self._start

    @property
    def end(self) -> int:
        """How many bytes were printed."""
        return self._start + len(self._data)

    @property
    def closed(self) -> bool:
        """The run has ended."""
        return self._closed

    def append(self, data: bytes) -> None:
        self._data += data
        surplus = len(self._data) - self._most
        if surplus > 0:
            # Costs what is left out, not what is kept: CPython moves the beginning of a bytearray.
            del self._data[:surplus]
            self._start += surplus
        self._tell()

    def close(self) -> None:
        """Nothing comes any more."""
        self._closed = True
        self._tell()

    def read(self, offset: int, limit: int) -> Piece:
        """At most `limit` bytes from `offset` on, or from the first one that is kept, if that is later."""
        begin = min(max(offset, self._start), self.end) - self._start
        data = bytes(self._data[begin : begin + limit])
        return Piece(self._start + begin, data, self._closed and begin + len(data) == len(self._data))

    async def wait(self, offset: int) -> None:
        """Returns when there is something at `offset` or behind it, or the run has ended."""
        while self.end <= offset and not self._closed:
            if self._news is None:
                self._news = trio.Event()
            await self._news.wait()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None
