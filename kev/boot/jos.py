"""Guests of the JOS VMM: a 64-bit ELF kernel, and in front of it a boot sector that enters it in 32-bit protected mode.

The VMM copies both into the guest's memory, the sector to 0x7000, and starts its processor there in real mode. There is no BIOS,
and nothing else in memory: the kernel asks for the memory map by its first hypercall.
"""

import struct
from typing import Final, Self

from kev.addressing import Gpa, Gva
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.entry import flat_descriptor
from kev.boot.generated import place_generated, reaches_into
from kev.boot.kernel_file import BOOT_SIGNATURE, SECTOR_SIZE, KernelFile
from kev.engine.base import EntryState
from kev.engine.vm_entry import real_mode_vm_entry
from kev.pager.errors import ImageError
from kev.pager.image import Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.source import SynchronousSource, read_bytes
from kev.x86 import CODE_32, DATA_32

LOAD_ADDRESS: Final = Gpa(0x7000)
"""Of the boot sector."""
ASKS_FOR_MEMORY_MAP: Final = bytes.fromhex("b8 01 00 00 00 0f 01 c1")
"""MOV EAX, 1; VMCALL: what such a kernel begins with."""

_BOOT_SECTOR: Final = range(LOAD_ADDRESS, LOAD_ADDRESS + SECTOR_SIZE)
_RWX: Final = 7

# The boot sector that `boot_sector` makes.
_TO_PROTECTED_MODE: Final = bytes.fromhex(
    "fa fc"  # cli; cld
    "31 c0 8e d8 8e c0 8e d0"  # xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax
    "0f 01 16 50 70"  # lgdt [0x7050]
    "0f 20 c0 66 83 c8 01 0f 22 c0"  # mov eax, cr0; or eax, 1; mov cr0, eax
    "ea 1e 70 08 00"  # jmp 8:0x701e, the next instruction
    "66 b8 10 00 8e d8 8e c0 8e e0 8e e8 8e d0"  # mov ax, 0x10; mov ds, ax; and so on: es, fs, gs, ss
    "e9"  # jmp, by a distance
)
_DISTANCE: Final = struct.Struct("<I")
_GDT: Final = 0x38
"""Its offset; the pointer to it for LGDT follows."""
_GDT_POINTER: Final = struct.Struct("<HI")


class Jos(BootProtocol):
    """The boot sector runs with interrupts off and 0 in all general registers; it is the one in `BootOptions`, or `boot_sector`.

    CR0 has NE, CR4 VMXE. Pages of the kernel's segments are at their physical addresses. What the kernel finds is what its boot
    sector leaves: CS 0x08, all other segments 0x10, a GDT in the sector, no stack and no information.
    """

    name = "jos"
    passes_modules = False
    passes_command_line = False
    takes_boot_sector = True
    has_bios = False

    @classmethod
    def detect(cls, file: KernelFile) -> str | None:
        if not file.is_elf64:
            return None
        try:
            image = file.elf
            code = file.loaded_at(image, image.entry, len(ASKS_FOR_MEMORY_MAP))
        except ImageError:
            return None
        if code != ASKS_FOR_MEMORY_MAP:
            return None
        return f"its entry {image.entry:#x} begins with MOV EAX, 1; VMCALL, by which a guest of the JOS VMM asks for the memory map"

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if the image is no ELF file, or needs the place of the boot sector."""
        if not file.is_elf:
            raise BootError(f"{file.name}: no ELF file, which a guest of the JOS VMM is")
        for segment in file.elf.segments:
            if reaches_into(segment, _BOOT_SECTOR):
                raise BootError(
                    f"{file.name}: the segment at {segment.paddr:#x}-{segment.end:#x} reaches into "
                    f"{_BOOT_SECTOR.start:#x}-{_BOOT_SECTOR.stop:#x}, where the boot sector is"
                )
        return cls(file.elf)

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        self.refuse(options)
        if options.boot_sector is None:
            place_generated(pager, LOAD_ADDRESS, SECTOR_SIZE, lambda: boot_sector(self.image.entry))
        else:
            sector = options.boot_sector
            _check(sector)
            pager.load_phdr(Segment(LOAD_ADDRESS, Gva(LOAD_ADDRESS), 0, SECTOR_SIZE, SECTOR_SIZE, _RWX), sector)
        return real_mode_vm_entry(LOAD_ADDRESS)


def _check(sector: SynchronousSource) -> None:
    """BootError if a file is no boot sector."""
    if sector.size != SECTOR_SIZE:
        raise BootError(f"boot sector {sector.name}: has {sector.size:,} bytes: a boot sector has {SECTOR_SIZE}")
    signature = read_bytes(sector, SECTOR_SIZE - len(BOOT_SIGNATURE), len(BOOT_SIGNATURE))
    if signature != BOOT_SIGNATURE:
        raise BootError(f"boot sector {sector.name}: ends with {signature.hex(' ')}, not with {BOOT_SIGNATURE.hex(' ')}")


def boot_sector(entry: Gpa) -> bytes:
    """A boot sector for LOAD_ADDRESS: goes to 32-bit protected mode with flat segments, and jumps to `entry`."""
    distance = entry - (LOAD_ADDRESS + len(_TO_PROTECTED_MODE) + _DISTANCE.size) & 0xFFFF_FFFF
    code = (_TO_PROTECTED_MODE + _DISTANCE.pack(distance)).ljust(_GDT, b"\0")
    gdt = bytes(8) + flat_descriptor(CODE_32) + flat_descriptor(DATA_32)
    pointer = _GDT_POINTER.pack(len(gdt) - 1, LOAD_ADDRESS + _GDT)
    return (code + gdt + pointer).ljust(SECTOR_SIZE - len(BOOT_SIGNATURE), b"\0") + BOOT_SIGNATURE
