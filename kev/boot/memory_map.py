"""The memory of a PC, as its firmware describes it to a kernel."""

from collections.abc import Sequence
from typing import Final

from kev.addressing import KIB, MIB
from kev.pager.mbi import MemoryRegion, RegionType
from kev.pager.ram import MMIO_HOLE

EBDA: Final = range(0x9FC00, 0xA0000)
"""The extended BIOS data area: the last KiB of base memory."""


def memory_map(ram: Sequence[range]) -> list[MemoryRegion]:
    """Every usable and every reserved region of a machine with this RAM, in order.

    Reserved are what a PC keeps for its firmware and video memory below 1 MiB, and the hole for devices below 4 GiB.
    """
    below, *above = ram
    usable = (range(min(below.stop, EBDA.start)), range(MIB, below.stop), *above)
    reserved = (range(EBDA.start, MIB), MMIO_HOLE)
    regions = [MemoryRegion(region.start, len(region)) for region in usable if region]
    regions += [MemoryRegion(region.start, len(region), RegionType.RESERVED) for region in reserved]
    return sorted(regions, key=lambda region: region.base)


def lower_memory_kib(ram: Sequence[range]) -> int:
    """Usable KiB from 0 on: at most 639."""
    return min(ram[0].stop, EBDA.start) // KIB


def upper_memory_kib(ram: Sequence[range]) -> int:
    """Usable KiB from 1 MiB on, up to the first hole."""
    return max(ram[0].stop - MIB, 0) // KIB
