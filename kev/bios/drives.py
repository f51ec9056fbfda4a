"""The drives that INT 13h knows, by their numbers."""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from kev.dev.block_device import SECTOR_SIZE, BlockBackend

FIRST_HARD_DISK: Final = 0x80
CD_ROM: Final = 0xE0
"""The number of a CD that was booted from."""
CD_SECTOR_SIZE: Final = 2048
FIRST_DISKETTE: Final = 0x00
CATALOG_ENTRY: Final = struct.Struct("<BBHBxHI")
"""Of a CD's boot catalog (El Torito 1.0): boot indicator, media type, load segment, system type, number of 512-byte sectors, first
sector."""

_SECTORS_PER_TRACK: Final = 63
_HEADS: Final = (16, 32, 64, 128, 255)
_MOST_CYLINDERS: Final = 1024


class Geometry(NamedTuple):
    """How a drive's sectors are counted by cylinder, head and sector."""

    cylinders: int
    heads: int
    sectors_per_track: int


_DISKETTES: Final = {
    kib * 2: Geometry(kib * 2 // (heads * sectors), heads, sectors)
    for kib, heads, sectors in (
        (160, 1, 8),
        (180, 1, 9),
        (320, 2, 8),
        (360, 2, 9),
        (720, 2, 9),
        (1200, 2, 15),
        (1440, 2, 18),
        (2880, 2, 36),
    )
}
"""By number of sectors."""
_USUAL: Final = 2880


class Drive(NamedTuple):
    """A drive with its disk."""

    number: int
    disk: BlockBackend
    sector_size: int = SECTOR_SIZE
    boot_catalog: bytes = b""
    """Of a CD, the entry that was booted."""
    is_hard_disk_too: bool = False
    """Of a diskette: the same disk has a hard disk's number, too."""

    @property
    def has_extensions(self) -> bool:
        """Its sectors can be addressed by number."""
        return self.number >= FIRST_HARD_DISK or self.is_hard_disk_too

    @property
    def sectors(self) -> int:
        """A diskette has all of its own, be the image shorter or not."""
        if self.number < FIRST_HARD_DISK:
            return diskette_sectors(self.disk.size)
        return self.disk.size // self.sector_size

    @property
    def geometry(self) -> Geometry:
        """A hard disk has 63 sectors a track, and so many heads that no more than 1,024 cylinders are needed, if that can be."""
        sectors = self.sectors
        if self.number < FIRST_HARD_DISK:
            return _DISKETTES[sectors]
        heads = next((heads for heads in _HEADS if sectors <= _MOST_CYLINDERS * heads * _SECTORS_PER_TRACK), _HEADS[-1])
        cylinders = min(max(sectors // (heads * _SECTORS_PER_TRACK), 1), _MOST_CYLINDERS)
        return Geometry(cylinders, heads, _SECTORS_PER_TRACK)


def diskette_sectors(size: int) -> int:
    """How many sectors a diskette has, whose image, or its beginning, has so many bytes. 0 if there is none."""
    sectors = -(-size // SECTOR_SIZE)
    if size % SECTOR_SIZE == 0 and sectors in _DISKETTES:
        return sectors
    return _USUAL if sectors < _USUAL else 0


class BootDrive(NamedTuple):
    """What the machine was started from: the number in DL."""

    number: int = FIRST_HARD_DISK
    boot_catalog: bytes = b""
    """Of a CD, the entry that was booted."""
    is_hard_disk_too: bool = False
    """Of a diskette: it has a hard disk's number, too."""

    @property
    def is_hard_disk(self) -> bool:
        return self.is_hard_disk_too or (self.number >= FIRST_HARD_DISK and not self.boot_catalog)


def number_drives(disks: Sequence[BlockBackend], booted: BootDrive | None) -> dict[int, Drive]:
    """All drives by number: hard disks in their order. If a diskette or a CD was booted, it is the first of `disks`."""
    drives: dict[int, Drive] = {}
    if booted is not None and booted.number != FIRST_HARD_DISK and disks:
        sector_size = SECTOR_SIZE if booted.number < FIRST_HARD_DISK else CD_SECTOR_SIZE
        drives[booted.number] = Drive(booted.number, disks[0], sector_size, booted.boot_catalog, booted.is_hard_disk_too)
        disks = disks if booted.is_hard_disk else disks[1:]
    drives.update((number, Drive(number, disk)) for number, disk in enumerate(disks, FIRST_HARD_DISK))
    return drives
