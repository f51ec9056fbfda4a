"""A source as a file object."""

import io
from typing import TYPE_CHECKING

from kev.pager.source import SynchronousSource

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class SourceStream(io.RawIOBase):
    """A source as the file object that libraries read."""

    def __init__(self, source: SynchronousSource) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        count = self._source.read_into(self._position, memoryview(buffer))
        self._position += count
        return count
