"""A boot sector: what a PC's firmware reads from a disk and jumps to in real mode."""

from typing import Final, Self

from kev.addressing import Gpa, Gva
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.bios_data import install_bios_data
from kev.boot.entry import real_mode
from kev.boot.firmware_tables import install_tables
from kev.boot.kernel_file import BOOT_SIGNATURE, SECTOR_SIZE, KernelFile
from kev.boot.linux_header import has_header
from kev.engine.base import EntryState
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.source import SynchronousSource

LOAD_ADDRESS: Final = Gpa(0x7C00)
_FIRST_HARD_DISK: Final = 0x80
_RWX: Final = 7


class RealMode(BootProtocol):
    """The first 512 bytes of the image at 0x7c00; DL says that they come from the first hard disk. The stack grows down from there.

    A larger image is a disk of which the firmware reads this sector only; the sector has to read the others from the IDE channel.
    There is no firmware to call: interrupt vectors are 0.
    """

    name = "real_mode"
    passes_modules = False
    passes_command_line = False
    mode = 16

    def __init__(self, image: KernelImage, disk: SynchronousSource) -> None:
        super().__init__(image)
        self.boot_disk = disk if disk.size > SECTOR_SIZE else None

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
        return cls(KernelImage.from_segments(file.source, [sector], LOAD_ADDRESS), file.source)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        self.refuse(options)
        install_bios_data(pager)
        install_tables(pager, options)
        return real_mode(self.image.entry, rdx=_FIRST_HARD_DISK, rsp=LOAD_ADDRESS)
