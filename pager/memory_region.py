"""What a memory map says of guest-physical memory, as ACPI and Multiboot number it."""

from enum import IntEnum

from kev.named_tuple import NamedTuple


class RegionType(IntEnum):
    """What a region of the memory map is."""

    AVAILABLE = 1
    RESERVED = 2
    ACPI_RECLAIMABLE = 3
    ACPI_NVS = 4
    DEFECTIVE = 5


class MemoryRegion(NamedTuple):
    """`length` bytes of guest-physical memory from `base` on."""

    base: int
    length: int
    type: RegionType = RegionType.AVAILABLE

    @property
    def end(self) -> int:
        return self.base + self.length
