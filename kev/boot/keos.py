"""KeV's contract with KeOS: a Multiboot2 kernel that lives in the high half and expects its information at guest-physical 0.

Also how an ELF kernel is entered that has no boot header at all: at its physical entry, in flat 32-bit protected mode.
"""

from typing import Final, Self

from kev.addressing import PAGE_SIZE
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.entry import MULTIBOOT2_MAGIC, protected_mode
from kev.boot.firmware_tables import install_tables
from kev.boot.kernel_file import KernelFile
from kev.engine.base import EntryState
from kev.pager.errors import ImageError
from kev.pager.kernel import MBI_GPA, KernelVmPager

VIRTUAL_BASE: Final = 0xFFFF_FF00_0000_0000
"""Where KeOS maps guest-physical address 0."""

_CODE_SELECTOR: Final = 0x10
_DATA_SELECTOR: Final = 0x18
_STACK: Final = 0xA0000


class Keos(BootProtocol):
    """EAX holds Multiboot2's magic number, EBX and RSI point to the information: a memory map, and a command line if there is one.

    That is what KeV passes, in page 0; other Multiboot2 kernels get all of the information, from `kev.boot.multiboot2`. KeOS is
    told from them by its address: its entry is mapped at `VIRTUAL_BASE` from its physical one. Kernels for other loaders lie in the
    upper 2 GiB, in the middle of the address space, or at physical addresses.
    """

    name = "keos"
    passes_modules = False
    has_bios = False

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        if not file.is_elf:
            return None
        try:
            image = file.elf
        except ImageError:
            return None
        is_keos = image.virtual_entry - image.entry == VIRTUAL_BASE
        return f"its entry is mapped at {VIRTUAL_BASE:#x} above its physical address" if is_keos else None

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if the image itself needs the page of the information."""
        if file.elf.start < MBI_GPA + PAGE_SIZE:
            raise BootError(f"{file.name}: it is loaded at {file.elf.start:#x}, where the keos boot protocol has its information")
        return cls(file.elf)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        self.refuse(options)
        install_tables(pager, options)
        information = pager.finalize_mem(options.command_line)
        return protected_mode(
            self.image.entry,
            code=_CODE_SELECTOR,
            data=_DATA_SELECTOR,
            rax=MULTIBOOT2_MAGIC,
            rbx=information,
            rsi=information,
            rsp=_STACK,
        )
