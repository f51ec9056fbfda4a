"""A guest's physical memory and registers, as the walk of its page tables sees them."""

import attrs

PRESENT = 1 << 0
WRITABLE = 1 << 1
USER = 1 << 2
LARGE = 1 << 7
NO_EXECUTE = 1 << 63
RW = PRESENT | WRITABLE
RWU = PRESENT | WRITABLE | USER

PE = 1 << 0
WP = 1 << 16
PG = 1 << 31
PSE = 1 << 4
PAE = 1 << 5
SMEP = 1 << 20
SMAP = 1 << 21
LONG_MODE = 1 << 8 | 1 << 10
NXE = 1 << 11


@attrs.define
class Registers:
    cr0: int = PE | PG
    cr3: int = 0x1000
    cr4: int = 0
    efer: int = 0


def protected_mode(cr3: int = 0x1000, cr4: int = PSE, cr0: int = 0) -> Registers:
    """32-bit paging."""
    return Registers(PE | PG | cr0, cr3, cr4)


def pae(cr3: int = 0x1000, cr4: int = 0, cr0: int = 0, efer: int = NXE) -> Registers:
    return Registers(PE | PG | cr0, cr3, PAE | cr4, efer)


def long_mode(cr3: int = 0x1000, cr4: int = 0, cr0: int = 0, efer: int = NXE) -> Registers:
    """4-level paging."""
    return Registers(PE | PG | cr0, cr3, PAE | cr4, LONG_MODE | efer)


class Entries:
    """Guest-physical memory that consists of page-table entries: what is not set reads as 0."""

    def __init__(self, size: int, entries: dict[int, int] | None = None) -> None:
        self.size = size
        self.entries = entries or {}

    def __call__(self, gpa: int, size: int) -> int:
        assert size == self.size
        assert gpa % size == 0
        return self.entries.get(gpa, 0)
