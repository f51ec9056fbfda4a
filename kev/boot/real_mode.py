"""A boot sector: what a PC's firmware reads from a disk and jumps to in real mode."""

from typing import Final, Self

from kev.addressing import Gpa, Gva
from kev.bios.drives import FIRST_DISKETTE, FIRST_HARD_DISK, BootDrive, is_diskette_size
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
_RWX: Final = 7


class RealMode(BootProtocol):
    """The first 512 bytes of the image at 0x7c00; DL says which drive they come from. The stack grows down from there.

    A larger image is a disk of which the BIOS reads this sector only; the sector has to read the others, by INT 13h or from the IDE
    channel. It is the first hard disk, or, if a FAT file system of a diskette's size says that it is on one, the first diskette.
    Interrupts are on, and the timer runs, as a BIOS leaves them.
    """

    name = "real_mode"
    passes_modules = False
    passes_command_line = False
    mode = 16

    def __init__(self, image: KernelImage, disk: SynchronousSource, drive: int) -> None:
        super().__init__(image)
        self.booted = BootDrive(drive)
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
        drive = FIRST_DISKETTE if _is_diskette(file) else FIRST_HARD_DISK
        return cls(KernelImage.from_segments(file.source, [sector], LOAD_ADDRESS), file.source, drive)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        self.refuse(options)
        assert self.booted is not None
        install_bios_data(pager, options.hard_disks)
        install_tables(pager, options)
        return boot_sector(self.booted.number, 0, LOAD_ADDRESS)


def _is_diskette(file: KernelFile) -> bool:
    sectors = int.from_bytes(file.head[_NUMBER_OF_SECTORS:_MEDIA], "little")
    is_its_size = file.source.size == sectors * SECTOR_SIZE and is_diskette_size(file.source.size)
    return is_its_size and file.head[_MEDIA] in _DISKETTE_MEDIA
