"""Blocks of a disk in memory: read when they are first touched, and written back when they are flushed."""

from typing import Final, Protocol

from kev.fs.disk import SECTOR_SIZE
from kev.fs.errors import DiskError

BLOCK_SIZE: Final = 4096
"""In bytes."""
SECTORS_EACH: Final = BLOCK_SIZE // SECTOR_SIZE


class Sectors(Protocol):
    """What blocks come from, such as `kev.fs.disk.Disk`."""

    @property
    def size(self) -> int: ...

    def read_into(self, offset: int, buffer: memoryview) -> None: ...

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None: ...


class BlockCache:
    """Of one disk. It holds every block that was touched, until it is dropped."""

    __slots__ = ("_blocks", "_dirty", "_disk", "_name", "blocks", "sectors_read", "sectors_written")

    def __init__(self, disk: Sectors, name: str) -> None:
        """`name` is what errors call the disk."""
        self._disk: Final = disk
        self._name: Final = name
        self._blocks: Final[dict[int, bytearray]] = {}
        self._dirty: Final[set[int]] = set()
        self.blocks: Final = -(-disk.size // BLOCK_SIZE)
        """How many there are; the last one may be shorter than the others."""
        self.sectors_read = 0
        """From the disk, since the start."""
        self.sectors_written = 0
        """To the disk."""

    def is_present(self, block: int) -> bool:
        """The block was touched, and is in memory."""
        return block in self._blocks

    def is_dirty(self, block: int) -> bool:
        """It was written and not flushed."""
        return block in self._dirty

    def block(self, number: int) -> memoryview:
        """A block, to be read. Its 8 sectors come from the disk at the first touch. DiskError if there is no such block."""
        return memoryview(self._block(number)).toreadonly()

    def change(self, number: int) -> memoryview:
        """A block, to be written: it is dirty from now on."""
        block = memoryview(self._block(number))
        self._dirty.add(number)
        return block

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset` on, all of them on the disk."""
        return b"".join(self.block(number)[start:end] for number, start, end in _pieces(offset, length))

    def write(self, offset: int, data: bytes) -> None:
        """Changes blocks, all of them on the disk; none reaches it before it is flushed."""
        done = 0
        for number, start, end in _pieces(offset, len(data)):
            self.change(number)[start:end] = data[done : done + end - start]
            done += end - start

    def flush_block(self, number: int) -> bool:
        """Writes a block to the disk if it is present and dirty, and says whether it was."""
        if number not in self._dirty:
            return False
        block = self._blocks[number]
        self._disk.write(number * BLOCK_SIZE, block)
        self.sectors_written += len(block) // SECTOR_SIZE
        self._dirty.discard(number)
        return True

    def flush(self) -> int:
        """Every dirty block; says how many there were."""
        return sum(self.flush_block(number) for number in sorted(self._dirty))

    def drop(self) -> None:
        """Forgets every block, dirty ones too: the next touch reads the disk again."""
        self._blocks.clear()
        self._dirty.clear()

    def host_read(self, sector: int, count: int) -> bytes:
        """`count` sectors from `sector` on."""
        return self.read(sector * SECTOR_SIZE, count * SECTOR_SIZE)

    def host_write(self, sector: int, data: bytes) -> None:
        """Whole sectors from `sector` on, to the disk at once. DiskError if `data` is not a whole number of them."""
        if len(data) % SECTOR_SIZE:
            raise DiskError(f"{self._name}: {len(data)} bytes for sectors from {sector} on: a sector has {SECTOR_SIZE}")
        self.write(sector * SECTOR_SIZE, data)
        for number, _, _ in _pieces(sector * SECTOR_SIZE, len(data)):
            self.flush_block(number)

    def _block(self, number: int) -> bytearray:
        block = self._blocks.get(number)
        if block is None:
            if not 0 <= number < self.blocks:
                raise DiskError(f"{self._name}: block {number} is not on the disk: it has {self.blocks} of {BLOCK_SIZE} bytes")
            block = bytearray(min(BLOCK_SIZE, self._disk.size - number * BLOCK_SIZE))
            self._disk.read_into(number * BLOCK_SIZE, memoryview(block))
            self.sectors_read += len(block) // SECTOR_SIZE
            self._blocks[number] = block
        return block


def _pieces(offset: int, length: int) -> "list[tuple[int, int, int]]":
    """The blocks that [offset, offset + length) lies in, each with the part of it that does."""
    end = offset + length
    return [
        (number, max(0, offset - number * BLOCK_SIZE), min(BLOCK_SIZE, end - number * BLOCK_SIZE))
        for number in range(offset // BLOCK_SIZE, -(-end // BLOCK_SIZE) if length else offset // BLOCK_SIZE)
    ]
