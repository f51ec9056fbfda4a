"""What an IDE disk says of itself (ATA/ATAPI-6, INCITS 361-2002, section 8.15, "IDENTIFY DEVICE")."""

import struct
from typing import Final, NamedTuple

from kev.dev.block_device import SECTOR_SIZE

LARGEST_MULTIPLE: Final = 16
"""How many sectors READ MULTIPLE and WRITE MULTIPLE can transfer per interrupt."""
MOST_SECTORS: Final = (1 << 28) - 1
"""What a 28-bit address reaches."""

_MOST_CYLINDERS: Final = 16383

_DMA_SUPPORTED: Final = 1 << 8
_TIMES_VALID: Final = 1 << 1
_MULTIWORD_DMA: Final = 0x0407
"""Modes 0 to 2, the last of which is selected."""
_CYCLE_NANOSECONDS: Final = 120
_LBA_SUPPORTED: Final = 1 << 9
_CURRENT_GEOMETRY_VALID: Final = 1 << 0
_MULTIPLE_VALID: Final = 1 << 8
_ATA_6: Final = 1 << 6
_WORD_VALID: Final = 1 << 14
_FLUSH_CACHE: Final = 1 << 12
_FLUSH_CACHE_EXT: Final = 1 << 13
_48_BIT_ADDRESSES: Final = 1 << 10
_POWER_MANAGEMENT: Final = 1 << 3


class Geometry(NamedTuple):
    """How cylinder, head and sector make up an address; sectors count from 1."""

    heads: int = 16
    sectors_per_track: int = 63

    def cylinders(self, sectors: int) -> int:
        return min(sectors // (self.heads * self.sectors_per_track), _MOST_CYLINDERS)


DEFAULT_GEOMETRY: Final = Geometry()


def identify_device(sectors: int, multiple: int, current: Geometry, *, dma: bool) -> bytes:
    """The 512 bytes for a disk of `sectors` sectors whose block count for the MULTIPLE commands is `multiple`, 0 if not set.

    With `dma`, it can multiword DMA, which is selected.
    """
    reachable = min(sectors, MOST_SECTORS)
    cylinders = current.cylinders(reachable)
    capacity = cylinders * current.heads * current.sectors_per_track
    words = {
        0: 0x40,  # a fixed disk
        1: DEFAULT_GEOMETRY.cylinders(reachable),
        3: DEFAULT_GEOMETRY.heads,
        6: DEFAULT_GEOMETRY.sectors_per_track,
        47: 0x8000 | LARGEST_MULTIPLE,
        49: _LBA_SUPPORTED | (_DMA_SUPPORTED if dma else 0),
        53: _CURRENT_GEOMETRY_VALID | (_TIMES_VALID if dma else 0),
        54: cylinders,
        55: current.heads,
        56: current.sectors_per_track,
        57: capacity & 0xFFFF,
        58: capacity >> 16,
        59: _MULTIPLE_VALID | multiple if multiple else 0,
        60: reachable & 0xFFFF,
        61: reachable >> 16,
        63: _MULTIWORD_DMA if dma else 0,
        **(dict.fromkeys(range(65, 69), _CYCLE_NANOSECONDS) if dma else {}),
        80: _ATA_6,
        82: _POWER_MANAGEMENT,
        83: _WORD_VALID | _FLUSH_CACHE | _FLUSH_CACHE_EXT | _48_BIT_ADDRESSES,
        84: _WORD_VALID,
        85: _POWER_MANAGEMENT,
        86: _FLUSH_CACHE | _FLUSH_CACHE_EXT | _48_BIT_ADDRESSES,
        87: _WORD_VALID,
        **{100 + place: sectors >> 16 * place & 0xFFFF for place in range(4)},
    }
    data = bytearray(SECTOR_SIZE)
    for index, word in words.items():
        struct.pack_into("<H", data, 2 * index, word)
    data[20:40] = ata_text("1", 20)  # serial number
    data[46:54] = ata_text("1", 8)  # firmware revision
    data[54:94] = ata_text("kev disk", 40)  # model number
    return bytes(data)


def ata_text(text: str, length: int) -> bytes:
    """ASCII padded with spaces, the first character of each pair in the high half of its word."""
    padded = text.encode("ascii").ljust(length)
    return b"".join(padded[i + 1 : i + 2] + padded[i : i + 1] for i in range(0, length, 2))
