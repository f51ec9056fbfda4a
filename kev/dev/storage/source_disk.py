"""A disk that is read from where an image's pages come from."""

from typing import Final

from kev.dev.block_device import SECTOR_SIZE
from kev.dev.storage.written_sectors import load_sectors, save_sectors
from kev.pager.source import SynchronousSource, read_exactly
from kev.state import State


class SourceDisk:
    """A `BlockBackend` over an image that stays as it is: what is written is kept in memory, and gone with the machine.

    What the last sector has behind the end of the source is zero.
    """

    writable: Final = True

    __slots__ = ("_source", "_written", "size")

    def __init__(self, source: SynchronousSource) -> None:
        self._source: Final = source
        self._written: Final[dict[int, bytes]] = {}  # by number of the sector
        self.size: Final = -(-source.size // SECTOR_SIZE) * SECTOR_SIZE

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """SourceError if the source cannot be read. `offset` and length are whole sectors, as in `write`."""
        there = max(min(len(buffer), self._source.size - offset), 0)
        read_exactly(self._source, offset, buffer[:there])
        buffer[there:] = bytes(len(buffer) - there)
        for start in range(0, len(buffer), SECTOR_SIZE):
            written = self._written.get((offset + start) // SECTOR_SIZE)
            if written is not None:
                buffer[start : start + SECTOR_SIZE] = written

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        for start in range(0, len(data), SECTOR_SIZE):
            self._written[(offset + start) // SECTOR_SIZE] = bytes(data[start : start + SECTOR_SIZE])

    def flush(self) -> None: ...

    def reset(self) -> None:
        """See `KeptInMemory`, as `save` and `load`."""
        self._written.clear()

    def save(self) -> State:
        return save_sectors(self._written)

    def load(self, called: str, state: State) -> None:
        written = load_sectors(called, state, self.size)
        self._written.clear()
        self._written.update((sector, bytes(contents)) for sector, contents in written.items())
