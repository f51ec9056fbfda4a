"""What a guest's page tables map, all of it: runs of linear addresses and the guest-physical addresses behind them."""

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kev import x86
from kev.addressing import PAGE_SIZE
from kev.page_tables.format import ADDRESS_MASK, LARGE_PAGE
from kev.page_tables.guest import PagingRegisters
from kev.postmortem.loaded_memory import LoadedMemory, Unreadable

MOST_TABLES: Final = 1 << 14
"""How many tables are read: one of 4 KiB each. A guest can nest tables such that there is no end."""
_ENTRIES_64: Final = struct.Struct("<512Q")
_ENTRIES_32: Final = struct.Struct("<1024I")
_PRESENT: Final = 1
_PSE_ADDRESS: Final = 0xFFC0_0000
_PSE36_HIGH: Final = 0x1F_E000
_ADDRESS_32: Final = 0xFFFF_F000
_LINEAR_END_32: Final = 1 << 32


class Mapping(NamedTuple):
    """Linear addresses that lie behind each other in guest-physical memory, too."""

    linear: int
    gpa: int
    length: int

    @property
    def end(self) -> int:
        """The linear address behind the last."""
        return self.linear + self.length


def mappings(memory: LoadedMemory, registers: PagingRegisters) -> Iterator[Mapping]:
    """The mappings of a vCPU in the order of linear addresses, each as long as can be. Tables that are not loaded map nothing."""
    return _joined(_pages(memory, registers))


def _pages(memory: LoadedMemory, registers: PagingRegisters) -> Iterator[Mapping]:
    if not registers.cr0 & x86.CR0_PG:
        yield Mapping(0, 0, _LINEAR_END_32)
    elif registers.efer & x86.EFER_LMA:
        yield from _Tables(memory).map_64(registers.cr3 & ADDRESS_MASK, 0, (39, 30, 21, 12))
    elif registers.cr4 & x86.CR4_PAE:
        yield from _Tables(memory).map_pae(registers.cr3)
    else:
        yield from _Tables(memory).map_32(registers.cr3 & _ADDRESS_32, bool(registers.cr4 & x86.CR4_PSE))


class _Tables:
    """Reads tables, but no more than `MOST_TABLES`."""

    def __init__(self, memory: LoadedMemory) -> None:
        self._memory: Final = memory
        self._remaining = MOST_TABLES

    def map_64(self, table: int, base: int, shifts: tuple[int, ...]) -> Iterator[Mapping]:
        """Tables with entries of 64 bits. `shifts`: where the index of each level begins."""
        shift, *rest = shifts
        for index, entry in enumerate(self._read(table, _ENTRIES_64)):
            if not entry & _PRESENT:
                continue
            linear = base + (index << shift)
            if shift == 39 and index & 256:
                linear |= 0xFFFF << 48
            if not rest or (entry & LARGE_PAGE and shift != 39):
                yield Mapping(linear, entry & ADDRESS_MASK & -1 << shift, 1 << shift)
            else:
                yield from self.map_64(entry & ADDRESS_MASK, linear, tuple(rest))

    def map_pae(self, cr3: int) -> Iterator[Mapping]:
        try:
            pointers = struct.unpack("<4Q", self._memory.read_physical(cr3 & 0xFFFF_FFE0, 32))
        except Unreadable:
            return
        for index, pointer in enumerate(pointers):
            if pointer & _PRESENT:
                yield from self.map_64(pointer & ADDRESS_MASK, index << 30, (21, 12))

    def map_32(self, directory: int, large_pages: bool) -> Iterator[Mapping]:
        for index, entry in enumerate(self._read(directory, _ENTRIES_32)):
            if not entry & _PRESENT:
                continue
            if entry & LARGE_PAGE and large_pages:
                yield Mapping(index << 22, (entry & _PSE36_HIGH) << 19 | entry & _PSE_ADDRESS, 1 << 22)
                continue
            for position, page in enumerate(self._read(entry & _ADDRESS_32, _ENTRIES_32)):
                if page & _PRESENT:
                    yield Mapping(index << 22 | position << 12, page & _ADDRESS_32, PAGE_SIZE)

    def _read(self, table: int, entries: struct.Struct) -> Iterable[int]:
        if not self._remaining:
            return ()
        self._remaining -= 1
        try:
            return entries.unpack(self._memory.read_physical(table, PAGE_SIZE))
        except Unreadable:
            return ()


def _joined(pages: Iterable[Mapping]) -> Iterator[Mapping]:
    linear = gpa = length = 0
    for page in pages:
        if length and page.linear == linear + length and page.gpa == gpa + length:
            length += page.length
            continue
        if length:
            yield Mapping(linear, gpa, length)
        linear, gpa, length = page
    if length:
        yield Mapping(linear, gpa, length)
