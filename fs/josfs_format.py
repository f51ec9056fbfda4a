"""How JOS' file system lies on a disk (JOS, inc/fs.h): blocks of 4 KiB, all integers little-endian.

Block 0 is left to a boot sector. Block 1 is the superblock: magic, number of blocks, the root directory's file structure. From
block 2 on lies a bitmap with a bit for each block, 1 if it is free. A file structure has 256 bytes: name, size in bytes, type, the
numbers of 10 blocks, and that of a block with 1,024 more numbers; 0 stands for a hole. A directory consists of file structures, and
an empty name makes one that is free.
"""

import struct
from typing import Final, NamedTuple

from kev.fs.block_cache import BLOCK_SIZE

MAGIC: Final = 0x4A05_30AE
SUPERBLOCK: Final = 1
BITMAP: Final = 2
"""The first block of the bitmap."""
BLOCKS_IN_BITMAP: Final = 8 * BLOCK_SIZE
"""For how many blocks one block of the bitmap stands."""
MOST_BLOCKS: Final = 0xC000_0000 // BLOCK_SIZE
"""Of a disk: JOS maps it into 3 GiB."""
LONGEST_NAME: Final = 127
"""In bytes, without the NUL."""
LONGEST_PATH: Final = 1023
"""Likewise."""
NDIRECT: Final = 10
NINDIRECT: Final = BLOCK_SIZE // 4
LARGEST_FILE: Final = (NDIRECT + NINDIRECT) * BLOCK_SIZE
"""In bytes."""
ENTRY_SIZE: Final = 256
REGULAR: Final = 0
DIRECTORY: Final = 1

_SUPER: Final = struct.Struct("<II")
ROOT_OFFSET: Final = _SUPER.size
"""Where the root directory's file structure is in the superblock."""
_ENTRY: Final = struct.Struct(f"<128siI{NDIRECT}II76x")


class FileStructure(NamedTuple):
    """struct File."""

    name: str
    size: int
    type: int
    direct: tuple[int, ...] = (0,) * NDIRECT
    indirect: int = 0

    def encode(self) -> bytes:
        return _ENTRY.pack(encode_name(self.name), self.size, self.type, *self.direct, self.indirect)

    @classmethod
    def decode(cls, data: bytes) -> "FileStructure":
        name, size, type, *numbers = _ENTRY.unpack(data)
        return cls(name.split(b"\0", 1)[0].decode(errors="surrogateescape"), size, type, tuple(numbers[:NDIRECT]), numbers[NDIRECT])


def encode_name(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def encode_super(blocks: int, root: FileStructure) -> bytes:
    """The beginning of the superblock of a disk of so many blocks."""
    return _SUPER.pack(MAGIC, blocks) + root.encode()


def decode_super(data: bytes) -> tuple[int, int]:
    """Magic and number of blocks."""
    magic, blocks = _SUPER.unpack_from(data)
    return magic, blocks


def bitmap_blocks(blocks: int) -> int:
    """How many blocks the bitmap of a disk of so many has."""
    return -(-blocks // BLOCKS_IN_BITMAP)


def blocks_of(size: int) -> int:
    """How many blocks `size` bytes fill, the last one perhaps in part."""
    return -(-size // BLOCK_SIZE)
