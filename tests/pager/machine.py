"""A pager over real memory and a real page table, and what a test wants to know of it."""

from collections.abc import Callable, Sequence

from kev.addressing import KIB, MIB, PAGE_SIZE, Gpa, Gva
from kev.exits import Access, EptViolation
from kev.host_memory import HostMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.format import EntryFormat
from kev.page_tables.mapping import Permissions
from kev.page_tables.table import PageTable
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager, trio_rendezvous
from kev.pager.protocols import Rendezvous
from tests.pager.sources import BytesSource

FILE = bytes(index * 11 + index // 256 & 0xFF for index in range(8 * PAGE_SIZE))
TEXT = Segment(Gpa(0x100000), Gva(0x100000), 0, 0x2800, 0x2800, 5)
DATA = Segment(Gpa(0x102800), Gva(0x102800), 0x4000, 0x1000, 0x5000, 6)
RAM_KIB = 4 * MIB // KIB


def build_pager(
    segments: Sequence[Segment] = (TEXT, DATA),
    ram_kib: int = RAM_KIB,
    *,
    source: BytesSource | None = None,
    entry_format: EntryFormat | None = None,
    memory: HostMemory | None = None,
    rendezvous: Callable[[], Rendezvous] = trio_rendezvous,
    pager_class: type[KernelVmPager] = KernelVmPager,
) -> KernelVmPager:
    image = KernelImage.from_segments(source or BytesSource(FILE), segments, segments[0].paddr, bits=64)
    memory = memory or HostMemory(64 * MIB)
    return pager_class(image, ram_kib, memory, PageTable(memory, entry_format or EptFormat()), rendezvous)


def touch(pager: KernelVmPager, gpa: int, access: Access = Access.READ) -> bool:
    return pager.try_lazy_paging(EptViolation(Gpa(gpa), access))


def permissions(pager: KernelVmPager, gpa: int) -> Permissions | None:
    """What the nested table permits, None where it maps nothing."""
    assert isinstance(pager.table, PageTable)
    mapping = pager.table.walk(gpa)
    return None if mapping is None else mapping.permissions


def guest_page(pager: KernelVmPager, gpa: int) -> memoryview:
    """The page at `gpa` as the guest sees it, through the nested table."""
    assert isinstance(pager.table, PageTable)
    hpa = pager.table.translate(gpa)
    assert hpa is not None
    return pager.memory.page(hpa)
