"""Guest memory as far as it is loaded. Looking at it loads nothing."""

from typing import Final, Protocol

from kev.addressing import PAGE_SIZE, Gpa, Hpa, page_offset
from kev.page_tables.guest import GuestFault, PagingRegisters, translate

_ADDRESS_MASK: Final = (1 << 64) - 1


class Unreadable(Exception):
    """There is nothing to read at an address: the message says why."""


class Memory(Protocol):
    """What `kev.host_memory.HostMemory` has."""

    @property
    def view(self) -> memoryview: ...


class Pages(Protocol):
    """What `kev.pager.kernel.KernelVmPager` has."""

    @property
    def memory(self) -> Memory: ...

    def gpa2hpa(self, gpa: Gpa) -> Hpa | None:
        """None unless the page is Present."""


class LoadedMemory:
    """Reads what pages hold that are Present."""

    __slots__ = ("_pages", "_view")

    def __init__(self, pages: Pages) -> None:
        self._pages: Final = pages
        self._view: Final = pages.memory.view

    def read_physical(self, gpa: int, length: int) -> bytes:
        """Bytes at a guest-physical address. Unreadable if a page of them is not Present."""
        parts = []
        while length:
            size = min(length, PAGE_SIZE - page_offset(gpa))
            hpa = self._pages.gpa2hpa(Gpa(gpa))
            if hpa is None:
                raise Unreadable(f"the page at gpa {gpa & -PAGE_SIZE:#x} is not loaded")
            parts.append(bytes(self._view[hpa : hpa + size]))
            gpa, length = gpa + size, length - size
        return b"".join(parts)

    def read(self, registers: PagingRegisters, linear: int, length: int) -> bytes:
        """Bytes at a linear address. Unreadable if the guest does not map all of them, or a page is not Present."""
        parts = []
        while length:
            size = min(length, PAGE_SIZE - page_offset(linear))
            parts.append(self.read_physical(self.translate(registers, linear), size))
            linear, length = linear + size & _ADDRESS_MASK, length - size
        return b"".join(parts)

    def read_as_far_as_possible(self, registers: PagingRegisters, linear: int, length: int) -> bytes:
        """The same up to the first page that cannot be read."""
        found = b""
        while len(found) < length:
            address = linear + len(found) & _ADDRESS_MASK
            try:
                found += self.read(registers, address, min(length - len(found), PAGE_SIZE - page_offset(address)))
            except Unreadable:
                break
        return found

    def number(self, registers: PagingRegisters, linear: int, size: int) -> int:
        """A little-endian number of `size` bytes at a linear address. Unreadable as `read`."""
        return int.from_bytes(self.read(registers, linear, size), "little")

    def translate(self, registers: PagingRegisters, linear: int) -> Gpa:
        """The guest-physical address of a linear one. Unreadable if the guest does not map it, or a table is not Present."""
        try:
            return translate(self.read_entry, registers, linear)
        except GuestFault as fault:
            raise Unreadable(f"{linear:#x} is not mapped by the guest") from fault

    def try_translate(self, registers: PagingRegisters, linear: int) -> Gpa | None:
        """The same, None where there is none."""
        try:
            return self.translate(registers, linear)
        except Unreadable:
            return None

    def read_entry(self, gpa: int, size: int) -> int:
        """A `kev.page_tables.guest.ReadEntry`. Unreadable as `read_physical`."""
        return int.from_bytes(self.read_physical(gpa, size), "little")
