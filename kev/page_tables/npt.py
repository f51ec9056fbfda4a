"""AMD's nested page tables: the long-mode page-table format (AMD64 APM vol. 2, "Page translation" and "Nested paging").

Every nested access counts as a user access, so every entry has the U/S bit. NX is honoured if EFER.NXE was set at VMRUN. Memory
types are those of the page-attribute table as it is after reset.
"""

from collections.abc import Iterator
from typing import ClassVar, Final

from kev.page_tables.errors import NotExpressible
from kev.page_tables.format import LARGE_PAGE, EntryFormat, bits
from kev.page_tables.mapping import MemoryType, PageSize, Permissions

_PRESENT: Final = 1 << 0
_WRITABLE: Final = 1 << 1
_USER: Final = 1 << 2
_WRITE_THROUGH: Final = 1 << 3
_CACHE_DISABLE: Final = 1 << 4
_NO_EXECUTE: Final = 1 << 63

_PERMISSION_FLAGS: Final = {
    Permissions.READ: _PRESENT | _USER | _NO_EXECUTE,
    Permissions.RW: _PRESENT | _USER | _WRITABLE | _NO_EXECUTE,
    Permissions.RX: _PRESENT | _USER,
    Permissions.RWX: _PRESENT | _USER | _WRITABLE,
}
_MEMORY_TYPE_FLAGS: Final = {
    MemoryType.WB: 0,
    MemoryType.WT: _WRITE_THROUGH,
    MemoryType.UC: _CACHE_DISABLE | _WRITE_THROUGH,
}
# By PCD and PWT; UC- differs from UC only where memory-type range registers say "write combining".
_MEMORY_TYPES: Final = (MemoryType.WB, MemoryType.WT, MemoryType.UC, MemoryType.UC)


class NptFormat(EntryFormat):
    """Entries of an AMD nested page table. A present page is readable; write and execute are bits of their own."""

    name = "NPT"
    present = _PRESENT
    table_flags = _PRESENT | _WRITABLE | _USER
    accessed_dirty = 1 << 5 | 1 << 6
    named_bits: ClassVar = {5: "accessed", 6: "dirty", 8: "global"}
    table_reserved: ClassVar = (0, 0, 0, 0, bits(8, 7))
    large_page_low_bit = 13

    def leaf_flags(self, permissions: Permissions, memory_type: MemoryType, size: PageSize) -> int:
        if permissions not in _PERMISSION_FLAGS:
            raise NotExpressible(f"NPT permissions {permissions}: a page must be readable")
        if memory_type not in _MEMORY_TYPE_FLAGS:
            raise NotExpressible(f"NPT memory type {memory_type.name}: only UC, WT and WB can be encoded")
        large = LARGE_PAGE if size > PageSize.SIZE_4K else 0
        return _PERMISSION_FLAGS[permissions] | _MEMORY_TYPE_FLAGS[memory_type] | large

    def permission_bits(self, entry: int) -> int:
        if not entry & _USER:
            return 0
        return 1 | entry & _WRITABLE | (0 if entry & _NO_EXECUTE else 4)

    def memory_type(self, leaf: int) -> MemoryType:
        return _MEMORY_TYPES[leaf >> 3 & 3]

    def misconfigurations(self, entry: int, leaf: bool) -> Iterator[str]:
        if not entry & _USER:
            yield "without U/S, every nested access faults"
