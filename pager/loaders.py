"""Which loader fills which page.

A kernel of gigabytes has millions of pages, but only a handful of segments. So loaders are held by ranges of pages that are
filled alike, and the closure for one page is made when somebody asks for it.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Awaitable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Gpa, page_ceil, page_floor
from kev.named_tuple import NamedTuple
from kev.pager.backing import Backing, ComposedPage, FilePages, OwnPage, PageLoader, Piece, Zeros
from kev.pager.frames import SLAB_SHIFT
from kev.pager.image import Segment
from kev.pager.source import PageSource

if TYPE_CHECKING:
    from kev.pager.saved import SavedMemory, SavedRange


def contents(data: bytes) -> PageLoader:
    """The loader of a page that begins with `data`, 4,096 bytes at most."""

    def load(page: memoryview) -> bool:
        page[: len(data)] = data
        return True

    return load


class _LoaderOf:
    """The loader of one page of a run. Equal to another if they fill the same page from the same place."""

    __slots__ = ("backing", "page")

    def __init__(self, backing: Backing, page: int) -> None:
        self.backing: Final = backing
        self.page: Final = page

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _LoaderOf) and (self.page, self.backing) == (other.page, other.backing)

    def __hash__(self) -> int:
        return hash((self.page, self.backing))

    def __call__(self, frame: memoryview) -> bool | Awaitable[bool]:
        return self.backing.fill(self.page, frame)


class _Placed(NamedTuple):
    """A segment and its source, or a range of RAM, whose segment is None."""

    start: int
    end: int
    segment: Segment | None = None
    source: PageSource | None = None

    def boundaries(self) -> tuple[int, ...]:
        """Between these, all its pages are alike, or there is only one."""
        if self.segment is None:
            return self.start, self.end
        head, tail = self.segment.paddr, self.segment.file_end
        return self.start, page_ceil(head), page_floor(tail), page_ceil(tail), self.end

    def piece(self, start: int, end: int) -> Piece | None:
        """The bytes of the file that fall into the addresses [start, end)."""
        if self.segment is None or self.source is None:
            return None
        first, last = max(self.segment.paddr, start), min(self.segment.file_end, end)
        if first >= last:
            return None
        return Piece(self.source, first - self.segment.paddr + self.segment.offset, first - start, last - start)


class LoaderMap(Mapping[Gpa, PageLoader]):
    """The loader of every page there is, by the page's address. Built and searched by ranges, at no cost per page.

    A page that several segments share gets the bytes of all of them. Should they overlap, those of the segment added last win.
    """

    __slots__ = ("_backings", "_own", "_own_pages", "_placed", "_saved", "_saved_ranges", "_stale", "_starts")

    def __init__(self) -> None:
        self._saved: SavedMemory | None = None
        self._saved_ranges: Final[dict[int, list[SavedRange]]] = {}
        self._placed: Final[list[_Placed]] = []
        self._own: Final[dict[int, OwnPage]] = {}
        self._own_pages: Final[list[int]] = []
        self._backings: list[Backing] = []
        self._starts: list[int] = []
        self._stale = False

    def add_segment(self, segment: Segment, source: PageSource) -> None:
        """Every page that `segment` reaches into gets its bytes from `source`."""
        if segment.memsz:
            self._placed.append(_Placed(page_floor(segment.paddr), page_ceil(segment.end), segment, source))
            self._stale = True

    def add_ram(self, start: Gpa, end: Gpa) -> None:
        """The pages of [start, end) exist, and are zeros where no segment is. Both are page boundaries."""
        self._placed.append(_Placed(start, end))
        self._stale = True

    def replace(self, page: Gpa, loader: PageLoader) -> None:
        """Gives one page a loader of its own, in place of what it was filled from."""
        if page not in self._own:
            insort(self._own_pages, page)
        self._own[page] = OwnPage(page, page + PAGE_SIZE, self.segments(page), loader)

    def find(self, page: int) -> Backing | None:
        """What `page` is filled from; None if there is no such page."""
        own = self._own.get(page)
        if own is not None:
            return own
        if self._saved is not None and self._saved.holds(page >> SLAB_SHIFT):
            return self._find_saved(page)
        if self._stale:
            self._build()
        index = bisect_right(self._starts, page) - 1
        return self._backings[index] if index >= 0 and page < self._backings[index].end else None

    def restore(self, saved: "SavedMemory") -> None:
        """Puts the pages of a snapshot in front of all that there is. Pages with loaders of their own are among them."""
        self.drop_own()
        self._saved = saved

    def drop_own(self) -> None:
        """No page has a loader of its own any more."""
        self._own.clear()
        self._own_pages.clear()

    def between(self, start: int, end: int) -> Iterator[Backing]:
        """What the pages of [start, end) are filled from if none has a loader of its own, in the order of their addresses."""
        backings = self._ranges()
        for index in range(max(0, bisect_right(self._starts, start) - 1), bisect_left(self._starts, end)):
            if backings[index].end > start:
                yield backings[index]

    def has_own(self, pages: range) -> bool:
        """Whether one of these pages, a range of addresses, has a loader of its own."""
        index = bisect_left(self._own_pages, pages.start)
        return index < len(self._own_pages) and self._own_pages[index] < pages.stop

    @property
    def own_pages(self) -> list[int]:
        """The pages with a loader of their own, ascending."""
        return list(self._own_pages)

    def segments(self, page: Gpa) -> tuple[Segment, ...]:
        """The segments that reach into `page`."""
        backing = self._find_range(page)
        return backing.segments if backing is not None else ()

    def extent(self, page: int) -> range:
        """The largest run of pages around `page` that can be filled at once, by one read if they come from a file.

        `page` alone if it is composed of several pieces or has a loader of its own; empty if there is no such page.
        """
        backing = self.find(page)
        if backing is None:
            return range(page, page, PAGE_SIZE)
        if not backing.contiguous:
            return range(page, page + PAGE_SIZE, PAGE_SIZE)
        index = bisect_left(self._own_pages, page)
        start, end = backing.start, backing.end
        if index > 0:
            start = max(start, self._own_pages[index - 1] + PAGE_SIZE)
        if index < len(self._own_pages):
            end = min(end, self._own_pages[index])
        return range(start, end, PAGE_SIZE)

    def occupied(self) -> list[range]:
        """The pages that hold more than the zeros of RAM: those that segments reach into, and those with loaders of their own."""
        runs = [range(backing.start, backing.end, PAGE_SIZE) for backing in self._ranges() if backing.segments]
        runs += [range(page, page + PAGE_SIZE, PAGE_SIZE) for page in self._own_pages if not self.segments(Gpa(page))]
        return sorted(runs, key=lambda run: run.start)

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        """Fills pages in a row with what they would hold if none had a loader of its own and there were no snapshot."""
        done = 0
        while done < len(frame):
            backing = self._find_range(page + done)
            if backing is None:
                return False
            length = min(backing.end - page - done, len(frame) - done) if backing.contiguous else PAGE_SIZE
            filled = backing.fill(page + done, frame[done : done + length])
            done += length
            if not isinstance(filled, bool):
                return self._await_and_fill_rest(filled, page + done, frame[done:])
            if not filled:
                return False
        return True

    async def _await_and_fill_rest(self, pending: Awaitable[bool], page: int, frame: memoryview) -> bool:
        if not await pending:
            return False
        filled = self.fill(page, frame)
        return filled if isinstance(filled, bool) else await filled

    def origin(self, page: int) -> str:
        """Where the bytes of `page` come from if there is no snapshot, in words."""
        backing = self._find_range(page)
        return "nowhere" if backing is None else backing.origin(page)

    @property
    def image_pages(self) -> int:
        """How many pages segments reach into."""
        return sum(backing.end - backing.start for backing in self._ranges() if backing.segments) >> PAGE_SHIFT

    def __getitem__(self, page: Gpa) -> PageLoader:
        backing = self.find(page)
        if backing is None or page_floor(page) != page:
            raise KeyError(page)
        return backing.loader if isinstance(backing, OwnPage) else _LoaderOf(backing, page)

    def __contains__(self, page: object) -> bool:
        return isinstance(page, int) and page_floor(page) == page and self.find(page) is not None

    def __len__(self) -> int:
        outside = sum(self._find_range(page) is None for page in self._own_pages)
        return outside + (sum(backing.end - backing.start for backing in self._ranges()) >> PAGE_SHIFT)

    def __iter__(self) -> Iterator[Gpa]:
        """Every page, in the order of addresses."""
        outside = [page for page in self._own_pages if self._find_range(page) is None]
        runs = [(backing.start, backing.end) for backing in self._ranges()] + [(page, page + PAGE_SIZE) for page in outside]
        for start, end in sorted(runs):
            yield from map(Gpa, range(start, end, PAGE_SIZE))

    def _find_range(self, page: int) -> Backing | None:
        """What `page` is filled from if it has no loader of its own."""
        backings = self._ranges()
        index = bisect_right(self._starts, page) - 1
        return backings[index] if index >= 0 and page < backings[index].end else None

    def _find_saved(self, page: int) -> "SavedRange | None":
        chunk = page >> SLAB_SHIFT
        ranges = self._saved_ranges.get(chunk)
        if ranges is None:
            ranges = self._saved_ranges[chunk] = list(self._make_saved(chunk))
        return next((found for found in ranges if found.start <= page < found.end), None)

    def _make_saved(self, chunk: int) -> "Iterator[SavedRange]":
        """The pages of a chunk that exist, in runs without a gap."""
        from kev.pager.saved import SavedRange

        assert self._saved is not None
        end, limit = chunk << SLAB_SHIFT, chunk + 1 << SLAB_SHIFT
        start, segments = end, dict[Segment, None]()
        for backing in self._ranges():
            if backing.end <= chunk << SLAB_SHIFT or backing.start >= limit:
                continue
            if backing.start > end:
                if end > start:
                    yield SavedRange(start, end, tuple(segments), self._saved, self)
                start, segments = backing.start, {}
            segments.update(dict.fromkeys(backing.segments))
            end = min(backing.end, limit)
        if end > start:
            yield SavedRange(start, end, tuple(segments), self._saved, self)

    def _ranges(self) -> list[Backing]:
        if self._stale:
            self._build()
        return self._backings

    def _build(self) -> None:
        self._backings = list(_backings(self._placed))
        self._starts = [backing.start for backing in self._backings]
        self._stale = False


def _backings(placed: list[_Placed]) -> Iterator[Backing]:
    """Cuts the address space at every boundary; from one to the next, the same is placed in every page."""
    boundaries = sorted({boundary for item in placed for boundary in item.boundaries()})
    waiting = sorted(range(len(placed)), key=lambda index: placed[index].start, reverse=True)
    active: list[int] = []
    for start, end in pairwise(boundaries):
        while waiting and placed[waiting[-1]].start <= start:
            insort(active, waiting.pop())
        active = [index for index in active if placed[index].end > start]
        if active:
            yield _backing(start, end, [placed[index] for index in active])


def _backing(start: int, end: int, placed: list[_Placed]) -> Backing:
    segments = tuple(item.segment for item in placed if item.segment is not None)
    pieces = tuple(piece for item in placed if (piece := item.piece(start, end)) is not None)
    if not pieces:
        return Zeros(start, end, segments)
    last = pieces[-1]
    if last.begin == 0 and last.end == end - start:
        return FilePages(start, end, segments, last.source, last.offset - start)
    return ComposedPage(start, end, segments, pieces)
