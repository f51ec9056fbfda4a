"""The nested page table of a whole machine: a guest that owns the hardware, as in the JOS-vmx lineage.

What is mapped is a list of ranges, made by rule, before anything is written: `map_identity` writes it and `differences` of
`kev.page_tables.audit` checks it, at any time.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from kev.addressing import GIB, MIB, Gpa, Hpa, page_ceil, page_floor
from kev.page_tables.errors import PagingError
from kev.page_tables.mapping import MappedRange, MemoryType, PageSize, Permissions
from kev.page_tables.table import PageTable

SHIFT: Final = 64 * MIB
"""How far the memory of a shifted guest lies above its guest-physical addresses: below is the host's own."""

_VIDEO: Final = 0xA0000  # the adapter area, up to 1 MiB
_DEVICES: Final = 3 * GIB  # the gibibyte with the APICs and memory-mapped devices
_HIGH: Final = 4 * GIB


class IdentityMapError(PagingError):
    """A machine that 2 MiB pages cannot map."""


def identity_ranges(end: int, ram: Iterable[tuple[int, int]] = (), shift: int = 0) -> list[MappedRange]:
    """What to map for a machine whose guest-physical memory ends at `end`, a multiple of 2 MiB, in the order of addresses.

    - Below 2 MiB, and from 3 GiB to 4 GiB, pages of 4 KiB; elsewhere of 2 MiB.
    - Everything is write-back, but 0xa0000-0xfffff and what is no RAM between 3 GiB and 4 GiB: that is uncacheable.
    - With a `shift`, such as `SHIFT`, all RAM above 1 MiB lies so many bytes higher in the host. Devices never move.

    `ram` is what the memory map says of the range from 3 GiB to 4 GiB: the (start, end) of its usable regions, in bytes. A page
    that is only partly usable belongs to the devices. IdentityMapError if `end` or `shift` is no multiple of 2 MiB.
    """
    if end < PageSize.SIZE_2M or end % PageSize.SIZE_2M:
        raise IdentityMapError(f"identity map: the machine's end {end:#x} is not a multiple of {PageSize.SIZE_2M:#x}")
    if shift % PageSize.SIZE_2M:
        raise IdentityMapError(f"identity map: the shift {shift:#x} is not a multiple of {PageSize.SIZE_2M:#x}")
    return [
        _same(0, _VIDEO, MemoryType.WB),
        _same(_VIDEO, MIB, MemoryType.UC),
        _moved(MIB, 2 * MIB, shift, PageSize.SIZE_4K),
        *_high_memory(2 * MIB, min(end, _DEVICES), shift),
        *_device_gibibyte(ram, shift),
        *_high_memory(_HIGH, end, shift),
    ]


def map_identity(table: PageTable, ranges: Iterable[MappedRange]) -> None:
    """Maps what `identity_ranges` says into an empty table. Cost: the number of pages."""
    for mapped in ranges:
        table.map_range(mapped.gpa, mapped.hpa, mapped.length, mapped.permissions, mapped.memory_type, mapped.page_size)


def _same(start: int, end: int, memory_type: MemoryType) -> MappedRange:
    """4 KiB pages that lie where they are in the host."""
    return MappedRange(Gpa(start), Hpa(start), end - start, PageSize.SIZE_4K, Permissions.RWX, memory_type)


def _moved(start: int, end: int, shift: int, size: PageSize) -> MappedRange:
    return MappedRange(Gpa(start), Hpa(start + shift), end - start, size)


def _high_memory(start: int, end: int, shift: int) -> Iterator[MappedRange]:
    if start < end:
        yield _moved(start, end, shift, PageSize.SIZE_2M)


def _device_gibibyte(ram: Iterable[tuple[int, int]], shift: int) -> Iterator[MappedRange]:
    position = _DEVICES
    for start, end in sorted(ram):
        start, end = max(page_ceil(start), position), min(page_floor(end), _HIGH)
        if start >= end:
            continue
        if position < start:
            yield _same(position, start, MemoryType.UC)
        yield _moved(start, end, shift, PageSize.SIZE_4K)
        position = end
    if position < _HIGH:
        yield _same(position, _HIGH, MemoryType.UC)
