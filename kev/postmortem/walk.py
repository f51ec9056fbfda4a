"""How a vCPU translates one address: its walk of the guest's page tables, entry by entry, and the page it comes to."""

from typing import Any, Final

import attrs

from kev import x86
from kev.addressing import Gpa
from kev.exits import Access, GuestException
from kev.page_tables.guest import GuestFault, PagingRegisters, translate
from kev.pager.kernel import KernelVmPager
from kev.postmortem.loaded_memory import LoadedMemory, Unreadable
from kev.postmortem.page_state import DeviceAt, PageDescription, describe_page

_FOUR_LEVELS: Final = ("PML4E", "PDPTE", "PDE", "PTE")
_PAE: Final = ("PDPTE", "PDE", "PTE")
_TWO_LEVELS: Final = ("PDE", "PTE")
_FLAGS: Final = ((0, "P"), (1, "W"), (2, "U"), (3, "PWT"), (4, "PCD"), (5, "A"), (6, "D"), (8, "G"), (63, "NX"))
_PAGE_SIZE_BIT: Final = 1 << 7
_PRESENT: Final = 1
_WRITABLE: Final = 2
_USER: Final = 4
_NO_EXECUTE: Final = 1 << 63


@attrs.frozen(slots=True, kw_only=True)
class Entry:
    """One entry of the guest's tables."""

    level: str
    """PML4E, PDPTE, PDE or PTE."""
    gpa: int
    """Where it lies."""
    size: int
    """4 or 8 bytes."""
    value: int

    @property
    def flags(self) -> str:
        """Those that are set, by Intel's names."""
        names = [name for bit, name in _FLAGS if self.value >> bit & 1]
        if self.value & _PAGE_SIZE_BIT and self.level != "PTE":
            names.append("PS")
        return " ".join(names) or "not present"

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"level": self.level, "gpa": self.gpa, "value": self.value, "flags": self.flags}


@attrs.frozen(slots=True, kw_only=True)
class Walk:
    """The way of an address through the guest's page tables."""

    linear: int
    mode: str
    """no paging, 32-bit, PAE or 4-level."""
    entries: tuple[Entry, ...]
    """As far as the walk went, the highest level first."""
    gpa: int | None
    """Where it leads; None if it stops before."""
    stopped: str | None
    """Why the access is not possible, as far as the guest is concerned; None if it is."""
    page: PageDescription | None
    """The page it leads to, or of the table that could not be read; None if there is neither."""

    def as_text(self) -> list[str]:
        """A line for each entry, and what comes of it."""
        lines = [f"{self.linear:#x} by {self.mode} paging" if self.mode != "no paging" else f"{self.linear:#x}: paging is off"]
        lines += [
            f"{entry.level:>5} at {entry.gpa:#x}: {entry.value:#0{2 * entry.size + 2}x} {entry.flags}" for entry in self.entries
        ]
        if self.stopped is not None:
            lines.append(self.stopped)
        if self.page is not None:
            lines.append(f"gpa {self.gpa:#x}, {self.page}" if self.gpa is not None else str(self.page))
        return lines

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "linear": self.linear,
            "mode": self.mode,
            "entries": [entry.as_dict() for entry in self.entries],
            "gpa": self.gpa,
            "stopped": self.stopped,
            "page": None if self.page is None else self.page.as_dict(),
        }


def walk(
    pager: KernelVmPager,
    registers: PagingRegisters,
    linear: int,
    access: Access | None = None,
    *,
    user: bool = False,
    device_at: DeviceAt | None = None,
) -> Walk:
    """Follows a linear address. With an `access` (made at CPL 3 if `user`) it also stops where that is not allowed."""
    mode, levels = paging_mode(registers)
    memory = LoadedMemory(pager)
    entries: list[Entry] = []
    table: int | None = None

    def read(gpa: int, size: int) -> int:
        nonlocal table
        table = gpa
        value = memory.read_entry(gpa, size)
        entries.append(Entry(level=levels[len(entries)], gpa=gpa, size=size, value=value))
        return value

    gpa: Gpa | None = None
    stopped, page = None, None
    try:
        gpa = translate(read, registers, linear)
        translate(memory.read_entry, registers, linear, access, user=user)
    except GuestFault as fault:
        if gpa is None:
            stopped = _why_it_stops(entries, fault.exception)
        else:
            # A page-directory-pointer entry of PAE paging has no rights.
            stopped = _why_not_allowed(entries[mode == "PAE" :], access, user)
    except Unreadable:
        assert table is not None
        stopped = f"the {levels[len(entries)]} at {table:#x} cannot be read"
        page = describe_page(pager, table, device_at)
    if gpa is not None:
        page = describe_page(pager, gpa, device_at)
    return Walk(linear=linear, mode=mode, entries=tuple(entries), gpa=gpa, stopped=stopped, page=page)


def paging_mode(registers: PagingRegisters) -> tuple[str, tuple[str, ...]]:
    """The paging mode, and the names of the entries of each level."""
    if not registers.cr0 & x86.CR0_PG:
        return "no paging", ()
    if registers.efer & x86.EFER_LMA:
        return "4-level", _FOUR_LEVELS
    return ("PAE", _PAE) if registers.cr4 & x86.CR4_PAE else ("32-bit", _TWO_LEVELS)


def _why_it_stops(entries: list[Entry], exception: GuestException) -> str:
    if exception.vector != x86.PAGE_FAULT or not entries:
        return "the address is not canonical"
    last = entries[-1]
    return f"the {last.level} {'sets reserved bits' if last.value & _PRESENT else 'is not present'}"


def _why_not_allowed(entries: list[Entry], access: Access | None, user: bool) -> str:
    for entry in entries:
        if user and not entry.value & _USER:
            return f"the {entry.level} does not allow CPL 3"
        if access is Access.WRITE and not entry.value & _WRITABLE:
            return f"the {entry.level} does not allow writes"
        if access is Access.EXECUTE and entry.value & _NO_EXECUTE:
            return f"the {entry.level} does not allow execution"
    return "the access is not allowed (SMEP or SMAP)"
