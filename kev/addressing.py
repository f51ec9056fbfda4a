"""Addresses and page arithmetic.

The three address spaces of a virtual machine (Intel SDM vol. 3, "Extended page-table mechanism"): guest-virtual, guest-physical
and host-physical. All are byte addresses. Nothing else in the project computes page masks.
"""

from typing import Final, NewType

Gva = NewType("Gva", int)
"""A guest-virtual (linear) address, in bytes."""
Gpa = NewType("Gpa", int)
"""A guest-physical address, in bytes."""
Hpa = NewType("Hpa", int)
"""A host-physical address, in bytes: an offset into `kev.host_memory.HostMemory`."""

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
PAGE_MASK: Final = PAGE_SIZE - 1
"""The bits of an address that are the offset into its 4 KiB page."""

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40


def page_floor(address: int) -> int:
    """The address of the page that holds `address`."""
    return address & ~PAGE_MASK


def page_ceil(address: int) -> int:
    """The first page boundary at or above `address`."""
    return (address + PAGE_MASK) & ~PAGE_MASK


def page_offset(address: int) -> int:
    """The offset of `address` into its page, in bytes."""
    return address & PAGE_MASK


def is_page_aligned(address: int) -> bool:
    return not address & PAGE_MASK


def is_canonical(gva: int) -> bool:
    """Whether bits 63-47 of a 64-bit linear address are all the same (Intel SDM vol. 1, "Canonical addressing")."""
    return not (gva + (1 << 47) & (1 << 64) - 1) >> 48
