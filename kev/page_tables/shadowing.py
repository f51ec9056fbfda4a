"""What translating twice costs in tables: shadow paging beside nested paging, counted on tables that are built for it.

Without nested paging, a hypervisor keeps for every page table of a guest another that leads from the same virtual addresses to
host-physical ones: its shadow. With nested paging, the guest's own tables are used as they are, and there is one more table for
each guest, from guest-physical to host-physical addresses (Intel SDM vol. 3, "The extended page table mechanism").
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from kev.addressing import GIB, MIB, PAGE_SIZE, Gva, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import PagingError
from kev.page_tables.format import ADDRESS_MASK, LEVELS
from kev.page_tables.guest import translate
from kev.page_tables.mapping import Permissions
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from kev.x86 import CR0_PE, CR0_PG, CR0_WP, CR4_PAE, EFER_LMA, EFER_LME, EFER_NXE

PROCESS: Final = Gva(4 * MIB)
"""Where the pages of a process begin."""
KERNEL: Final = Gva(0xFFFF_8000_0000_0000)
"""Where the pages of the kernel begin, which all processes of a guest share."""
MOST_PAGES: Final = 1 << 21
"""Of all processes together."""
_KERNEL_SLOT: Final = 256
"""The entry of a root whose 512 GiB hold `KERNEL`."""
_LINEAR: Final = (1 << 48) - 1
_TRIED: Final = 64
"""Pages from one that is looked up both ways to the next."""


class PopulationError(PagingError):
    """Guests that cannot be built: names the number and the limit."""


class Population(NamedTuple):
    """Guests that are alike."""

    guests: int = 10
    processes: int = 20
    """Of each guest."""
    pages: int = 256
    """Of 4 KiB, of each process."""
    kernel_pages: int = 512
    """Of each guest's kernel."""


class TableCount(NamedTuple):
    """How much there is of one kind of table."""

    trees: int
    """Page tables with a root of their own: the values that CR3 or the EPT pointer can have."""
    pages: int
    """Pages of 4 KiB that the trees consist of."""


class Counts(NamedTuple):
    """What was built, and how far it was tried."""

    guest: TableCount
    """The guests' own tables, which there are in either case."""
    shadow: TableCount
    """What the hypervisor adds without nested paging."""
    nested: TableCount
    """What it adds with nested paging."""
    shadow_reads: int
    """Entries that a walk reads at most where nothing is cached, by a shadow."""
    nested_reads: int
    """The same by the guest's table and the nested one."""
    translations: int
    """Virtual pages of which it was tried that both ways lead to the same place."""


class _Registers(NamedTuple):
    """A vCPU in 64-bit mode with one of the guest's tables."""

    cr3: int
    cr0: int = CR0_PE | CR0_PG | CR0_WP
    cr4: int = CR4_PAE
    efer: int = EFER_LME | EFER_LMA | EFER_NXE


class _Guest:
    """One guest, with its memory, tables, and what the hypervisor keeps for it both ways."""

    def __init__(self, host: HostMemory, population: Population) -> None:
        data = population.kernel_pages + population.processes * population.pages
        self._memory: Final = HostMemory((data + 8 * MIB // PAGE_SIZE + population.processes * (data // 64 + 16)) * PAGE_SIZE)
        self._host: Final = host
        kernel = self._new_table(KERNEL, population.kernel_pages)
        self.tables: Final = [self._new_table(PROCESS, population.pages, kernel) for _ in range(population.processes)]
        self.nested: Final = PageTable(host, EptFormat())
        for gpa in range(PAGE_SIZE, PAGE_SIZE + self._memory.allocated, PAGE_SIZE):
            self.nested.map_page(gpa, host.allocate())
        kernel_shadow = self._shadow_of(kernel)
        self.shadows: Final = [self._shadow_of(table, kernel_shadow) for table in self.tables]
        self.shared_pages: Final = kernel.tables - 1, kernel_shadow.tables - 1

    def _new_table(self, start: Gva, pages: int, kernel: PageTable | None = None) -> PageTable:
        """One of the guest's: its addresses are the guest's physical ones. 64-bit paging has the format of AMD's nested tables."""
        table = PageTable(self._memory, NptFormat())
        for gva in range(start, start + pages * PAGE_SIZE, PAGE_SIZE):
            table.map_page(gva & _LINEAR, self._memory.allocate())
        if kernel is not None:
            _share_kernel(table, kernel)
        return table

    def _shadow_of(self, table: PageTable, kernel: PageTable | None = None) -> PageTable:
        shadow = PageTable(self._host, NptFormat())
        for gva, entry, _, _ in table.leaves(0, KERNEL & _LINEAR if kernel is not None else 1 << 48):
            hpa = self.nested.translate(entry & ADDRESS_MASK)
            assert hpa is not None
            shadow.map_page(gva, hpa, Permissions.RWX)
        if kernel is not None:
            _share_kernel(shadow, kernel)
        return shadow

    def walk(self, process: int, gva: Gva) -> tuple[Hpa | None, int]:
        """Where the guest's table and the nested one lead, and how many entries were read on the way."""
        reads = 0

        def nested(gpa: int) -> Hpa | None:
            nonlocal reads
            reads += LEVELS
            return self.nested.translate(gpa)

        def read(gpa: int, size: int) -> int:
            nonlocal reads
            assert nested(gpa) is not None
            reads += 1
            return int.from_bytes(self._memory.view[gpa : gpa + size], "little")

        return nested(translate(read, _Registers(self.tables[process].root), gva)), reads


def _share_kernel(table: PageTable, kernel: PageTable) -> None:
    words = table.memory.words
    words[(table.root >> 3) + _KERNEL_SLOT] = words[(kernel.root >> 3) + _KERNEL_SLOT]


def count_tables(population: Population) -> Counts:
    """Builds all tables of these guests, and tries translations of all processes both ways. PopulationError for too many."""
    for name, number in population._asdict().items():
        if number < 1:
            raise PopulationError(f"{name}: {number}: it must be 1 or more")
    pages = population.guests * (population.kernel_pages + population.processes * population.pages)
    if pages > MOST_PAGES or population.guests * population.processes > MOST_PAGES >> 4:
        raise PopulationError(f"{pages:,} pages of {population.guests:,} guests are too many to build: the most are {MOST_PAGES:,}")
    host = HostMemory(64 * GIB)
    guests = [_Guest(host, population) for _ in range(population.guests)]
    reads = [_compare(guest, process, gva) for guest in guests for process, gva in _places(population)]
    return Counts(
        guest=_count([table for guest in guests for table in guest.tables], sum(guest.shared_pages[0] for guest in guests)),
        shadow=_count([table for guest in guests for table in guest.shadows], sum(guest.shared_pages[1] for guest in guests)),
        nested=_count([guest.nested for guest in guests], 0),
        shadow_reads=LEVELS,
        nested_reads=max(reads),
        translations=len(reads),
    )


def _places(population: Population) -> Iterator[tuple[int, Gva]]:
    for process in range(population.processes):
        for start, pages in ((PROCESS, population.pages), (KERNEL, population.kernel_pages)):
            for number in range(0, pages, _TRIED):
                yield process, Gva(start + number * PAGE_SIZE)


def _compare(guest: _Guest, process: int, gva: Gva) -> int:
    """How many entries the nested walk has read."""
    found, reads = guest.walk(process, gva)
    assert found == guest.shadows[process].translate(gva & _LINEAR), f"gva {gva:#x}: the tables disagree"
    return reads


def _count(tables: list[PageTable], shared_pages: int) -> TableCount:
    return TableCount(len(tables), sum(table.tables for table in tables) + shared_pages)
