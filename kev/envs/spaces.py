"""The address spaces of environments: page tables of the host's, and the EPT of a guest."""

from collections.abc import Iterator, Sequence
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa, Hpa
from kev.envs.environment import USER_TOP, MappedPage
from kev.envs.ept import (
    EPTE_FULL,
    EPTE_WRITE,
    KERNEL_BASE,
    Edition,
    ept_entry,
    ept_lookup_gpa,
    ept_map_hva2gpa,
    ept_page_insert,
    ept_page_remove,
)
from kev.envs.errors import JosError, JosFailure
from kev.envs.memory import GuestRam, Home, PhysicalMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.format import ADDRESS_MASK
from kev.page_tables.table import PageTable

_SOFTWARE_BITS: Final = 0xE00


class HostSpace:
    """The pages of an environment of the host's."""

    __slots__ = ("_memory", "_pages", "limit")

    def __init__(self, memory: PhysicalMemory) -> None:
        self.limit: Final = USER_TOP
        self._memory: Final = memory
        self._pages: Final[dict[int, MappedPage]] = {}

    def __iter__(self) -> Iterator[tuple[int, MappedPage]]:
        """What is mapped, with its address."""
        return iter(self._pages.items())

    def find(self, address: int) -> MappedPage | None:
        return self._pages.get(address)

    def entries(self) -> Iterator[tuple[int, Hpa, int]]:
        """What is mapped, to be saved: its address, the page, and the permissions."""
        for address, mapped in self._pages.items():
            yield address, mapped.page, mapped.permissions

    def begin_anew(self) -> None:
        """All memory was taken back: nothing is mapped."""
        self._pages.clear()

    def restore(self, address: int, page: Hpa, permissions: int) -> None:
        """What `entries` has given."""
        self.insert(address, page, permissions)

    def insert(self, address: int, page: Hpa, permissions: int) -> None:
        self._memory.retain(page)
        self.remove(address)
        self._pages[address] = MappedPage(page, permissions)

    def remove(self, address: int) -> None:
        mapped = self._pages.pop(address, None)
        if mapped is not None:
            self._memory.release(mapped.page)

    def allocate(self, address: int, permissions: int) -> Hpa:
        """A page of zeros, mapped at `address`: sys_page_alloc. JosFailure (E_NO_MEM)."""
        page = self._memory.allocate()
        self.insert(address, page, permissions)
        return page


class GuestSpace:
    """The guest-physical pages of a guest that the host knows of: those that were mapped for it, and those that it has sent.

    Of a guest with a machine, all RAM is there, and what the guest never showed to anybody is the machine's own affair.
    """

    __slots__ = ("_guest", "_homes", "_machine", "_memory", "_ram", "limit", "table")

    def __init__(self, memory: PhysicalMemory, guest: int, ram: Sequence[range], machine: GuestRam | None = None) -> None:
        """`guest` is the id of the environment, `machine` the memory that the guest itself sees, if it runs."""
        self._memory: Final = memory
        self._guest: Final = guest
        self._ram: Final = ram
        self._machine: Final = machine
        self._homes: Final[dict[int, Hpa]] = {}
        """The pages that the running guest sees, by address."""
        self.limit: Final = ram[-1].stop
        """Where RAM ends."""
        self.table = PageTable(memory.memory, EptFormat())
        """The guest's EPT."""

    def __iter__(self) -> Iterator[tuple[int, MappedPage]]:
        """What is mapped, with its address."""
        for gpa, entry, _, _ in self.table.leaves():
            yield gpa, _decoded(entry)

    def find(self, address: int) -> MappedPage | None:
        entry = ept_entry(self.table, address)
        if entry:
            return _decoded(entry)
        return self._shown(address) if self._machine is not None and self._is_ram(address) else None

    def insert(self, address: int, page: Hpa, permissions: int) -> None:
        """JosFailure (E_INVAL) if there is no RAM, or if the running guest sees the page elsewhere already: it has one place."""
        entry = ept_entry(self.table, address)
        before = Hpa(entry & ADDRESS_MASK) if entry else None
        if not self._is_ram(address):
            raise JosFailure(JosError.INVAL, f"gpa {address:#x} is no RAM of guest {self._guest:08x}")
        if self._machine is not None and before != page:
            self._move_in(address, page, before)
        ept_page_insert(self._memory, self.table, page, address, permissions, None)
        self._permit(address)

    def map_new(self, address: int, page: Hpa, perm: int, edition: Edition) -> None:
        """Maps a page where none is, which gives it one more reference: the end of `sys_ept_map`.

        JosFailure: E_INVAL if something is mapped; E_NO_MEM.
        """
        if edition is Edition.THESIS:
            ept_page_insert(self._memory, self.table, page, address, perm, False, edition)
        else:
            ept_map_hva2gpa(self._memory, self.table, KERNEL_BASE + page, address, perm, False, edition)
            self._memory.retain(page)
        if self._machine is not None:
            self._move_in(address, page, None)
        self._permit(address)

    def remove(self, address: int) -> None:
        if address in self._homes:
            self._leave(address)
        ept_page_remove(self._memory, self.table, address)
        self._permit(address)

    def is_read_only(self, address: int) -> bool:
        """There is a page at a page boundary, and the guest may not write to it."""
        entry = ept_entry(self.table, address)
        return bool(entry) and not entry & EPTE_WRITE

    def touch(self, *addresses: int) -> None:
        """Makes sure that the host can read and write what it shares with the running guest at once, and the pages at `addresses`.

        PageAbsent if one has to be awaited.
        """
        if self._machine is not None:
            for address in (*self._homes, *filter(self._is_ram, addresses)):
                self._machine.read(Gpa(address), 1)

    def entries(self) -> Iterator[tuple[int, Hpa, int]]:
        """What is mapped, to be saved: its address, the page, and the other bits of its entry."""
        for gpa, entry, _, _ in self.table.leaves():
            yield gpa, Hpa(entry & ADDRESS_MASK), entry & ~ADDRESS_MASK

    def begin_anew(self) -> None:
        """All memory was taken back: nothing is mapped."""
        addresses = list(self._homes)
        self._homes.clear()
        self.table = PageTable(self._memory.memory, EptFormat())
        for address in addresses:
            self._permit(address)

    def restore(self, address: int, page: Hpa, flags: int) -> None:
        """What `entries` has given. A running guest holds what the page does."""
        index = ept_lookup_gpa(self.table, address, True)
        self._memory.memory.words[index] = page | flags
        self._memory.retain(page)
        if self._machine is not None:
            self._adopt(address, page)
        self._permit(address)

    def free_tables(self) -> None:
        """Nothing is mapped any more: the tables go, too. The space is of no use then."""
        self._memory.memory.free(self.table.root)

    def _move_in(self, address: int, page: Hpa, before: Hpa | None) -> None:
        elsewhere = next((gpa for gpa, there in self._homes.items() if there == page), None)
        if elsewhere is not None:
            raise JosFailure(
                JosError.INVAL, f"gpa {address:#x}: guest {self._guest:08x} has the page at {elsewhere:#x}, and sees it there only"
            )
        self.touch(address)
        contents = self._memory.read(page)
        if before is not None:
            self._leave(address)
        assert self._machine is not None
        self._machine.write(Gpa(address), contents)
        self._adopt(address, page)

    def _shown(self, address: int) -> MappedPage:
        """A page that the guest shows to the host for the first time: it is mapped as at an EPT violation."""
        self.touch(address)
        page = self._memory.allocate()
        ept_map_hva2gpa(self._memory, self.table, KERNEL_BASE + page, address, EPTE_FULL, False)
        self._memory.retain(page)
        self._adopt(address, page)
        return MappedPage(page, EPTE_FULL)

    def _permit(self, address: int) -> None:
        """The guest sees what its EPT says: page table entries have the permission to write in the same bit."""
        if self._machine is not None:
            self._machine.permit_writes(Gpa(address), not self.is_read_only(address))

    def _adopt(self, address: int, page: Hpa) -> None:
        self._homes[address] = page
        self._memory.adopt(page, self._home(address))

    def _leave(self, address: int) -> None:
        self._memory.leave(self._homes.pop(address), self._home(address))

    def _home(self, address: int) -> Home:
        assert self._machine is not None
        return Home(self._guest, self._machine, Gpa(address))

    def _is_ram(self, address: int) -> bool:
        return any(address in region and address + PAGE_SIZE <= region.stop for region in self._ram)


def _decoded(entry: int) -> MappedPage:
    return MappedPage(Hpa(entry & ADDRESS_MASK), entry & (EPTE_FULL | _SOFTWARE_BITS))
