"""The nested page table of a whole machine: a guest that owns the hardware, as in the JOS-vmx lineage.

What is mapped is a list of ranges, made by rule, before anything is written: `map_ranges` writes it, and `kev.page_tables.audit`
checks it, at any time.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kev.addressing import GIB, MIB, PAGE_SIZE, TIB, Gpa, Hpa, page_ceil, page_floor
from kev.host_memory import HostMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import PagingError
from kev.page_tables.mapping import MappedRange, MemoryType, PageSize, Permissions
from kev.page_tables.memory_map import Region
from kev.page_tables.table import PageTable

SHIFT: Final = 64 * MIB
"""How far the memory of a shifted guest lies above its guest-physical addresses: below is the host's own."""
MIXED: Final = "mixed"
QUICK: Final = "quick"
LIMITS: Final = {MIXED: 16 * TIB, QUICK: 64 * GIB}
"""The styles of map there are, and how much memory each can map: their tables would take more than 128 MiB."""

_VIDEO: Final = range(0xA0000, MIB)
"""The adapter area."""
_DEVICES: Final = range(3 * GIB, 4 * GIB)
"""The gibibyte with the APICs and memory-mapped devices."""


class IdentityMapError(PagingError):
    """A machine that 2 MiB pages cannot map."""


class WholeMachine(NamedTuple):
    """A machine whose guest-physical memory is to be mapped from end to end. `checked` says whether it can be."""

    memory: int
    """Where its memory ends, in bytes: a multiple of 2 MiB."""
    shift: int = 0
    """How much higher in the host RAM above 1 MiB lies, such as `SHIFT`: a multiple of 2 MiB. Devices never move."""
    regions: tuple[Region, ...] = ()
    """What the host's memory map says, in the order of addresses. It counts from 3 GiB to 4 GiB; without it, these are devices."""
    style: str = MIXED
    """`mixed`: pages of 4 KiB below 2 MiB and from 3 GiB to 4 GiB, elsewhere of 2 MiB. `quick`: 4 KiB everywhere, to 4 GiB at
    least, and nothing but the first MiB stays where it is: the map of exercise 3 of JOS-vmx."""

    def checked(self) -> "WholeMachine":
        """IdentityMapError if it cannot be mapped."""
        if self.style not in LIMITS:
            raise IdentityMapError(f"identity map: there is no style {self.style!r}: there are {', '.join(LIMITS)}")
        limit = LIMITS[self.style]
        if not PageSize.SIZE_2M <= self.memory <= limit or self.memory % PageSize.SIZE_2M:
            raise IdentityMapError(
                f"identity map: the machine's end {self.memory:#x} is not a multiple of {PageSize.SIZE_2M:#x} "
                f"from there to {limit:#x}, which is the most in the {self.style} style"
            )
        if not 0 <= self.shift <= limit or self.shift % PageSize.SIZE_2M:
            raise IdentityMapError(
                f"identity map: the shift {self.shift:#x} is not a multiple of {PageSize.SIZE_2M:#x} from 0 to {limit:#x}"
            )
        return self

    def ranges(self) -> list[MappedRange]:
        """What to map, in the order of addresses.

        - Everything is write-back, but 0xa0000-0xfffff and what is no memory between 3 GiB and 4 GiB: that is uncacheable.
        - RAM that a shift would move to where the host has devices is left out: the guest must be told that it ends before.
        - A page that is only partly memory belongs to the devices.
        """
        return list(self._quick() if self.style == QUICK else self._mixed())

    def devices(self) -> list[range]:
        """The host-physical addresses of devices, in whole pages: what must be uncacheable."""
        holes = [_VIDEO]
        position = _DEVICES.start
        for start, end, _ in self._memory_among_devices():
            if position < start:
                holes.append(range(position, start))
            position = end
        if position < _DEVICES.stop:
            holes.append(range(position, _DEVICES.stop))
        return holes

    def build(self) -> PageTable:
        """The table, in Intel's format, in memory of its own."""
        table = PageTable(HostMemory(self._room()), EptFormat())
        map_ranges(table, self.ranges())
        return table

    def _room(self) -> int:
        """Bytes that the tables fit into: 8 bytes a page, rounded up generously."""
        end = max(self.memory, _DEVICES.stop)
        return (end // (PAGE_SIZE if self.style == QUICK else PageSize.SIZE_2M) * 8 + 16 * MIB) & -MIB

    def _quick(self) -> Iterator[MappedRange]:
        yield _same(0, _VIDEO.start, MemoryType.WB)
        yield _same(_VIDEO.start, _VIDEO.stop, MemoryType.UC)
        yield _moved(MIB, max(self.memory, _DEVICES.stop), self.shift, PageSize.SIZE_4K)

    def _mixed(self) -> Iterator[MappedRange]:
        yield _same(0, _VIDEO.start, MemoryType.WB)
        yield _same(_VIDEO.start, _VIDEO.stop, MemoryType.UC)
        yield from self._ram(MIB, 2 * MIB, PageSize.SIZE_4K)
        yield from self._ram(2 * MIB, min(self.memory, _DEVICES.start), PageSize.SIZE_2M)
        yield from self._device_gibibyte()
        yield from self._ram(_DEVICES.stop, self.memory, PageSize.SIZE_2M)

    def _device_gibibyte(self) -> Iterator[MappedRange]:
        position = _DEVICES.start
        for start, end, type in self._memory_among_devices():
            if position < start:
                yield _same(position, start, MemoryType.UC)
            if Region(start, end, type).is_ram:
                yield from self._ram(start, end, PageSize.SIZE_4K)
            else:
                yield _same(start, end, MemoryType.WB)
            position = end
        if position < _DEVICES.stop:
            yield _same(position, _DEVICES.stop, MemoryType.UC)

    def _memory_among_devices(self) -> Iterator[Region]:
        """The regions of memory from 3 GiB to 4 GiB, in whole pages."""
        for region in self.regions:
            start, end = max(page_ceil(region.start), _DEVICES.start), min(page_floor(region.end), _DEVICES.stop)
            if region.is_memory and start < end:
                yield Region(start, end, region.type)

    def _ram(self, start: int, end: int, size: PageSize) -> Iterator[MappedRange]:
        """[start, end) without what would lie in the host's device gibibyte and is no RAM there."""
        first, last = _DEVICES.start - self.shift, _DEVICES.stop - self.shift
        if not self.shift or end <= first or last <= start:
            if start < end:
                yield _moved(start, end, self.shift, size)
            return
        targets = [(region.start, region.end) for region in self._memory_among_devices() if region.is_ram]
        for low, high in ((0, _DEVICES.start), *targets, (_DEVICES.stop, end + self.shift)):
            below, above = max(start, low - self.shift), min(end, high - self.shift)
            below, above = -(-below // size) * size, above // size * size
            if below < above:
                yield _moved(below, above, self.shift, size)


def map_ranges(table: PageTable, ranges: Iterable[MappedRange]) -> None:
    """Maps ranges into a table in which nothing of them is mapped. Cost: the number of pages."""
    for mapped in ranges:
        table.map_range(mapped.gpa, mapped.hpa, mapped.length, mapped.permissions, mapped.memory_type, mapped.page_size)


def _same(start: int, end: int, memory_type: MemoryType) -> MappedRange:
    """4 KiB pages that lie where they are in the host."""
    return MappedRange(Gpa(start), Hpa(start), end - start, PageSize.SIZE_4K, Permissions.RWX, memory_type)


def _moved(start: int, end: int, shift: int, size: PageSize) -> MappedRange:
    return MappedRange(Gpa(start), Hpa(start + shift), end - start, size)
