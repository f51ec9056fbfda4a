"""A disk that is read from where an image's pages come from."""

from typing import Final

from kev.dev.block_device import SECTOR_SIZE
from kev.errors import KevError
from pager.source import SynchronousSource, read_exactly


class SourceDisk:
    """A `BlockBackend` that cannot be written. What the last sector has behind the end of the source is zero."""

    writable: Final = False

    __slots__ = ("_source", "size")

    def __init__(self, source: SynchronousSource) -> None:
        self._source: Final = source
        self.size: Final = -(-source.size // SECTOR_SIZE) * SECTOR_SIZE

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """SourceError if the source cannot be read."""
        there = max(min(len(buffer), self._source.size - offset), 0)
        read_exactly(self._source, offset, buffer[:there])
        buffer[there:] = bytes(len(buffer) - there)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        raise KevError(f"{self._source.name}: the guest boots from it, it is not written")

    def flush(self) -> None: ...
