"""What a PC's BIOS leaves in its data areas, as far as kernels read it without calling the BIOS."""

import struct
from typing import Final

from kev.addressing import KIB, Gpa
from kev.boot.generated import place_generated, reaches_into
from kev.boot.memory_map import EBDA, lower_memory_kib
from kev.dev.display.screen import COLUMNS
from kev.pager.kernel import KernelVmPager

_PORTS: Final = Gpa(0x400)
"""COM1's; at 0x408, LPT1's; at 0x40e, the real-mode segment of the EBDA; at 0x410, the equipment; at 0x413, KiB of base memory."""
_WORDS: Final = struct.Struct("<H6xH4xHHxH")
_COM1: Final = 0x3F8
_LPT1: Final = 0x378
_EQUIPMENT: Final = 0x4222
"""A floating-point unit, a colour screen of 80 columns, one serial port, one printer; no floppy disk and no mouse."""

_VIDEO_MODE: Final = Gpa(0x449)
"""At 0x44a, its columns; at 0x463, the CRT controller's first port."""
_VIDEO: Final = struct.Struct("<BH23xH")
_TEXT_MODE: Final = 3
_CRT_CONTROLLER: Final = 0x3D4


def install_bios_data(pager: KernelVmPager) -> None:
    """Registers what is in the BIOS data area, and the first byte of the extended one, which is its size in KiB.

    What the kernel's own image occupies is left to it.
    """
    _install(pager, _PORTS, _WORDS.pack(_COM1, _LPT1, EBDA.start >> 4, _EQUIPMENT, lower_memory_kib(pager.ram)))
    _install(pager, _VIDEO_MODE, _VIDEO.pack(_TEXT_MODE, COLUMNS, _CRT_CONTROLLER))
    _install(pager, Gpa(EBDA.start), bytes([len(EBDA) // KIB]))


def _install(pager: KernelVmPager, gpa: Gpa, data: bytes) -> None:
    addresses = range(gpa, gpa + len(data))
    if not any(reaches_into(segment, addresses) for segment in pager.image.segments):
        place_generated(pager, gpa, len(data), lambda: data)
