"""What a guest's page tables map, all of it: runs of linear addresses and the guest-physical addresses behind them."""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from kev import x86
from kev.addressing import PAGE_SIZE
from kev.page_tables.format import ADDRESS_MASK, LARGE_PAGE
from kev.page_tables.guest import PagingRegisters
from kev.postmortem.loaded_memory import LoadedMemory, Unreadable

MOST_TABLES: Final = 1 << 14
MOST_MAPPINGS: Final = 1 << 18
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


def mappings(memory: LoadedMemory, registers: PagingRegisters) -> Sequence[Mapping]:
    """The mappings of a vCPU in the order of linear addresses, each as long as can be. Tables that are not loaded map nothing.

    `MOST_MAPPINGS` at most, from `MOST_TABLES` tables: a guest can nest tables such that there is no end.
    """
    if not registers.cr0 & x86.CR0_PG:
        return [Mapping(0, 0, _LINEAR_END_32)]
    tables = _Tables(memory)
    if registers.efer & x86.EFER_LMA:
        tables.map_64(registers.cr3 & ADDRESS_MASK, 0, (39, 30, 21, 12))
    elif registers.cr4 & x86.CR4_PAE:
        tables.map_pae(registers.cr3)
    else:
        tables.map_32(registers.cr3 & _ADDRESS_32, bool(registers.cr4 & x86.CR4_PSE))
    return tables.found[:MOST_MAPPINGS]


class _Tables:
    """Reads tables, and collects what they map."""

    def __init__(self, memory: LoadedMemory) -> None:
        self.found: Final[list[Mapping]] = []
        self._memory: Final = memory
        self._remaining = MOST_TABLES

    def map_64(self, table: int, base: int, shifts: tuple[int, ...]) -> None:
        """Tables with entries of 64 bits. `shifts`: where the index of each level begins."""
        shift, *rest = shifts
        for index, entry in enumerate(self._read(table, _ENTRIES_64)):
            if not entry & _PRESENT:
                continue
            linear = base + (index << shift)
            if shift == 39 and index & 256:
                linear |= 0xFFFF << 48
            if not rest or (entry & LARGE_PAGE and shift != 39):
                self._add(linear, entry & ADDRESS_MASK & -1 << shift, 1 << shift)
            else:
                self.map_64(entry & ADDRESS_MASK, linear, tuple(rest))

    def map_pae(self, cr3: int) -> None:
        try:
            pointers = struct.unpack("<4Q", self._memory.read_physical(cr3 & 0xFFFF_FFE0, 32))
        except Unreadable:
            return
        for index, pointer in enumerate(pointers):
            if pointer & _PRESENT:
                self.map_64(pointer & ADDRESS_MASK, index << 30, (21, 12))

    def map_32(self, directory: int, large_pages: bool) -> None:
        for index, entry in enumerate(self._read(directory, _ENTRIES_32)):
            if not entry & _PRESENT:
                continue
            if entry & LARGE_PAGE and large_pages:
                self._add(index << 22, (entry & _PSE36_HIGH) << 19 | entry & _PSE_ADDRESS, 1 << 22)
                continue
            for position, page in enumerate(self._read(entry & _ADDRESS_32, _ENTRIES_32)):
                if page & _PRESENT:
                    self._add(index << 22 | position << 12, page & _ADDRESS_32, PAGE_SIZE)

    def _read(self, table: int, entries: struct.Struct) -> Iterable[int]:
        if not self._remaining or len(self.found) > MOST_MAPPINGS:
            return ()
        self._remaining -= 1
        try:
            return entries.unpack(self._memory.read_physical(table, PAGE_SIZE))
        except Unreadable:
            return ()

    def _add(self, linear: int, gpa: int, length: int) -> None:
        """A page; it may continue the mapping before it."""
        if self.found:
            before = self.found[-1]
            if before.linear + before.length == linear and before.gpa + before.length == gpa:
                self.found[-1] = Mapping(before.linear, before.gpa, before.length + length)
                return
        self.found.append(Mapping(linear, gpa, length))
