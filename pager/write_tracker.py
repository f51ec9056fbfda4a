"""What the memory of a guest held at moments that somebody may come back to.

At such a moment everything is write-protected, which takes microseconds. The first write to a page copies it aside and permits the
writes that follow, so that a point costs what is written after it. Of several points, the newest keeps the pages: an older one has
those that were written between, and finds the others in the points that follow it.
"""

from collections.abc import Callable, Collection
from typing import Final, Protocol

from kev.addressing import PAGE_MASK, PAGE_SIZE, Gpa, Hpa
from kev.exits import Access, EptViolation
from kev.pager.errors import PagerError
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState, SavedStates, state_in

_WRITE: Final = Access.WRITE.value
_ZEROS: Final = bytes(PAGE_SIZE)


class ProtectedTable(Protocol):
    """What is asked of the nested page table: see `kev.page_tables.table.PageTable`."""

    def protect_writes(self) -> None: ...

    def permit_writes(self, gpa: int) -> bool: ...

    def translate(self, gpa: int, access: int = 0) -> Hpa | None: ...

    def map_page(self, gpa: int, hpa: int, permissions: int = ..., /) -> None: ...

    def map_protected_page(self, gpa: int, hpa: int) -> None: ...

    def unmap_page(self, gpa: int) -> bool: ...


class Cpu(Protocol):
    """What is asked of the engine: see `kev.engine.base.Engine`."""

    def answer_quietly(self, answer: Callable[[EptViolation], bool]) -> None: ...

    def forget_mappings(self) -> None: ...

    def refilled(self, frames: Collection[int]) -> None: ...


class MemoryPoint:
    """What memory held at one moment."""

    __slots__ = ("originals", "states", "statistics")

    def __init__(self, states: SavedStates, statistics: tuple[int, ...]) -> None:
        self.originals: Final[dict[int, bytes]] = {}
        """The pages that were written before the next point, as they were."""
        self.states = states
        """The states of all pages. Those that were being loaded are Absent."""
        self.statistics: Final = statistics

    def was_present(self, page: int) -> bool:
        return state_in(self.states, page) is PageState.PRESENT


class WriteTracker:
    """Keeps the points of one machine's memory. Nothing of it costs anything before the first is taken."""

    __slots__ = ("_cpu", "_pager", "_points", "_table", "written")

    def __init__(self, pager: KernelVmPager, table: ProtectedTable, cpu: Cpu) -> None:
        """Whoever writes to the guest's memory without asking `table` for the permission to write tells `before_write`."""
        self._pager: Final = pager
        self._table: Final = table
        self._cpu: Final = cpu
        self._points: Final[list[MemoryPoint]] = []
        self.written: Final[set[int]] = set()
        """Pages that were written since the newest point, and that were not there then: of those that were mapped protected."""
        pager.keep_pages()
        cpu.answer_quietly(self.answer)

    def take(self) -> MemoryPoint:
        """The point of now."""
        point = MemoryPoint(self._pager.pages.save(), self._pager.statistics.save())
        self._points.append(point)
        self.written.clear()
        self._table.protect_writes()
        self._cpu.forget_mappings()
        return point

    def release(self, point: MemoryPoint) -> None:
        """Nobody comes back to `point` any more: what older points need of it goes to the one before."""
        index = self._points.index(point)
        if index > 0:
            older = self._points[index - 1]
            for page, data in point.originals.items():
                if page not in older.originals and older.was_present(page):
                    older.originals[page] = data
        del self._points[index]

    def answer(self, violation: EptViolation) -> bool:
        """Permits the writes to a page, if a point is all that forbids them; then it keeps the page."""
        return bool(violation.access & _WRITE) and self._permit(violation.gpa & ~PAGE_MASK)

    def before_write(self, gpa: Gpa) -> None:
        """Somebody else than the guest is about to write to the page that holds `gpa`."""
        if self._table.translate(gpa, _WRITE) is None:
            self.answer(EptViolation(gpa, Access.WRITE))
            self._keep_if_read_only(gpa & ~PAGE_MASK)

    def page_at(self, point: MemoryPoint, page: int) -> bytes | memoryview:
        """What a page held that was Present at `point`. It holds until the guest runs."""
        for later in self._points[self._points.index(point) :]:
            original = later.originals.get(page)
            if original is not None:
                return original
        return self._frame(page)

    def written_between(self, one: MemoryPoint, other: MemoryPoint) -> set[int]:
        """The pages that may differ between two points."""
        first, last = sorted((self._points.index(one), self._points.index(other)))
        return set().union(*(point.originals for point in self._points[first:last]))

    def restore(self, point: MemoryPoint) -> None:
        """Makes memory what it was at `point`: pages that were loaded since are Absent. Points that were taken since stay.

        What was written since is permitted to be written again, and is restored the next time, too. Translated code stays but for
        that of pages that change. PagerError while a page is being loaded.
        """
        pager = self._pager
        pager.close()
        if pager.is_loading:
            raise PagerError(f"{pager.image.source.name}: memory cannot go back while a page is being loaded")
        newest = point is self._points[-1]
        frames = []
        view = pager.memory.view
        for page, data in (point.originals if newest else self._contents(point)).items():
            frame = self._hpa(page)
            if pager.pages[page] is PageState.ABSENT:
                self._table.unmap_page(page)  # a device may be in front of it
                self._table.map_page(page, frame)
            elif not newest:
                self._permit(page)
                self._keep_if_read_only(page)
            view[frame : frame + PAGE_SIZE] = data
            frames.append(frame)
        for page in pager.pages.differing(point.states):
            if point.was_present(page):
                continue
            if not newest:
                self._keep(page)
            frame = self._hpa(page)
            self._table.unmap_page(page)
            view[frame : frame + PAGE_SIZE] = _ZEROS
            frames.append(frame)
        pager.go_on_from(point.states, point.statistics)
        self.written.clear()
        self._cpu.refilled(frames)

    def _contents(self, point: MemoryPoint) -> dict[int, bytes]:
        """All that was written since `point`, of what was there then, as it was."""
        contents: dict[int, bytes] = {}
        for later in reversed(self._points[self._points.index(point) :]):
            contents.update(later.originals)
        return {page: data for page, data in contents.items() if point.was_present(page)}

    def _permit(self, page: int) -> bool:
        if not self._table.permit_writes(page):
            return False
        self._keep(page)
        return True

    def _keep_if_read_only(self, page: int) -> None:
        """Somebody else than the guest is about to write to a page, of which no first write by the guest will tell."""
        if self._table.translate(page, _WRITE) is None:
            self._keep(page)

    def _keep(self, page: int) -> None:
        """The page is about to change: the newest point needs it as it is."""
        if not self._points:
            return
        point = self._points[-1]
        if page in point.originals or self._pager.is_mmio_page(page):
            return
        if point.was_present(page):
            point.originals[page] = bytes(self._frame(page))
        elif self._pager.pages[page] is PageState.PRESENT:
            self.written.add(page)

    def _frame(self, page: int) -> memoryview:
        return self._pager.memory.page(Hpa(self._hpa(page)))

    def _hpa(self, page: int) -> int:
        """Also of a page that is Absent, since an older point was come back to."""
        return self._pager.gpa2hpa(Gpa(page)) or self._pager.frames.assign(page)
