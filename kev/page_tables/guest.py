"""The guest's own page tables, read as its CPU would read them (Intel SDM vol. 3, chapter "Paging").

All modes of a guest: no paging, 32-bit paging with 4 MiB pages and PSE-36, PAE paging, 4-level paging with 2 MiB and 1 GiB pages.
Accessed and dirty bits are not set; protection keys and shadow stacks are not known.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from kev.addressing import Gpa, Gva, is_canonical
from kev.exits import GENERAL_PROTECTION, Access, GuestException
from kev.page_tables.format import ADDRESS_MASK, LARGE_PAGE, bits
from kev.x86 import (
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    CR4_PSE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_LMA,
    EFER_NXE,
    PAGE_FAULT,
    PAGE_FAULT_FETCH,
    PAGE_FAULT_PRESENT,
    PAGE_FAULT_RESERVED,
    PAGE_FAULT_USER,
    PAGE_FAULT_WRITE,
)

ReadEntry: TypeAlias = Callable[[int, int], int]
"""Reads one little-endian entry of guest-physical memory: `read(gpa, size)`, of 4 or 8 bytes, aligned to its size.

What it raises passes through the walk: the caller of the walk may load the page and try again.
"""


class PagingRegisters(Protocol):
    """The registers that decide how a guest-virtual address is translated. `kev.engine.base.VcpuState` has them."""

    @property
    def cr0(self) -> int: ...
    @property
    def cr3(self) -> int: ...
    @property
    def cr4(self) -> int: ...
    @property
    def efer(self) -> int: ...


class GuestFault(Exception):
    """The guest's own tables do not allow the access: the exception that its CPU would deliver."""

    def __init__(self, exception: GuestException) -> None:
        super().__init__(str(exception))
        self.exception = exception


_PRESENT: Final = 1 << 0
_WRITABLE: Final = 1 << 1
_USER: Final = 1 << 2
_NO_EXECUTE: Final = 1 << 63


_CR3_ADDRESS: Final = bits(31, 12)
_PAE_CR3_ADDRESS: Final = bits(31, 5)
_PAE_POINTER_RESERVED: Final = bits(63, 52)  # so are bits 8-5 and 2-1, but a CPU objects to those when CR3 is written, if at all
_PAE_RESERVED: Final = bits(62, 52)
_PSE_ADDRESS: Final = bits(31, 22)
_PSE36_HIGH: Final = bits(20, 13)  # address bits 39-32
_PSE36_RESERVED: Final = bits(21, 21)
_RESERVED_WITH_PS: Final = {39: LARGE_PAGE, 30: bits(29, 13), 21: bits(20, 13), 12: 0}  # bit 7 of a PTE is PAT
"""What must be 0 in an entry of 64 bits whose bit 7 is set, by the address bit at which its level's index begins."""

_WRITE: Final = Access.WRITE.value
_EXECUTE: Final = Access.EXECUTE.value

_Found: TypeAlias = tuple[int, int]  # a guest-physical address, and the R/W, U/S and XD bits of all levels together


def translate(
    read: ReadEntry,
    registers: PagingRegisters,
    gva: int,
    access: Access | None = None,
    *,
    user: bool = False,
    alignment_check: bool = False,
) -> Gpa:
    """The guest-physical address of a guest-virtual one.

    Without an `access` permissions do not count. `user`: the access is made at CPL 3. `alignment_check`: RFLAGS.AC, which lets
    a supervisor read and write user pages in spite of CR4.SMAP. GuestFault carries the page fault with its error code, or #GP for
    an address that is not canonical.
    """
    cr0 = registers.cr0
    if not cr0 & CR0_PG:
        return Gpa(gva & 0xFFFFFFFF)
    cr4, efer = registers.cr4, registers.efer
    wanted = 0 if access is None else access.value
    error_code = _error_code(wanted, user, cr4, efer)
    gpa, rights = _walk(read, registers.cr3, cr4, efer, gva, error_code)
    if wanted and not _is_allowed(rights, wanted, cr0, cr4, user, alignment_check):
        raise page_fault(gva, error_code | PAGE_FAULT_PRESENT)
    return Gpa(gpa)


def page_fault(gva: int, error_code: int) -> GuestFault:
    """#PF at a guest-virtual address."""
    return GuestFault(GuestException(PAGE_FAULT, error_code, Gva(gva)))


def _error_code(access: int, user: bool, cr4: int, efer: int) -> int:
    """What a page fault's error code says of the access itself."""
    code = PAGE_FAULT_USER if user else 0
    if access & _WRITE:
        code |= PAGE_FAULT_WRITE
    if access & _EXECUTE and (cr4 & CR4_SMEP or cr4 & CR4_PAE and efer & EFER_NXE):
        code |= PAGE_FAULT_FETCH
    return code


def _is_allowed(rights: int, access: int, cr0: int, cr4: int, user: bool, alignment_check: bool) -> bool:
    """The access rights of SDM vol. 3, "Determination of access rights"."""
    if user and not rights & _USER:
        return False
    if not user and rights & _USER and _is_user_page_barred(access, cr4, alignment_check):
        return False
    if access & _WRITE and not rights & _WRITABLE and (user or cr0 & CR0_WP):
        return False
    return not (access & _EXECUTE and rights & _NO_EXECUTE)


def _is_user_page_barred(access: int, cr4: int, alignment_check: bool) -> bool:
    """Whether a supervisor has to keep out of user pages."""
    if access & _EXECUTE:
        return bool(cr4 & CR4_SMEP)
    return bool(cr4 & CR4_SMAP) and not alignment_check


def _walk(read: ReadEntry, cr3: int, cr4: int, efer: int, gva: int, error_code: int) -> _Found:
    """Chooses the walk by the paging mode."""
    reserved = 0 if efer & EFER_NXE else _NO_EXECUTE
    if efer & EFER_LMA:
        if not is_canonical(gva):
            raise GuestFault(GENERAL_PROTECTION)
        return _walk_64_bit_entries(read, cr3 & ADDRESS_MASK, gva, (39, 30, 21, 12), reserved, error_code)
    gva &= 0xFFFFFFFF
    if cr4 & CR4_PAE:
        return _walk_pae(read, cr3, gva, reserved, error_code)
    return _walk_32_bit_entries(read, cr3, gva, cr4 & CR4_PSE, error_code)


def _walk_64_bit_entries(read: ReadEntry, table: int, gva: int, shifts: Sequence[int], reserved: int, error_code: int) -> _Found:
    """Follows entries of 64 bits. `shifts`: where the index of each level begins; `reserved`: bits that no level may set."""
    granted = _WRITABLE | _USER
    denied = 0
    for shift in shifts:
        entry = read(table | (gva >> shift & 511) << 3, 8)
        if not entry & _PRESENT:
            raise page_fault(gva, error_code)
        if entry & (reserved | _RESERVED_WITH_PS[shift] if entry & LARGE_PAGE else reserved):
            raise page_fault(gva, error_code | PAGE_FAULT_PRESENT | PAGE_FAULT_RESERVED)
        granted &= entry
        denied |= entry
        table = entry & ADDRESS_MASK
        if entry & LARGE_PAGE:
            break
    offset = (1 << shift) - 1
    return table & ~offset | gva & offset, granted | denied & _NO_EXECUTE


def _walk_pae(read: ReadEntry, cr3: int, gva: int, reserved: int, error_code: int) -> _Found:
    """PAE paging. The page-directory-pointer entry, which a CPU may have read when CR3 was written, is read now."""
    pointer = read(cr3 & _PAE_CR3_ADDRESS | gva >> 30 << 3, 8)
    if not pointer & _PRESENT:
        raise page_fault(gva, error_code)
    if pointer & _PAE_POINTER_RESERVED:
        raise page_fault(gva, error_code | PAGE_FAULT_PRESENT | PAGE_FAULT_RESERVED)
    return _walk_64_bit_entries(read, pointer & ADDRESS_MASK, gva, (21, 12), reserved | _PAE_RESERVED, error_code)


def _walk_32_bit_entries(read: ReadEntry, cr3: int, gva: int, large_pages: int, error_code: int) -> _Found:
    """32-bit paging. Nothing is execute-disabled; a 4 MiB page may lie above 4 GiB (PSE-36)."""
    directory = read(cr3 & _CR3_ADDRESS | gva >> 22 << 2, 4)
    if not directory & _PRESENT:
        raise page_fault(gva, error_code)
    if directory & LARGE_PAGE and large_pages:
        if directory & _PSE36_RESERVED:
            raise page_fault(gva, error_code | PAGE_FAULT_PRESENT | PAGE_FAULT_RESERVED)
        gpa = (directory & _PSE36_HIGH) << 19 | directory & _PSE_ADDRESS | gva & ~_PSE_ADDRESS
        return gpa, directory & (_WRITABLE | _USER)
    entry = read(directory & _CR3_ADDRESS | (gva >> 12 & 1023) << 2, 4)
    if not entry & _PRESENT:
        raise page_fault(gva, error_code)
    return entry & _CR3_ADDRESS | gva & 0xFFF, entry & directory & (_WRITABLE | _USER)
