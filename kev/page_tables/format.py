"""What a nested page table's entries have in common, and what a format has to say about its own.

Intel's EPT and AMD's nested tables are the same radix tree: 4 levels of 512 entries of 64 bits, a physical address in bits 12-51,
and bit 7 for a page that an upper level maps (Intel SDM vol. 3, "EPT translation mechanism"; AMD64 APM vol. 2, "Nested paging").
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Final

from kev.page_tables.mapping import MemoryType, PageSize, Permissions

LEVELS: Final = 4
ADDRESS_BITS: Final = 48
"""The width of the guest-physical addresses that 4 levels translate."""
PHYSICAL_ADDRESS_BITS: Final = 52
"""The width of the host-physical addresses that an entry holds."""
ADDRESS_MASK: Final = (1 << PHYSICAL_ADDRESS_BITS) - (1 << 12)
LARGE_PAGE: Final = 1 << 7
"""At levels 2 and 3: the entry maps a page instead of pointing to a table."""
WRITABLE: Final = 1 << 1
"""Both formats' permission to write."""
WRITE_TAKEN: Final = 1 << 11
"""An ignored bit of both formats: the entry permits writing but for a write protection (`PageTable.protect_writes`)."""
ENTRY_NAMES: Final = ("", "PTE", "PDE", "PDPTE", "PML4E")
"""What the manuals call an entry, by level."""


def level_shift(level: int) -> int:
    """The address bit at which the index into a table of `level` begins; an entry covers `1 << shift` bytes."""
    return 3 + 9 * level


def bits(high: int, low: int) -> int:
    """A mask of the bits `high` down to `low`, both included, in the manuals' order."""
    return (2 << high) - (1 << low) if high >= low else 0


def is_leaf(entry: int, level: int) -> bool:
    """Whether a present entry maps a page, rather than pointing to a table."""
    return level == 1 or (level < LEVELS and bool(entry & LARGE_PAGE))


def unprotected(entry: int) -> int:
    """An entry without the write protection that it may have."""
    return entry ^ (WRITABLE | WRITE_TAKEN) if entry & WRITE_TAKEN else entry


class EntryFormat(ABC):
    """How the entries of one kind of nested page table encode what they mean."""

    name: ClassVar[str]
    """EPT or NPT."""
    present: ClassVar[int]
    """An entry with one of these bits is present."""
    table_flags: ClassVar[int]
    """The flags of an entry that points to a table: everything is permitted, the leaf decides."""
    accessed_dirty: ClassVar[int]
    """The bits that the CPU sets on its own."""
    named_bits: ClassVar[dict[int, str]]
    """What the bits are called that say neither of these, nor permissions nor memory type, by number."""
    table_reserved: ClassVar[tuple[int, ...]]
    """The bits that must be 0 in an entry that points to a table, by level."""
    large_page_low_bit: ClassVar[int]
    """From this bit up to the page's own size, the entry of a large page must be 0."""

    @abstractmethod
    def leaf_flags(self, permissions: Permissions, memory_type: MemoryType, size: PageSize) -> int:
        """An entry that maps a page of `size`, but for its address. NotExpressible if the format has no such entry."""

    @abstractmethod
    def permission_bits(self, entry: int) -> int:
        """The permissions in a present entry, as the bits of `Permissions`."""

    @abstractmethod
    def memory_type(self, leaf: int) -> MemoryType:
        """The memory type of a leaf. Misconfigured if the format reserves that encoding."""

    @abstractmethod
    def misconfigurations(self, entry: int, leaf: bool) -> Iterator[str]:
        """Which encodings of a present entry the CPU refuses, or takes to permit nothing."""

    def other_bits(self, entry: int) -> list[str]:
        """The names of the bits that are set in a present entry, but for address, permissions, memory type and page size."""
        return [name for bit, name in self.named_bits.items() if entry >> bit & 1]

    def problems(self, entry: int, level: int) -> Iterator[str]:
        """Everything in a present entry at `level` that is not as the manual wants it."""
        leaf = is_leaf(entry, level)
        if leaf and entry & bits(level_shift(level) - 1, self.large_page_low_bit):
            yield f"its page at {entry & ADDRESS_MASK:#x} is not aligned to {PageSize(1 << level_shift(level))}"
        if not leaf and entry & self.table_reserved[level]:
            yield f"reserved bits {entry & self.table_reserved[level]:#x} are set"
        yield from self.misconfigurations(entry, leaf)
