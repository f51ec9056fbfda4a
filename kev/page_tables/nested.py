"""From guest-virtual to host-physical: the guest's own tables, and every access to them, through the nested one."""

from kev.addressing import Gpa, Hpa
from kev.exits import Access, EptViolation
from kev.page_tables.errors import PagingError
from kev.page_tables.guest import PagingRegisters, ReadEntry, translate
from kev.page_tables.table import PageTable


class NestedViolation(Exception):
    """A walk met a guest-physical page that is not mapped, or not for this access. Load the page and try again."""

    def __init__(self, violation: EptViolation) -> None:
        super().__init__(str(violation))
        self.violation = violation


class TableInDevice(PagingError):
    """A guest keeps a page table where a device answers, not memory."""

    def __init__(self, gpa: Gpa) -> None:
        super().__init__(f"the guest's page-table entry at guest-physical {gpa:#x} lies in a device, not in memory")


def gpa2hpa(table: PageTable, gpa: int, access: Access | None = None) -> Hpa:
    """Where a guest-physical address lies. NestedViolation if it is not mapped, or not for `access`."""
    hpa = table.translate(gpa, 0 if access is None else access.value)
    if hpa is None:
        present = table.walk(gpa) is not None
        raise NestedViolation(EptViolation(Gpa(gpa), access or Access.READ, present))
    return hpa


def gva2hpa(
    table: PageTable,
    registers: PagingRegisters,
    gva: int,
    access: Access | None = None,
    *,
    user: bool = False,
    alignment_check: bool = False,
) -> Hpa:
    """Where a guest-virtual address lies in host-physical memory. Without an `access` permissions do not count.

    GuestFault by the guest's own tables (`kev.page_tables.guest.translate` describes the parameters); NestedViolation for the first
    guest-physical page that is missing, be it one of the guest's tables or the page itself.
    """
    gpa = translate(entry_reader(table), registers, gva, access, user=user, alignment_check=alignment_check)
    return gpa2hpa(table, gpa, access)


def entry_reader(table: PageTable) -> ReadEntry:
    """Reads the guest's page-table entries through the nested table. NestedViolation where a page is missing."""
    words = table.memory.words
    size_of_memory = table.memory.size

    def read(gpa: int, size: int) -> int:
        hpa = table.translate(gpa, Access.READ.value)
        if hpa is None:
            hpa = gpa2hpa(table, gpa, Access.READ)
        if hpa >= size_of_memory:
            raise TableInDevice(Gpa(gpa))
        word = words[hpa >> 3]
        return word if size == 8 else word >> ((hpa & 4) << 3) & 0xFFFFFFFF

    return read
