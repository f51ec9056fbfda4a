"""A disk whose contents stay as they are: what is written lies in memory, and goes with the machine."""

from typing import Final

from kev.dev.block_device import SECTOR_SIZE
from kev.dev.storage.written_sectors import load_sectors, save_sectors
from kev.errors import KevError
from kev.state import State


class OverlayError(KevError):
    """An access leaves the disk. Names the disk, the access and the size."""


class OverlayDisk:
    """The sectors of `base`, which is only read, under those that were written."""

    writable: Final = True

    def __init__(self, base: memoryview, name: str) -> None:
        """`base` is the contents of a disk, `name` what messages call it. OverlayError unless it is whole sectors."""
        if len(base) % SECTOR_SIZE:
            raise OverlayError(f"{name}: a size of {len(base)} bytes is not a multiple of {SECTOR_SIZE}")
        self.name: Final = name
        self.size: Final = len(base)
        self._base: Final = base
        self._written: Final[dict[int, bytearray]] = {}
        """Sectors, by the offset of their first byte."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._check(offset, len(buffer))
        buffer[:] = self._base[offset : offset + len(buffer)]
        if not self._written:
            return
        for start in range(offset - offset % SECTOR_SIZE, offset + len(buffer), SECTOR_SIZE):
            sector = self._written.get(start)
            if sector is not None:
                low, high = max(start, offset), min(start + SECTOR_SIZE, offset + len(buffer))
                buffer[low - offset : high - offset] = sector[low - start : high - start]

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._check(offset, len(data))
        for start in range(offset - offset % SECTOR_SIZE, offset + len(data), SECTOR_SIZE):
            sector = self._written.get(start)
            if sector is None:
                sector = self._written[start] = bytearray(self._base[start : start + SECTOR_SIZE])
            low, high = max(start, offset), min(start + SECTOR_SIZE, offset + len(data))
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
