"""What every page holds at the moment, for a snapshot of it: which pages differ from what they would be filled with again."""

from collections.abc import Awaitable, Iterator
from typing import Final, NamedTuple

from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Gpa
from kev.errors import KevError
from kev.pager.frames import SLAB_PAGES, SLAB_SHIFT
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState
from kev.pager.saved import SavedMemory, runs_of
from kev.pager.source import AsynchronousSource, SourceError


class SurveyedPage(NamedTuple):
    """One page that a snapshot has to say something of."""

    number: int
    """In its chunk: 0 to 511."""
    contents: bytes
    by_reference: bool
    """What lies beneath the snapshot holds the same."""


class Survey:
    """The pages of a machine that stands still. Nothing of it changes: pages that have to be looked at are not loaded."""

    def __init__(self, pager: KernelVmPager, parent: SavedMemory | None = None) -> None:
        """`parent`: a snapshot that lies beneath the one that is made, in front of what the image holds."""
        self._pager: Final = pager
        self._parent: Final = parent
        self._beneath: Final = pager.loaders if parent is None else _Beneath(parent, pager)
        self._present: Final[dict[int, int]] = {}
        for run in pager.pages.runs(PageState.PRESENT):
            for page in run:
                if not pager.is_mmio_page(page):
                    self._present[page >> SLAB_SHIFT] = self._present.get(page >> SLAB_SHIFT, 0) | _bit(page)
        self._own: Final[dict[int, int]] = {}
        for page in pager.loaders.own_pages:
            self._own[page >> SLAB_SHIFT] = self._own.get(page >> SLAB_SHIFT, 0) | _bit(page)

    def chunks(self) -> list[int]:
        """The chunks of 2 MiB, by number and ascending, that there is something to say of."""
        chunks = self._present.keys() | self._own.keys()
        for other in self._others():
            chunks = chunks | set(other.chunks())
        return sorted(chunks)

    async def pages(self, chunk: int) -> list[SurveyedPage]:
        """The pages of a chunk: those that are Present, those with a loader of their own, and those that a snapshot has.

        Waits for nothing where no source does. KevError if a page that is not Present cannot be read.
        """
        present, own = self._present.get(chunk, 0), self._own.get(chunk, 0)
        wanted = present | own
        for other in self._others():
            wanted |= await other.present(chunk)
        return [page for run in runs_of(chunk, wanted) for page in await self._survey(run, present, own)]

    def _others(self) -> Iterator[SavedMemory]:
        """The snapshots whose pages may be other than those of the parent, though nobody has touched them here."""
        saved, parent = self._pager.saved, self._parent
        if saved is not None and parent is not None and saved.id == parent.id:
            return
        if saved is not None:
            yield saved
        if parent is not None:
            yield parent

    async def _survey(self, run: range, present: int, own: int) -> list[SurveyedPage]:
        here = await self._read_here(run, present)
        beneath = await self._read_beneath(run)
        surveyed = []
        for page in run:
            offset = page - run.start
            contents = here[offset : offset + PAGE_SIZE]
            if own & _bit(page):
                same = False
            elif beneath is not None:
                same = contents == beneath[offset : offset + PAGE_SIZE]
            else:
                same = self._is_as_loaded(page, contents)
            surveyed.append(SurveyedPage((page >> PAGE_SHIFT) % SLAB_PAGES, contents, same))
        return surveyed

    async def _read_here(self, run: range, present: int) -> bytes:
        """What the pages of `run` hold. SourceError if a loader fails."""
        pager, frame = self._pager, bytearray(len(run) * PAGE_SIZE)
        view, page = memoryview(frame), run.start
        while page < run.stop:
            offset, end = page - run.start, page + PAGE_SIZE
            if present & _bit(page):
                hpa = pager.gpa2hpa(Gpa(page))
                assert hpa is not None
                view[offset : offset + PAGE_SIZE] = pager.memory.page(hpa)
            else:
                extent = pager.loaders.extent(page)
                while end < min(run.stop, extent.stop) and not present & _bit(end):
                    end += PAGE_SIZE
                await self._fill(page, view[offset : end - run.start])
            page = end
        return bytes(frame)

    async def _fill(self, page: int, frame: memoryview) -> None:
        backing = self._pager.loaders.find(page)
        filled = backing is not None and backing.fill(page, frame)
        if not (filled if isinstance(filled, bool) else await filled):
            raise SourceError(f"page {page:#x} cannot be read: its loader failed")

    async def _read_beneath(self, run: range) -> bytes | None:
        """What lies beneath; None if that cannot be read, or takes waiting that can be spared."""
        if self._parent is None and isinstance(self._pager.source, AsynchronousSource):
            return None
        frame = bytearray(len(run) * PAGE_SIZE)
        try:
            filled = self._beneath.fill(run.start, memoryview(frame))
            if not isinstance(filled, bool):
                filled = await filled
        except KevError:
            return None
        return bytes(frame) if filled else None

    def _is_as_loaded(self, page: int, contents: bytes) -> bool:
        """Whether it was loaded from what lies beneath, and has not been changed since."""
        pager = self._pager
        return self._parent is None and pager.saved is None and bool(pager.originals.is_as_noted(page, memoryview(contents)))


class _Beneath:
    """A snapshot in front of an image."""

    def __init__(self, parent: SavedMemory, pager: KernelVmPager) -> None:
        self._parent: Final = parent
        self._image: Final = pager.loaders

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        if self._parent.holds(page >> SLAB_SHIFT):
            return self._parent.fill(page, frame, self._image)
        return self._image.fill(page, frame)


def _bit(page: int) -> int:
    return 1 << (page >> PAGE_SHIFT) % SLAB_PAGES
