"""A boot sector: what a PC's firmware reads from a disk and jumps to in real mode."""

import struct
from typing import Final, Self

from kev.addressing import Gpa, Gva
from kev.bios.drives import FIRST_DISKETTE, FIRST_HARD_DISK, BootDrive, diskette_sectors
from kev.bios.rom import BOOT_SECTOR
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.bios_data import install_bios_data
from kev.boot.entry import boot_sector
from kev.boot.firmware_tables import install_tables
from kev.boot.kernel_file import BOOT_SIGNATURE, SECTOR_SIZE, KernelFile
from kev.boot.linux_header import has_header
from kev.engine.base import EntryState
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.source import SynchronousSource

LOAD_ADDRESS: Final = Gpa(BOOT_SECTOR)
_MEDIA: Final = 0x15
"""Offset of the media descriptor in the parameter block of a FAT file system; in front of it, of its 16-bit number of sectors."""
_NUMBER_OF_SECTORS: Final = 0x13
_DISKETTE_MEDIA: Final = frozenset({0xF0, *range(0xF8, 0x100)})
_PARTITIONS: Final = 0x1BE
_PARTITION: Final = struct.Struct("<B3xB3xII")
"""Of a master boot record: status, kind, first sector, number of sectors."""
_PARTITION_STATUS: Final = frozenset({0, 0x80})
_RWX: Final = 7


class RealMode(BootProtocol):
    """The first 512 bytes of the image at 0x7c00; DL says which drive they come from. The stack grows down from there.

    A larger image is a disk of which the BIOS reads this sector only; the sector has to read the others, by INT 13h or from the IDE
    channel. It is the first hard disk; or the first diskette, if it has a diskette's size, and a FAT file system that says so or no
    partitions. Without such a file system it is both, because nothing says for which its code is.
    Interrupts are on, and the timer runs, as a BIOS leaves them.
    """

    name = "real_mode"
    passes_modules = False
    passes_command_line = False
    mode = 16

    def __init__(self, image: KernelImage, disk: SynchronousSource, booted: BootDrive) -> None:
        super().__init__(image)
        self.booted = booted
        self.boot_disk = disk

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        return (
            f"a boot sector: {BOOT_SIGNATURE.hex(' ')} at offset {SECTOR_SIZE - len(BOOT_SIGNATURE):#x}"
            if file.is_boot_disk
            else None
        )

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if there is no signature at the end of the first sector, or if a Linux kernel lies behind it."""
        if file.boot_signature != BOOT_SIGNATURE:
            found = file.boot_signature.hex(" ") or "nothing"
            raise BootError(
                f"{file.name}: no boot sector: at offset {SECTOR_SIZE - 2:#x} is {found}, not {BOOT_SIGNATURE.hex(' ')}"
            )
        if has_header(file):
            raise BootError(
                f"{file.name}: its boot sector is that of a Linux kernel, which does nothing but complain: boot it by linux"
            )
        sector = Segment(LOAD_ADDRESS, Gva(LOAD_ADDRESS), 0, SECTOR_SIZE, SECTOR_SIZE, _RWX)
        return cls(KernelImage.from_segments(file.source, [sector], LOAD_ADDRESS), file.source, _boot_drive(file))

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        self.refuse(options)
        assert self.booted is not None
        install_bios_data(pager, options.hard_disks, has_diskette=self.booted.number < FIRST_HARD_DISK)
        install_tables(pager, options)
        return boot_sector(self.booted.number, 0, LOAD_ADDRESS)


def _boot_drive(file: KernelFile) -> BootDrive:
    if not diskette_sectors(file.source.size):
        return BootDrive(FIRST_HARD_DISK)
    if _has_diskettes_file_system(file):
        return BootDrive(FIRST_DISKETTE)
    if _has_partitions(file):
        return BootDrive(FIRST_HARD_DISK)
    return BootDrive(FIRST_DISKETTE, is_hard_disk_too=True)


def _has_diskettes_file_system(file: KernelFile) -> bool:
    sectors = int.from_bytes(file.head[_NUMBER_OF_SECTORS:_MEDIA], "little")
    return file.source.size == sectors * SECTOR_SIZE and file.head[_MEDIA] in _DISKETTE_MEDIA


def _has_partitions(file: KernelFile) -> bool:
    """Whether what lies at the place of a partition table describes a partition, and nothing that cannot be."""
    table = file.head[_PARTITIONS : _PARTITIONS + 4 * _PARTITION.size]
    entries = list(_PARTITION.iter_unpack(table))
    used = [(first, count) for _, kind, first, count in entries if kind]
    sectors = file.source.size // SECTOR_SIZE
    fits = all(first and count and first + count <= sectors for first, count in used)
    return bool(used) and fits and all(status in _PARTITION_STATUS for status, *_ in entries)
