"""The memory of a PC, as its firmware describes it to a kernel."""

from collections.abc import Sequence
from typing import Final

from kev.addressing import GIB, KIB, MIB
from kev.pager.memory_region import MemoryRegion, RegionType

EBDA: Final = range(0x9FC00, 0xA0000)
"""The extended BIOS data area: the last KiB of base memory."""
FIRMWARE: Final = range(0xF0000, MIB)
"""The part of the firmware below 1 MiB, with the tables that it leaves."""
_FIRMWARE_ROM: Final = range(4 * GIB - 256 * KIB, 4 * GIB)


def memory_map(ram: Sequence[range]) -> list[MemoryRegion]:
    """Every usable and every reserved region of a machine with this RAM, in order.

    Reserved is what a PC keeps for its firmware, as SeaBIOS reports it: in base memory, below 1 MiB, and below 4 GiB. Video memory,
    ROMs of adapters and the hole for devices are neither RAM nor reserved.
    """
    below, *above = ram
    usable = (range(min(below.stop, EBDA.start)), range(MIB, below.stop), *above)
    reserved = (EBDA, FIRMWARE, _FIRMWARE_ROM)
    regions = [MemoryRegion(region.start, len(region)) for region in usable if region]
    regions += [MemoryRegion(region.start, len(region), RegionType.RESERVED) for region in reserved]
    return sorted(regions, key=lambda region: region.base)


def lower_memory_kib(ram: Sequence[range]) -> int:
    """Usable KiB from 0 on: at most 639."""
    return min(ram[0].stop, EBDA.start) // KIB


def upper_memory_kib(ram: Sequence[range]) -> int:
    """Usable KiB from 1 MiB on, up to the first hole."""
    return max(ram[0].stop - MIB, 0) // KIB
