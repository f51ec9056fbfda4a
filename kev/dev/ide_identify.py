"""What an IDE disk says of itself (ATA/ATAPI-6, INCITS 361-2002, section 8.15, "IDENTIFY DEVICE")."""

import struct
from typing import Final

from kev.dev.block_device import SECTOR_SIZE

LARGEST_MULTIPLE: Final = 16
"""How many sectors READ MULTIPLE and WRITE MULTIPLE can transfer per interrupt."""
MOST_SECTORS: Final = (1 << 28) - 1
"""What a 28-bit address reaches."""

_HEADS: Final = 16
_SECTORS_PER_TRACK: Final = 63
_MOST_CYLINDERS: Final = 16383

_LBA_SUPPORTED: Final = 1 << 9
_CURRENT_GEOMETRY_VALID: Final = 1 << 0
_MULTIPLE_VALID: Final = 1 << 8
_ATA_6: Final = 1 << 6
_WORD_VALID: Final = 1 << 14
_FLUSH_CACHE: Final = 1 << 12


def identify_device(sectors: int, multiple: int) -> bytes:
    """The 512 bytes for a disk of `sectors` sectors whose block count for the MULTIPLE commands is `multiple`, 0 if not set."""
    reachable = min(sectors, MOST_SECTORS)
    cylinders = min(reachable // (_HEADS * _SECTORS_PER_TRACK), _MOST_CYLINDERS)
    current = cylinders * _HEADS * _SECTORS_PER_TRACK
    words = {
        0: 0x40,  # a fixed disk
        1: cylinders,
        3: _HEADS,
        6: _SECTORS_PER_TRACK,
        47: 0x8000 | LARGEST_MULTIPLE,
        49: _LBA_SUPPORTED,
        53: _CURRENT_GEOMETRY_VALID,
        54: cylinders,
        55: _HEADS,
        56: _SECTORS_PER_TRACK,
        57: current & 0xFFFF,
        58: current >> 16,
        59: _MULTIPLE_VALID | multiple if multiple else 0,
        60: reachable & 0xFFFF,
        61: reachable >> 16,
        80: _ATA_6,
        83: _WORD_VALID | _FLUSH_CACHE,
        84: _WORD_VALID,
        86: _FLUSH_CACHE,
        87: _WORD_VALID,
    }
    data = bytearray(SECTOR_SIZE)
    for index, word in words.items():
        struct.pack_into("<H", data, 2 * index, word)
    data[20:40] = _text("1", 20)  # serial number
    data[46:54] = _text("1", 8)  # firmware revision
    data[54:94] = _text("kev disk", 40)  # model number
    return bytes(data)


def _text(text: str, length: int) -> bytes:
    """ASCII padded with spaces, the first character of each pair in the high half of its word."""
    padded = text.encode("ascii").ljust(length)
    return b"".join(padded[i + 1 : i + 2] + padded[i : i + 1] for i in range(0, length, 2))
