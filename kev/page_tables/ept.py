"""Intel's extended page tables: the entry format (SDM vol. 3, "EPT translation mechanism" and "EPT misconfigurations")."""

from collections.abc import Iterator
from typing import ClassVar, Final

import attrs

from kev.page_tables.errors import Misconfigured, NotExpressible
from kev.page_tables.format import LARGE_PAGE, EntryFormat, bits
from kev.page_tables.mapping import MemoryType, PageSize, Permissions

_PERMISSIONS: Final = 7  # bits 0-2: read, write, execute
_MEMORY_TYPE_SHIFT: Final = 3
_MEMORY_TYPE: Final = 7 << _MEMORY_TYPE_SHIFT
_MEMORY_TYPES: Final = frozenset(MemoryType)


@attrs.frozen
class EptFormat(EntryFormat):
    """Entries of an EPT paging structure. Bits 0-2 permit, bits 3-5 of a leaf are its memory type."""

    name = "EPT"
    present = _PERMISSIONS
    table_flags = _PERMISSIONS
    accessed_dirty = 1 << 8 | 1 << 9
    named_bits: ClassVar = {6: "ignore PAT", 8: "accessed", 9: "dirty", 10: "user execute", 63: "suppress #VE"}
    table_reserved: ClassVar = (0, 0, bits(6, 3), bits(6, 3), bits(7, 3))
    large_page_low_bit = 12

    execute_only: bool = False
    """The CPU knows pages that can be executed and not read (IA32_VMX_EPT_VPID_CAP, bit 0)."""

    def leaf_flags(self, permissions: Permissions, memory_type: MemoryType, size: PageSize) -> int:
        for refusal in self._permission_problems(permissions):
            raise NotExpressible(f"EPT permissions {permissions}: {refusal}")
        return permissions.value | memory_type << _MEMORY_TYPE_SHIFT | (LARGE_PAGE if size > PageSize.SIZE_4K else 0)

    def permission_bits(self, entry: int) -> int:
        return entry & _PERMISSIONS

    def memory_type(self, leaf: int) -> MemoryType:
        memory_type = (leaf & _MEMORY_TYPE) >> _MEMORY_TYPE_SHIFT
        if memory_type not in _MEMORY_TYPES:
            raise Misconfigured(f"EPT entry {leaf:#x}: memory type {memory_type} is reserved")
        return MemoryType(memory_type)

    def misconfigurations(self, entry: int, leaf: bool) -> Iterator[str]:
        yield from self._permission_problems(entry & _PERMISSIONS)
        memory_type = (entry & _MEMORY_TYPE) >> _MEMORY_TYPE_SHIFT
        if leaf and memory_type not in _MEMORY_TYPES:
            yield f"memory type {memory_type} is reserved"

    def _permission_problems(self, permissions: int) -> Iterator[str]:
        if not permissions:
            yield "at least one of R, W and X is needed"
        elif not permissions & Permissions.READ:
            if permissions & Permissions.WRITE:
                yield "a writable page must be readable"
            elif not self.execute_only:
                yield "this CPU has no execute-only pages"
