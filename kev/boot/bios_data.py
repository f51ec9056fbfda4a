"""What a PC's BIOS leaves in its data areas, as far as kernels read it without calling the BIOS."""

import struct
from typing import Final

from kev.addressing import KIB, Gpa
from kev.boot.generated import place_generated, reaches_into
from kev.boot.memory_map import EBDA, lower_memory_kib
from pager.kernel import KernelVmPager

_EBDA_SEGMENT: Final = Gpa(0x40E)
"""The real-mode segment of the EBDA; at 0x413, the KiB of base memory."""
_WORDS: Final = struct.Struct("<H3xH")


def install_bios_data(pager: KernelVmPager) -> None:
    """Registers the words in the BIOS data area, and the first byte of the extended one, which is its size in KiB.

    What the kernel's own image occupies is left to it.
    """
    _install(pager, _EBDA_SEGMENT, _WORDS.pack(EBDA.start >> 4, lower_memory_kib(pager.ram)))
    _install(pager, Gpa(EBDA.start), bytes([len(EBDA) // KIB]))


def _install(pager: KernelVmPager, gpa: Gpa, data: bytes) -> None:
    addresses = range(gpa, gpa + len(data))
    if not any(reaches_into(segment, addresses) for segment in pager.image.segments):
        place_generated(pager, gpa, len(data), lambda: data)
