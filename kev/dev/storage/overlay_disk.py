"""A disk whose contents stay as they are: what is written lies in memory, and goes with the machine."""

from typing import Final, Protocol

from kev.dev.block_device import SECTOR_SIZE
from kev.dev.storage.written_sectors import load_sectors, save_sectors
from kev.errors import KevError
from kev.state import State


class OverlayError(KevError):
    """An access leaves the disk, or writes to one that is read-only. Names the disk, the access and the size."""


class Readable(Protocol):
    """What lies beneath: a `kev.fs.disk.Disk`, for example."""

    @property
    def size(self) -> int:
        """In bytes."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` from byte `offset` on, all of it within the disk."""


class OverlayDisk:
    """The bytes of `base`, which is only read, under the sectors that were written.

    Costs memory for each sector that was written, and for no others. What a sector has behind the end of the disk is not there.
    """

    def __init__(self, base: Readable | memoryview, name: str, *, writable: bool = True) -> None:
        """`base` is the disk beneath, or its contents; `name` is what messages call it."""
        self.name: Final = name
        self.writable: Final = writable
        """What the guest is told; nothing is written if it is not."""
        below = _Contents(base) if isinstance(base, memoryview) else base
        self.size: Final = below.size
        """In bytes."""
        self._base: Final = below
        self._written: Final[dict[int, bytearray]] = {}
        """Whole sectors, by the offset of their first byte."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """OverlayError if it would pass the end; what `base` raises."""
        self._check(offset, len(buffer))
        self._base.read_into(offset, buffer)
        if not self._written:
            return
        for start in range(offset - offset % SECTOR_SIZE, offset + len(buffer), SECTOR_SIZE):
            sector = self._written.get(start)
            if sector is not None:
                low, high = max(start, offset), min(start + SECTOR_SIZE, offset + len(buffer))
                buffer[low - offset : high - offset] = sector[low - start : high - start]

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """OverlayError, before anything is written, if the disk is read-only or too small; what `base` raises."""
        if not self.writable:
            raise OverlayError(f"{self.name}: the disk is read-only")
        self._check(offset, len(data))
        for start in range(offset - offset % SECTOR_SIZE, offset + len(data), SECTOR_SIZE):
            low, high = max(start, offset), min(start + SECTOR_SIZE, offset + len(data))
            sector = self._written.get(start)
            if sector is None:
                sector = bytearray(SECTOR_SIZE)
                if high - low < SECTOR_SIZE:
                    self._base.read_into(start, memoryview(sector)[: self.size - start])
                self._written[start] = sector
            sector[low - start : high - start] = data[low - offset : high - offset]

    def flush(self) -> None:
        """There is nothing to wait for."""

    def reset(self) -> None:
        """See `KeptInMemory`, as `save` and `load`."""
        self._written.clear()

    def save(self) -> State:
        return save_sectors({start // SECTOR_SIZE: contents for start, contents in self._written.items()})

    def load(self, called: str, state: State) -> None:
        written = load_sectors(called, state, self.size)
        self._written.clear()
        self._written.update((sector * SECTOR_SIZE, contents) for sector, contents in written.items())

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length > self.size - offset:
            raise OverlayError(f"{self.name}: {length} bytes at byte {offset} are not on the disk: it has {self.size}")


class _Contents:
    """A disk that lies in memory."""

    def __init__(self, contents: memoryview) -> None:
        self.size: Final = len(contents)
        self._contents: Final = contents

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._contents[offset : offset + len(buffer)]
