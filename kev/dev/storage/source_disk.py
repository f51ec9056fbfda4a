"""A disk that is read from where an image's pages come from."""

from typing import Final

from kev.dev.block_device import SECTOR_SIZE
from kev.pager.source import SynchronousSource, read_exactly
from kev.state import BYTES, Fields, State, StateError, bits, listed


class SourceDisk:
    """A `BlockBackend` over an image that stays as it is: what is written is kept in memory, and gone with the machine.

    What the last sector has behind the end of the source is zero.
    """

    _FIELDS: Final = Fields({}, sectors=listed(bits(64)), contents=listed(BYTES))

    name: Final = "boot disk"
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
        """What was written is gone: the disk is as it was when the machine was made."""
        self._written.clear()

    def save(self) -> State:
        """The sectors that were written, and not the source."""
        return self._FIELDS.save(self, sectors=list(self._written), contents=list(self._written.values()))

    def load(self, state: State) -> None:
        parts = self._FIELDS.load(self, self.name, state)
        sectors, contents = parts["sectors"], parts["contents"]
        if len(sectors) != len(contents) or max(sectors, default=0) * SECTOR_SIZE > self.size:
            raise StateError(self.name, "sectors", sectors, f"{len(contents)} numbers of sectors of {self.size} bytes")
        if any(len(content) != SECTOR_SIZE for content in contents):
            raise StateError(self.name, "contents", contents, f"{SECTOR_SIZE} bytes each")
        self._written.clear()
        self._written.update(zip(sectors, map(bytes, contents), strict=True))
