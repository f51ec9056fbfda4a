"""The pager of a guest kernel: loads every page when it is first touched, exactly once.

`try_lazy_paging` is the way of almost every violation: the loader is synchronous, and the page is filled and mapped before the
function returns. Where somebody has to wait, for a slow source or for another vCPU's load, `load_page` does.

Pages in a row that come from one place can be loaded at once (`read_ahead`, `load_range`); each goes through the same states.

A page is claimed, filled, published and those who waited are woken, in this order; `kev.pager.pages` keeps it. No lock is held
while a loader runs: a loader may load other pages. All vCPUs of a VM are tasks of one thread, so that what happens between two
awaits happens at once; there is none between finding a page Absent and claiming it, nor between mapping it and calling it Present,
nor between finding a load unfinished and waiting for it.
"""

import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Final, Literal, Self

from kev.addressing import MIB, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Gpa, Gva, Hpa, is_page_aligned
from kev.errors import KevError
from kev.exits import Access, EptViolation
from kev.host_memory import HostMemory
from kev.page_tables.guest import PagingRegisters, translate
from kev.page_tables.mapping import Permissions
from kev.pager.backing import Backing, FilePages, PageLoader, Zeros
from kev.pager.errors import NoSuchPage, PageLimitReached, PageLoadError, PagerError, ReadOnlyPage, Violation
from kev.pager.frames import SLAB_SHIFT, SLAB_SIZE, FrameMap
from kev.pager.image import KernelImage, Segment
from kev.pager.loaders import LoaderMap, contents
from kev.pager.memory_region import MemoryRegion
from kev.pager.observers import Observers
from kev.pager.originals import Originals
from kev.pager.pages import PageEvent, PageState, PageStates, SavedStates
from kev.pager.protocols import AlikePages, LoadObserver, NestedTable, PageFiller, Point, ReadAhead, Rendezvous, SchedulingPoints
from kev.pager.ram import ram_regions
from kev.pager.source import AsynchronousSource, PageSource, SourceInFile, SynchronousSource
from kev.pager.statistics import PagerStatistics
from kev.pager.unawaited import close_unawaited
from kev.subscribers import Subscribers

if TYPE_CHECKING:
    from kev.pager.saved import SavedMemory

MBI_GPA: Final = Gpa(0)
"""Where KeOS looks for the Multiboot2 information."""
_PAGE: Final = ~PAGE_MASK
_ABSENT: Final = PageState.ABSENT
_PRESENT: Final = PageState.PRESENT
_CLAIM: Final = PageEvent.CLAIM
_PUBLISH: Final = PageEvent.PUBLISH
_LOCK: Final = Point.LOCK
_FILLING: Final = Point.FILL
_PUBLISHING: Final = Point.PUBLISH
_WAKING: Final = Point.WAKE
_RWX: Final = Permissions.RWX.value
_RX: Final = Permissions.RX.value
_WRITE: Final = Access.WRITE.value
_NEIGHBOURS: Final = 5 * SLAB_SIZE
"""Bytes to the first 2 MiB that make no difference to those that a guest comes to."""
_NO_STATISTICS: Final = PagerStatistics().save()


class Load:
    """A load that somebody waits for or may come to wait for: of `count` pages from `page` on, that are filled at once."""

    __slots__ = ("backing", "count", "error", "finished", "page", "pages", "pending", "rendezvous", "taken")

    def __init__(self, page: int, count: int, backing: Backing, pages: range, pending: Awaitable[bool] | None = None) -> None:
        """`pages` are the pages' addresses."""
        self.page: Final = page
        self.count: Final = count
        self.backing: Final = backing
        self.pages: Final = pages
        self.pending = pending
        """The loader was started by the synchronous short cut and has to be awaited; the first who comes does it."""
        self.taken = False
        """Somebody carries it out."""
        self.finished = False
        self.error: Exception | None = None
        """What it failed with: everyone who waited for the page gets it. Of several pages, none need be to blame."""
        self.rendezvous: Rendezvous | None = None
        """Made by the first who waits."""


class _Nowhere:
    """An awaitable that never suspends."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_NOWHERE: Final = _Nowhere()


def _nothing_is_put_off(_page: int) -> None:
    """Pages are mapped when they are Present."""


def trio_rendezvous() -> Rendezvous:
    import trio

    return trio.Event()


class KernelVmPager:
    """The pages of one VM: which there are, what fills them, where they lie and whether they are there."""

    def __init__(
        self,
        image: KernelImage,
        ram_kib: int,
        memory: HostMemory,
        table: NestedTable,
        rendezvous: Callable[[], Rendezvous] = trio_rendezvous,
        source: PageSource | None = None,
    ) -> None:
        """Registers the image's segments and `ram_kib` KiB of RAM around them. RamError if they do not fit.

        `rendezvous` makes what those who wait for a load wait at. The pages are read from `source`, by default the image's own.
        """
        self.image: Final = image
        self.source: Final = image.source if source is None else source
        self._source_waits: Final = isinstance(self.source, AsynchronousSource)
        self.memory: Final = memory
        self.table: Final = table
        self.ram: Final = ram_regions(ram_kib, image.end_in_ram)
        """The guest-physical addresses of RAM."""
        self.loaders: Final = LoaderMap()
        self.saved: SavedMemory | None = None
        """The snapshot that this goes on from."""
        self.pages: Final = PageStates()
        self.frames: Final = FrameMap(memory)
        self._statistics: Final = PagerStatistics()
        self._filler: PageFiller | None = None
        self._filled = 0
        self._is_device: Callable[[range], bool]
        self._offered: Final[set[int]] = set()
        """The slabs, by number, of which pages were offered to `_filler`."""
        self.unmapped: Final[Subscribers[[Gpa]]] = Subscribers()
        """Told of every page that was unmapped, before its contents are looked at: the engine's `invalidate`."""
        self._limit: int | None = None
        self._claimed = 0
        self._observer: LoadObserver | None = None
        self._points: SchedulingPoints | None = None
        self._read_ahead: ReadAhead | None = None
        self._rendezvous = rendezvous
        self._loads: Final[dict[int, Load]] = {}
        self._keeps_pages = False
        self._map_protected: Callable[[int, int], None] | None = None
        self._bring: Callable[[int], object] = _nothing_is_put_off
        self._mmio_pages: Final[dict[int, Hpa]] = {}
        self.originals: Final = Originals()
        for segment in image.segments:
            self.load_phdr(segment, self.source)
        for region in self.ram:
            self.loaders.add_ram(Gpa(region.start), Gpa(region.stop))

    @classmethod
    def from_image(cls, source: SynchronousSource, ram_kib: int, memory: HostMemory, table: NestedTable) -> Self:
        """A pager for the ELF kernel in `source`. ImageError, SourceError, RamError."""
        return cls(KernelImage.from_elf(source), ram_kib, memory, table)

    @property
    def entry(self) -> Gpa:
        """The guest-physical address of the kernel's first instruction."""
        return self.image.entry

    @property
    def statistics(self) -> PagerStatistics:
        self._count_filled()
        return self._statistics

    @property
    def waits(self) -> bool:
        """Loads may have to be awaited."""
        return self._source_waits or (self.saved is not None and self.saved.waits)

    def observe(self, observer: LoadObserver) -> None:
        """Tells `observer` of every load from now on, besides those who are told already."""
        self.withdraw_offers()
        self._observer = observer if self._observer is None else Observers(self._observer, observer)

    def read_ahead_by(self, choose: ReadAhead) -> None:
        """Loads more than the page that is touched, as `choose` says. PagerError if somebody else says so already."""
        if self._read_ahead is not None:
            raise PagerError(f"{self.image.source.name}: which pages are read ahead is decided already: one policy can do so")
        self.withdraw_offers()
        self._read_ahead = choose

    def schedule_by(self, points: SchedulingPoints, rendezvous: Callable[[], Rendezvous] | None = None) -> None:
        """Lets `points` say who goes on wherever another task might as well run first, and `rendezvous` where tasks wait.

        PagerError if somebody else does so already.
        """
        if self._points is not None:
            raise PagerError(f"{self.image.source.name}: who goes on is decided already: one scheduler can do so")
        self._points = points
        self._rendezvous = rendezvous or self._rendezvous

    def limit(self, pages: int) -> None:
        """From now on, no more pages are Loading or Present at once: who needs another gets PageLimitReached."""
        self.withdraw_offers()
        self._limit = pages

    def keep_pages(self) -> None:
        """From now on no page is evicted: somebody keeps what pages held, and would have to be asked."""
        self._keeps_pages = True

    def put_off_mapping(self, map_protected: Callable[[int, int], None], bring: Callable[[int], object]) -> None:
        """Pages are mapped by `map_protected` from now on, given their guest- and host-physical addresses.

        Somebody maps pages that are Present when the guest touches them; `bring` is called for those that others ask for.
        """
        self.withdraw_offers()
        self._map_protected, self._bring = map_protected, bring

    def fill_by(self, filler: PageFiller, is_device: Callable[[range], bool]) -> None:
        """Offers pages of zeros and of files to `filler`, where nobody is told of loads.

        `is_device` says whether devices are among addresses. Whoever puts devices elsewhere calls `withdraw_offers`.
        """
        self._filler, self._is_device = filler, is_device

    @property
    def is_loading(self) -> bool:
        """A load is under way."""
        return bool(self._loads)

    def load_phdr(self, segment: Segment, source: PageSource) -> None:
        """Registers the loaders of a segment's pages. Before the guest runs: pages that are loaded already do not change."""
        self.loaders.add_segment(segment, source)

    def map_page(self, gpa: Gpa, loader: PageLoader) -> None:
        """Registers a loader for the page at `gpa`, in place of the one it has. PagerError if it is not Absent."""
        self._check_absent(gpa)
        self.withdraw_offers()
        self.loaders.replace(gpa, loader)

    def restore(self, saved: "SavedMemory") -> None:
        """From now on, every page holds what it did when it was saved; what was not is as before.

        To be called when everything else is registered: pages with loaders of their own are among those that were saved. PagerError
        if a page is not Absent; devices' pages are not counted.
        """
        for state in (PageState.LOADING, PageState.PRESENT):
            for run in self.pages.runs(state):
                for page in run:
                    if page not in self._mmio_pages:
                        self._check_absent(Gpa(page))
        self.withdraw_offers()
        self.loaders.restore(saved)
        self.saved = saved

    def is_mmio_page(self, gpa: int) -> bool:
        """Whether the page at `gpa` is one of `map_mmio_page`."""
        return gpa & _PAGE in self._mmio_pages

    async def occupied(self) -> list[range]:
        """The pages that hold more than the zeros of RAM; of a snapshot, those that were Present when it was saved."""
        if self.saved is None:
            return self.loaders.occupied()
        from kev.pager.saved import runs_of

        return [run for chunk in self.saved.chunks() for run in runs_of(chunk, await self.saved.present(chunk))]

    def map_mmio_page(self, gpa: Gpa, page: Hpa) -> None:
        """Maps a device's page for reading and executing: reads do not exit, writes raise `ReadOnlyPage` in `try_lazy_paging`.

        The page is what the guest sees at `gpa`, whatever RAM or image there may be. PagerError if `gpa` is loaded already.
        """
        self._check_absent(gpa)
        self.withdraw_offers()
        self.table.map_page(gpa, page, _RX)
        self.pages.advance(gpa, _CLAIM)
        self.pages.advance(gpa, _PUBLISH)
        self._mmio_pages[gpa] = page

    def finalize_mem(self, command_line: str = "") -> Gpa:
        """Makes page 0 the Multiboot2 information, with a map of all RAM but this page; returns where it is.

        A `command_line` follows the map. PagerError if the image itself needs page 0, or if the information does not fit into it.
        """
        if self.loaders.segments(MBI_GPA):
            raise PagerError(f"{self.image.source.name}: a segment begins in page {MBI_GPA:#x}, where the boot information goes")
        from kev.pager.mbi import MbiWriter

        below, *above = self.ram
        usable = [range(MBI_GPA + PAGE_SIZE, below.stop), *above]
        regions = [MemoryRegion(region.start, len(region)) for region in usable if region]
        writer = MbiWriter().memory_map(regions)
        information = (writer.command_line(command_line) if command_line else writer).finish()
        if len(information) > PAGE_SIZE:
            raise PagerError(
                f"the boot information has {len(information)} bytes, with a command line of {len(command_line)}; {PAGE_SIZE} fit"
            )
        self.map_page(MBI_GPA, contents(information))
        return MBI_GPA

    def try_lazy_paging(self, exit: EptViolation) -> bool:
        """Answers a violation on the spot: True if the guest can go on, False if `load_page` has to be awaited.

        A violation on a page that is Present by now needs no answer but True. NoSuchPage if there is nothing to load; ReadOnlyPage
        for a write to a page of `map_mmio_page`; else whatever the loader raised.
        """
        page = exit.gpa & _PAGE
        state = self.pages[page]
        if state is _ABSENT:
            return self._load_now(page, exit)
        return state is _PRESENT and self._answer_present(page, exit)

    def try_load_page(self, gpa: Gpa) -> bool:
        """Makes the page at `gpa` Present if that takes no waiting; False if `load_page` has to be awaited."""
        page = gpa & _PAGE
        state = self.pages[page]
        return self._load_now(page) if state is _ABSENT else state is _PRESENT

    async def load_page(self, gpa: Gpa) -> None:
        """Returns when the page at `gpa` is Present: loads it, or waits for whoever does.

        Raises what the loader raised, whoever ran it; PageLoadError if it returned False; NoSuchPage. After a failure the page is
        Absent, and the next call tries again. If the one who loads is cancelled, one of those who wait begins anew.
        """
        page, points = gpa & _PAGE, self._points
        while self.pages[page] is not _PRESENT:
            if points is not None and (turn := points(_LOCK, page)) is not None:
                await turn
            load = self._load_of(page)
            if load is None:
                return
            if load.taken:
                await self._wait(load)
                continue
            try:
                await self._carry_out(load)
                return
            except Exception:
                # Another page may be to blame: the next load is of this one alone.
                if load.count == 1:
                    raise

    async def load_range(self, start: Gpa, end: Gpa) -> None:
        """Loads the Absent pages of [start, end), both page boundaries, with as few reads as there can be.

        What others are loading, and what does not exist, is left out. Raises what the first load that failed did; of a load of
        several pages all are Absent then. Waits for nothing where no loader does.
        """
        await self._reach(Point.LOCK, start)
        for pages in self.absent_runs(start, end):
            await self._carry_out(self._begin(pages.start, len(pages)))

    def absent_runs(self, start: int, end: int) -> Iterator[range]:
        """The Absent pages of [start, end), in runs that one load each can fill. A run is looked for when it is asked for."""
        page = start
        while page < end:
            pages = self.absent_run(page, page, end)
            if pages:
                yield pages
            page = max(pages.stop, page + PAGE_SIZE)

    def absent_run(self, page: int, start: int, end: int) -> range:
        """The Absent pages of [start, end) around `page` that one load can fill; none if `page` is not Absent or does not exist."""
        extent = self.loaders.extent(page)
        return self.pages.absent_run(page, max(start, extent.start), min(end, extent.stop)) if extent else extent

    async def evict(self, gpa: Gpa) -> bool:
        """Makes the page at `gpa` Absent and returns its frame's memory; False if it is not Present, or a device's.

        If the guest changed the page, its contents are what it will be loaded from; else its loader stays. PagerError if somebody
        keeps what pages held.
        """
        page = gpa & _PAGE
        if self._keeps_pages:
            raise PagerError(f"page {page:#x} cannot be evicted: what it holds is kept for a machine that goes back")
        await self._reach(Point.LOCK, page)
        if self.pages[page] is not _PRESENT or page in self._mmio_pages:
            return False
        self.withdraw_offers()
        self._unmap(page)
        self._save_changes(page)
        self._empty_frames(page)
        self.pages.advance(page, PageEvent.EVICT)
        self._claimed -= 1
        self._statistics.evictions += 1
        return True

    def rewind(self) -> None:
        """Makes all pages Absent, as before the first load, for who runs one pager again and again; nothing was loaded so far.

        Loaders that were registered for single pages are gone. The caller empties the table and the frames, in whose memory
        everything is free again. Of loads under way nothing may be left.
        """
        self.pages.load({})
        self.loaders.drop_own()
        self.frames.clear()
        self.originals.clear()
        self._statistics.load(_NO_STATISTICS)
        self._loads.clear()
        self._claimed = 0

    def go_on_from(self, states: SavedStates, statistics: tuple[int, ...]) -> None:
        """Makes states and statistics what they were when they were saved, and with them how many pages count for the limit.

        Whatever that means for the pages themselves has been done. Of loads under way nothing may be left.
        """
        self.pages.load(states)
        self._statistics.load(statistics)
        self._claimed = self.pages.present - len(self._mmio_pages)

    def close(self) -> None:
        """Drops the loads that `try_load_page` began and nobody came to await; their pages are Absent."""
        for load in list(self._loads.values()):
            if load.pending is not None:
                close_unawaited(load.pending)
                self._retract(load.page, PageEvent.ABANDON, load.count)
                self._wake(load)

    def gpa2hpa(self, gpa: Gpa) -> Hpa | None:
        """Where a guest-physical address lies in host-physical memory; None unless its page is Present."""
        page = gpa & _PAGE
        if self.pages[page] is not _PRESENT:
            return None
        self._bring(page)
        mmio_page = self._mmio_pages.get(page)
        return self.frames.assign(gpa) if mmio_page is None else Hpa(mmio_page | gpa & PAGE_MASK)

    def gva2hpa(self, registers: PagingRegisters, gva: Gva, access: Access | None = None) -> Hpa:
        """Where a guest-virtual address lies in host-physical memory, through the guest's own page tables.

        GuestFault with the exception the guest would get; Violation if one of its tables or the page itself is not Present.
        """
        return self._present_hpa(translate(self._read_entry, registers, gva, access))

    @property
    def image_pages(self) -> int:
        """The pages that the image's segments reach into: not those of modules that a boot protocol adds."""
        loaders = LoaderMap()
        for segment in self.image.segments:
            loaders.add_segment(segment, self.image.source)
        return loaders.image_pages

    @property
    def ram_pages(self) -> int:
        return sum(map(len, self.ram)) >> PAGE_SHIFT

    def _check_absent(self, gpa: Gpa) -> None:
        if not is_page_aligned(gpa):
            raise PagerError(f"guest-physical address {gpa:#x} is not the beginning of a page of {PAGE_SIZE} bytes")
        if self.pages[gpa] is not _ABSENT:
            raise PagerError(f"page {gpa:#x} is {self.pages[gpa].name.lower()} already: what fills it cannot change")

    def _answer_present(self, page: int, exit: EptViolation) -> bool:
        if page in self._mmio_pages and exit.access & _WRITE:
            raise ReadOnlyPage(exit.gpa)
        self._statistics.spurious += 1
        return True

    def _backing(self, page: int) -> Backing:
        backing = self.loaders.find(page)
        if backing is None:
            ram = ", ".join(f"{region.start:#x}-{region.stop:#x}" for region in self.ram)
            image = f"{self.image.start:#x}-{self.image.end:#x}"
            raise NoSuchPage(f"there is no page at guest-physical address {page:#x}: RAM is {ram}, the image {image}")
        return backing

    def _load_now(self, page: int, exit: EptViolation | None = None) -> bool:
        """Loads an Absent page if its loader does not wait, else starts the loader and leaves the rest to `load_page`.

        `exit` is the guest's, if it was the guest who touched the page.
        """
        if self._read_ahead is not None:
            for pages in self._read_ahead(page):
                self._try_run(pages.start, len(pages))
            if self.pages[page] is not _ABSENT:
                return self.pages[page] is _PRESENT
        backing = self.loaders.find(page) or self._backing(page)
        hpa = self.frames.find(page)
        if self._observer is None and self._limit is None and self._map_protected is None and not self.waits:
            dense = hpa is None and self._filler is not None and exit is not None and self._is_written_through(exit)
            if dense:
                hpa = self.frames.assign(page)
            if hpa is not None:
                if self._filler is not None and page >> SLAB_SHIFT not in self._offered:
                    self._offer(self._filler, page, dense=dense)
                if type(backing) is Zeros:
                    self._map_zeros(page, hpa)
                    return True
        return self._fill_now(page, 1, backing)

    def _offer(self, filler: PageFiller, page: int, *, dense: bool) -> None:
        """Lets pages in the 2 MiB around `page` be Present when they are touched, if no device and no loader of its own is there.

        None of the lowest MiB, parts of which are no memory to some ABIs. If they are `dense`, all have the host's memory at once.
        """
        self._offered.add(page >> SLAB_SHIFT)
        start = page & -SLAB_SIZE
        offered = range(max(start, MIB), start + SLAB_SIZE)
        if self.saved is None and self._read_ahead is None and not self.loaders.has_own(offered) and not self._is_device(offered):
            alike = (_alike(backing, start, offered) for backing in self.loaders.between(offered.start, offered.stop))
            pages = [pages for pages in alike if pages is not None]
            frames = self.frames.assign(start)
            filler.offer_pages(Gpa(start), frames, pages, self.pages.states_around(page))
            if dense:
                for run in pages:
                    self.memory.populate(Hpa(frames + (run.numbers.start << PAGE_SHIFT)), len(run.numbers))

    def _is_written_through(self, exit: EptViolation) -> bool:
        """Whether the guest comes to 2 MiB with a write, with all pages of the 8 MiB below or above them Present.

        So if it does not go on writing all memory from end to end, a quarter of what it has is taken in vain.
        """
        if not int(exit.access) & _WRITE:
            return False
        present, page = self.pages.all_present_around, exit.gpa
        return present(range(page - SLAB_SIZE, page - _NEIGHBOURS, -SLAB_SIZE)) or present(
            range(page + SLAB_SIZE, page + _NEIGHBOURS, SLAB_SIZE)
        )

    def withdraw_offers(self) -> None:
        """Every page is asked for from now on, until it is offered again."""
        if self._filler is not None and self._offered:
            self._filler.withdraw_pages()
            self._offered.clear()
            self._count_filled()

    def _count_filled(self) -> None:
        if self._filler is not None:
            filled = self._filler.pages_filled()
            new, self._filled = filled - self._filled, filled
            self._statistics.loads += new
            self._claimed += new

    def _map_zeros(self, page: int, hpa: int) -> None:
        """`_fill_now` where nothing is to be filled, nothing can fail, and nobody is told: most pages of RAM come by this."""
        self.table.map_page(page, hpa, _RWX)
        self.pages.advance_to_present(page)
        self._claimed += 1
        self._statistics.loads += 1

    def _try_run(self, page: int, count: int) -> None:
        """The same for a run of Absent pages. Nobody has asked for all of them: what cannot be read stays Absent."""
        with contextlib.suppress(KevError):
            self._fill_now(page, count, self._backing(page))

    def _fill_now(self, page: int, count: int, backing: Backing) -> bool:
        self._claim(page, count)
        try:
            hpa = self.frames.assign(page)
            filled = self._start(page, hpa, count, backing)
            if filled is True:
                self._publish(page, hpa, count)
                return True
        except BaseException as error:
            if isinstance(error, KevError):
                backing.locate(page, error)
            self._retract(page, _outcome(error), count)
            raise
        self._register(Load(page, count, backing, _run(page, count), filled))
        return False

    def _load_of(self, page: int) -> Load | None:
        """The load of a page that is under way, or begins; None if the page is Present."""
        state = self.pages[page]
        if state is _ABSENT:
            return self._begin(page)
        if state is _PRESENT:
            return None
        load = self._loads.get(page)
        if load is None:
            raise PagerError(f"page {page:#x} is needed by its own loader")
        return load

    def _begin(self, page: int, count: int = 1) -> Load:
        backing = self.loaders.find(page) or self._backing(page)
        pages = _run(page, count)
        self._claim(page, count, pages)
        load = Load(page, count, backing, pages)
        self._register(load)
        return load

    def _register(self, load: Load) -> None:
        """Lets those who come to need one of its pages find a load that is under way."""
        for page in load.pages:
            self._loads[page] = load

    async def _carry_out(self, load: Load) -> None:
        page, points = load.page, self._points
        load.taken = True
        try:
            if load.pending is None and points is not None and (turn := points(_FILLING, page)) is not None:
                await turn
            hpa = self.frames.assign(page)
            filled = load.pending or self._start(page, hpa, load.count, load.backing)
            if filled is not True:
                if not await filled:
                    raise self._failed(page)
                self._remember(load.pages, hpa)
            if points is not None and (turn := points(_PUBLISHING, page)) is not None:
                await turn
            self._publish(page, hpa, load.count)
        except BaseException as error:
            # Cancellation, of whatever kind, is nobody's fault, so that those who wait do not get to see it.
            if isinstance(error, KevError):
                load.backing.locate(page, error)
            if isinstance(error, Exception) and load.count == 1:
                load.error = error
            self._retract(page, _outcome(error), load.count)
            self._wake(load)
            raise
        try:
            if points is not None and (turn := points(_WAKING, page)) is not None:
                await turn
        finally:
            self._wake(load)

    def _claim(self, page: int, count: int = 1, pages: range | None = None) -> None:
        """`pages` are the pages' addresses, for who has them at hand."""
        claimed = self._claimed + count
        if self._limit is not None and claimed > self._limit:
            raise PageLimitReached(f"{claimed:,} pages are needed, with that at {page:#x}: the limit is {self._limit:,}")
        self._claimed = claimed
        if count == 1:
            self.pages.advance(page, _CLAIM)
        else:
            self.pages.advance_run(page, count, _CLAIM)
        if self._observer is not None:
            self._observer.began(_run(page, count) if pages is None else pages)

    def _remember(self, pages: range, hpa: int) -> None:
        """Notes what loaders have made of pages, whose frames lie from `hpa` on."""
        view = self.memory.view
        for page in pages:
            self.originals.remember(page, view[hpa : hpa + PAGE_SIZE])
            hpa += PAGE_SIZE

    def _start(self, page: int, hpa: int, count: int, backing: Backing) -> Awaitable[bool] | Literal[True]:
        """Runs the loader of `count` pages from `page` on, on their frames of zeros at `hpa`, as far as it goes without waiting."""
        filled = backing.fill(page, self.memory.view[hpa : hpa + count * PAGE_SIZE])
        if filled is not True:
            if filled is False:
                raise self._failed(page)
            return filled
        if not backing.repeatable or self.waits:
            self._remember(_run(page, count), hpa)
        return True

    def _failed(self, page: int) -> PageLoadError:
        return PageLoadError(f"page {page:#x} cannot be loaded: its loader failed")

    def _publish(self, page: int, hpa: int, count: int) -> None:
        if self._map_protected is not None:
            for offset in range(0, count * PAGE_SIZE, PAGE_SIZE):
                self._map_protected(page + offset, hpa + offset)
            self.pages.advance_run(page, count, _PUBLISH)
        elif count == 1:
            self.table.map_page(page, hpa, _RWX)
            self.pages.advance(page, _PUBLISH)
        else:
            self.table.map_pages(page, hpa, count, _RWX)
            self.pages.advance_run(page, count, _PUBLISH)
        self._statistics.loads += count
        if self._observer is not None:
            self._observer.ended(_run(page, count), _PUBLISH)

    def _retract(self, page: int, event: PageEvent, count: int = 1) -> None:
        """A claim came to nothing: whatever the loader wrote is gone, and the pages are Absent."""
        self._claimed -= count
        self._empty_frames(page, count)
        self.pages.advance_run(page, count, event)
        if event is PageEvent.FAIL:
            self._statistics.failures += count
        else:
            self._statistics.cancellations += count
        if self._observer is not None:
            self._observer.ended(_run(page, count), event)

    async def _wait(self, load: Load) -> None:
        """Until `load` has ended; raises what it failed with."""
        self._statistics.waits += 1
        if self._observer is not None:
            self._observer.waited(Gpa(load.page))
        await self._reach(Point.WAIT, load.page)
        if not load.finished:
            if load.rendezvous is None:
                load.rendezvous = self._rendezvous()
            await load.rendezvous.wait()
        if load.error is not None:
            raise load.error

    def _wake(self, load: Load) -> None:
        load.finished = True
        for page in load.pages:
            # It may be the next load of the page by now that is under way.
            if self._loads.get(page) is load:
                del self._loads[page]
        if load.rendezvous is not None:
            load.rendezvous.set()

    def _reach(self, point: Point, page: int) -> Awaitable[None]:
        """To be awaited wherever another task might as well run first."""
        return _NOWHERE if self._points is None else self._points(point, page) or _NOWHERE

    def _unmap(self, page: int) -> None:
        self.table.unmap(Gpa(page))
        self.unmapped(Gpa(page))

    def _save_changes(self, page: int) -> None:
        frame = self.memory.page(self.frames.assign(page))
        if self.originals.has_changed(page, frame, self._backing(page)):
            self.loaders.replace(Gpa(page), contents(bytes(frame)))

    def _empty_frames(self, page: int, count: int = 1) -> None:
        hpa = self.frames.find(page)
        if hpa is not None:
            self.memory.discard(hpa, count)

    def _present_hpa(self, gpa: Gpa) -> Hpa:
        hpa = self.gpa2hpa(gpa)
        if hpa is None:
            raise Violation(gpa)
        return hpa

    def _read_entry(self, gpa: int, size: int) -> int:
        """An entry of the guest's page tables, `size` bytes."""
        hpa = self._present_hpa(Gpa(gpa))
        return int.from_bytes(self.memory.view[hpa : hpa + size], "little")


def _run(page: int, count: int) -> range:
    return range(page, page + count * PAGE_SIZE, PAGE_SIZE)


def _alike(backing: Backing, slab: int, pages: range) -> AlikePages | None:
    """Those of `pages`, in the 2 MiB at `slab`, that are filled from `backing`. None if they are neither zeros nor a file's."""
    first, last = max(pages.start, backing.start), min(pages.stop, backing.end)
    numbers = range(first - slab >> PAGE_SHIFT, last - slab >> PAGE_SHIFT)
    if type(backing) is Zeros:
        return AlikePages(numbers)
    if not isinstance(backing, FilePages) or not isinstance(backing.source, SourceInFile):
        return None
    place, offset = backing.source.place, first + backing.displacement
    if place is None or offset + len(numbers) * PAGE_SIZE > backing.source.size:
        return None
    file, begin = place
    return AlikePages(numbers, file, begin + offset)


def _outcome(error: BaseException) -> PageEvent:
    """What an exception makes of a load: what is no `Exception` is a cancellation."""
    return PageEvent.FAIL if isinstance(error, Exception) else PageEvent.ABANDON
