"""Any sequence of operations on a table, in both formats, against a plain record of what was done."""

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kev.addressing import GIB, MIB, PAGE_SIZE, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.audit import Kind, audit
from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import AlreadyMapped, NotPresent
from kev.page_tables.mapping import MemoryType, PageSize, Permissions
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from tests.examples import examples

TOP = (1 << 48) - 2 * GIB
# Few places, close to the borders of tables of every level, so that operations meet.
SMALL = [base + index * PAGE_SIZE for base in (0, 2 * MIB, GIB - 2 * MIB, GIB, TOP + GIB) for index in (0, 1, 511)]
PLACES = {
    PageSize.SIZE_4K: SMALL,
    PageSize.SIZE_2M: [0, 2 * MIB, GIB - 2 * MIB, GIB, TOP + GIB],
    PageSize.SIZE_1G: [0, GIB, TOP + GIB],
}
PAGES = st.sampled_from([(gpa, size) for size, places in PLACES.items() for gpa in places])
PERMISSIONS = st.sampled_from([Permissions.READ, Permissions.RW, Permissions.RX, Permissions.RWX])
MEMORY_TYPES = st.sampled_from([MemoryType.WB, MemoryType.WT, MemoryType.UC])
FRAMES = st.integers(0, 63).map(lambda index: index * GIB)


@attrs.frozen
class Page:
    """What the model knows of one mapped page, as a whole."""

    gpa: int
    hpa: int
    size: int
    permissions: Permissions
    memory_type: MemoryType
    protected: bool = False
    """It may be written but for the protection."""

    @property
    def seen(self) -> "Page":
        """What the table says of it."""
        permitted = self.permissions & ~Permissions.WRITE if self.protected else self.permissions
        return Page(self.gpa, self.hpa, self.size, permitted, self.memory_type)

    def pieces(self, size: int) -> list["Page"]:
        return [attrs.evolve(self, gpa=self.gpa + offset, hpa=self.hpa + offset, size=size) for offset in range(0, self.size, size)]


class TableMachine(RuleBasedStateMachine):
    """The model is a dict from guest-physical address to page, in which large pages are split as a table splits them."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[int, Page] = {}

    @initialize(entry_format=st.sampled_from([EptFormat(), NptFormat()]))
    def make_table(self, entry_format: EptFormat | NptFormat) -> None:
        self.memory = HostMemory(16 * MIB)
        self.table = PageTable(self.memory, entry_format)

    @rule(page=PAGES, hpa=FRAMES, permissions=PERMISSIONS, memory_type=MEMORY_TYPES)
    def map(self, page: tuple[int, PageSize], hpa: int, permissions: Permissions, memory_type: MemoryType) -> None:
        gpa, size = page
        try:
            self.table.map(Gpa(gpa), Hpa(hpa), permissions, size, memory_type)
        except AlreadyMapped:
            assert self.overlapping(gpa, size)
        else:
            assert not self.overlapping(gpa, size)
            self.pages[gpa] = Page(gpa, hpa, size, permissions, memory_type)

    @rule(gpa=st.sampled_from(SMALL), hpa=FRAMES, permissions=PERMISSIONS)
    def map_page(self, gpa: int, hpa: int, permissions: Permissions) -> None:
        try:
            self.table.map_page(gpa, hpa, permissions)
        except AlreadyMapped:
            assert self.overlapping(gpa, PAGE_SIZE)
        else:
            assert not self.overlapping(gpa, PAGE_SIZE)
            self.pages[gpa] = Page(gpa, hpa, PAGE_SIZE, permissions, MemoryType.WB)

    @rule(gpa=st.sampled_from(SMALL), hpa=FRAMES, pages=st.sampled_from([1, 2, 511, 514]), permissions=PERMISSIONS)
    def map_range(self, gpa: int, hpa: int, pages: int, permissions: Permissions) -> None:
        length = min(pages * PAGE_SIZE, (1 << 48) - gpa)
        try:
            self.table.map_range(Gpa(gpa), Hpa(hpa), length, permissions, largest=PageSize.SIZE_4K)
        except AlreadyMapped:
            assert self.overlapping(gpa, length)
        else:
            assert not self.overlapping(gpa, length)
            for piece in Page(gpa, hpa, length, permissions, MemoryType.WB).pieces(PAGE_SIZE):
                self.pages[piece.gpa] = piece

    @rule(page=PAGES)
    def unmap(self, page: tuple[int, PageSize]) -> None:
        gpa, size = page
        try:
            removed = self.table.unmap(Gpa(gpa), size)
        except NotPresent:
            assert not self.has(gpa, size)
        else:
            assert self.take(gpa, size).seen == Page(
                removed.gpa, removed.hpa, removed.size, removed.permissions, removed.memory_type
            )

    @rule(page=PAGES, permissions=PERMISSIONS)
    def protect(self, page: tuple[int, PageSize], permissions: Permissions) -> None:
        gpa, size = page
        try:
            self.table.protect(Gpa(gpa), permissions, size)
        except NotPresent:
            assert not self.has(gpa, size)
        else:
            self.pages[gpa] = attrs.evolve(self.take(gpa, size), permissions=permissions, protected=False)

    @rule(page=PAGES, hpa=FRAMES, permissions=PERMISSIONS)
    def remap(self, page: tuple[int, PageSize], hpa: int, permissions: Permissions) -> None:
        gpa, size = page
        try:
            self.table.remap(Gpa(gpa), Hpa(hpa), permissions, size)
        except NotPresent:
            assert not self.has(gpa, size)
        else:
            self.take(gpa, size)
            self.pages[gpa] = Page(gpa, hpa, size, permissions, MemoryType.WB)

    @rule(gpa=st.sampled_from(SMALL), hpa=FRAMES)
    def map_protected_page(self, gpa: int, hpa: int) -> None:
        try:
            self.table.map_protected_page(gpa, hpa)
        except AlreadyMapped:
            assert self.overlapping(gpa, PAGE_SIZE)
        else:
            assert not self.overlapping(gpa, PAGE_SIZE)
            self.pages[gpa] = Page(gpa, hpa, PAGE_SIZE, Permissions.RWX, MemoryType.WB, protected=True)

    @rule()
    def protect_writes(self) -> None:
        self.table.protect_writes()
        for gpa, page in self.pages.items():
            self.pages[gpa] = attrs.evolve(page, protected=Permissions.WRITE in page.permissions)

    @rule(gpa=st.sampled_from(SMALL))
    def permit_writes(self, gpa: int) -> None:
        page = self.holding(gpa)
        assert self.table.permit_writes(gpa + 5) == (page is not None and page.protected)
        if page is not None and page.protected:
            self.pages[gpa] = attrs.evolve(self.take(gpa, PAGE_SIZE), protected=False)

    @invariant()
    def the_table_holds_what_the_model_holds(self) -> None:
        found = [Page(each.gpa, each.hpa, each.size, each.permissions, each.memory_type) for each in self.table]
        assert found == [self.pages[gpa].seen for gpa in sorted(self.pages)]

    @invariant()
    def every_lookup_agrees(self) -> None:
        for gpa in SMALL:
            page = self.holding(gpa)
            mapping = self.table.walk(gpa + 5)
            if page is None:
                assert mapping is None
                assert self.table.translate(gpa + 5) is None
            else:
                assert mapping is not None
                assert (mapping.gpa, mapping.hpa, mapping.size) == (page.gpa, page.hpa, page.size)
                assert self.table.translate(gpa + 5) == page.hpa + gpa + 5 - page.gpa
                may_write = Permissions.WRITE in page.seen.permissions
                assert (self.table.translate(gpa + 5, Permissions.WRITE) is not None) == may_write

    @invariant()
    def the_tables_are_well_formed_and_no_more_than_needed(self) -> None:
        needed = {(level, gpa >> 3 + 9 * level + 9) for gpa, page in self.pages.items() for level in range(level_of(page), 5)}
        assert self.table.tables == len(needed | {(4, 0)})
        assert self.memory.allocated == self.table.tables * PAGE_SIZE
        assert {finding.kind for finding in audit(self.table)} <= {Kind.OVERLAP}

    @invariant()
    def runs_are_leaves_in_fewer_words(self) -> None:
        each = [
            (
                first.gpa + number * (step := 1 << 3 + 9 * first.level),
                first.entry + number * step,
                first.level,
                first.permission_bits,
            )
            for first, length in self.table.runs()
            for number in range(length)
        ]
        assert each == list(self.table.leaves())

    def holding(self, gpa: int) -> Page | None:
        for size in PageSize:
            page = self.pages.get(gpa - gpa % size)
            if page is not None and gpa < page.gpa + page.size:
                return page
        return None

    def overlapping(self, gpa: int, length: int) -> bool:
        return any(page.gpa < gpa + length and gpa < page.gpa + page.size for page in self.pages.values())

    def has(self, gpa: int, size: int) -> bool:
        page = self.holding(gpa)
        return page is not None and page.size >= size

    def take(self, gpa: int, size: int) -> Page:
        """Removes the page of `size` from the model; a larger one around it is split, one size at a time."""
        page = self.holding(gpa)
        assert page is not None
        while page.size > size:
            del self.pages[page.gpa]
            self.pages.update({piece.gpa: piece for piece in page.pieces(page.size >> 9)})
            page = self.holding(gpa)
            assert page is not None
        return self.pages.pop(gpa)


def level_of(page: Page) -> int:
    return {PageSize.SIZE_4K: 1, PageSize.SIZE_2M: 2, PageSize.SIZE_1G: 3}[PageSize(page.size)]


TestTable = pytest.mark.slow(TableMachine.TestCase)
TestTable.settings = settings(max_examples=examples(50), stateful_step_count=25)
