"""The memory of a machine that goes on where another was: its pages are the other's, until they are touched.

A page that is Present in the guest's eyes need not be mapped: it is copied from the other machine when the guest, a device or the
hypervisor first touches it, and nobody but this module notices. What the guest writes is known, page by page, so that it can be
taken out, and the memory lent to the next.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from kev.addressing import PAGE_MASK, PAGE_SIZE
from kev.exits import Access, EptViolation
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState, SavedStates, state_in, with_present
from kev.pager.write_tracker import Cpu, MemoryPoint, ProtectedTable, WriteTracker

_ZEROS: Final = bytes(PAGE_SIZE)


class Contents(NamedTuple):
    """All that a guest's memory holds, by what it is made of."""

    point: MemoryPoint
    """Of another machine: what all pages hold that are not among `own`."""
    own: Mapping[int, bytes]
    """Pages that were written since, by address."""
    states: SavedStates
    statistics: tuple[int, ...]


class BorrowedMemory(WriteTracker):
    """The memory of a machine that holds now this guest's, now that one's. All of them come from points of one other machine."""

    __slots__ = ("_held", "_lender", "_local")

    def __init__(self, pager: KernelVmPager, table: ProtectedTable, cpu: Cpu, lender: WriteTracker) -> None:
        """Of a machine that was built as that of `lender`, and has not run."""
        super().__init__(pager, table, cpu)
        pager.put_off_mapping(table.map_protected_page, self._borrow_if_absent)
        self._lender: Final = lender
        self._held: Contents | None = None
        self._local: Final = self.take()

    @property
    def point(self) -> MemoryPoint | None:
        """The point of the other machine that its pages come from."""
        return None if self._held is None else self._held.point

    def load(self, contents: Contents) -> None:
        """Lets memory hold `contents`. Cost: the pages that the guest before has written, and those that differ otherwise."""
        self.restore(self._local)
        pager, view = self._pager, self._pager.memory.view
        frames = []
        for page in self._differing(contents):
            if not self._table.unmap_page(page):
                continue
            self._local.originals.pop(page, None)
            frame = pager.frames.assign(page)
            frames.append(frame)
            if state_in(contents.states, page) is not PageState.PRESENT:
                view[frame : frame + PAGE_SIZE] = _ZEROS
        pager.go_on_from(contents.states, contents.statistics)
        self._local.states = contents.states
        self._held = contents
        self._cpu.refilled(frames)

    def contents(self) -> Contents:
        """What memory holds now. Of the pages that were loaded meanwhile, those that were not written are Absent."""
        held = self._held
        assert held is not None
        own = dict(held.own)
        for page, original in self._local.originals.items():
            data = bytes(self._frame(page))
            if data != original:
                own[page] = data
        own.update((page, bytes(self._frame(page))) for page in self.written)
        statistics = self._pager.statistics.save()
        return Contents(held.point, own, with_present(held.states, self.written), statistics)

    def answer(self, violation: EptViolation) -> bool:
        borrowed = self._borrow_if_absent(violation.gpa & ~PAGE_MASK)
        return (super().answer(violation) or borrowed) if violation.access & Access.WRITE else borrowed

    def _differing(self, contents: Contents) -> set[int]:
        """The pages that may hold something else with `contents` than they hold now."""
        pager, held = self._pager, self._held
        pages = set(pager.pages.differing(contents.states))
        if held is None:
            pages.update(page for run in pager.pages.runs(PageState.PRESENT) for page in run if not pager.is_mmio_page(page))
        elif held is not contents:
            pages |= held.own.keys() | contents.own.keys()
            if held.point is not contents.point:
                pages |= self._lender.written_between(held.point, contents.point)
        return pages

    def _borrow_if_absent(self, page: int) -> bool:
        """Maps a page that is Present in the guest's eyes only; False if there is nothing to do."""
        pager, held = self._pager, self._held
        if held is None or pager.pages[page] is not PageState.PRESENT or self._table.translate(page) is not None:
            return False
        own = held.own.get(page)
        frame = pager.frames.assign(page)
        pager.memory.view[frame : frame + PAGE_SIZE] = self._lender.page_at(held.point, page) if own is None else own
        self._table.map_protected_page(page, frame)
        return True
