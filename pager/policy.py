"""Paging policies: which pages are loaded besides those the guest has touched, and when.

Whatever a policy has loaded goes through the pager's page states, so that no page is loaded twice; and what it has not loaded is
loaded when it is touched, as with no policy at all.
"""

from collections.abc import Callable, Iterable
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa
from kev.errors import KevError
from kev.pager.frames import SLAB_PAGES
from kev.pager.kernel import KernelVmPager

MAX_AROUND: Final = SLAB_PAGES
"""Pages: so many lie one behind the other in the host's memory."""

Progress = Callable[[int, int], object]
"""Told how many pages of how many are loaded."""


class PolicyError(KevError):
    """There is no such paging policy."""


class PagingPolicy:
    """Lazy paging, and what every other policy changes. One object serves one run."""

    name: str = "lazy"
    """What the command line calls it."""

    def attach(self, pager: KernelVmPager) -> None:
        """Called once, when every loader is registered and nothing is loaded. KevError if the policy does not go with the image."""

    async def before_run(self) -> None:
        """Awaited before the guest's first instruction. Where no source waits, neither does this."""

    async def beside_run(self) -> None:
        """A task beside the guest, if its pages come from a source that waits."""

    def figures(self) -> dict[str, int]:
        """What the policy has to say about the run that is over, by name."""
        return {}


class Eager(PagingPolicy):
    """Loads the whole image before the first instruction. RAM around it holds nothing to load, and is mapped when touched."""

    name = "eager"

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress: Final = progress
        self._pager: KernelVmPager | None = None

    def attach(self, pager: KernelVmPager) -> None:
        self._pager = pager

    async def before_run(self) -> None:
        assert self._pager is not None
        occupied = await self._pager.occupied()
        total, done = sum(map(len, occupied)), 0
        for pages in occupied:
            for slab in _slabs(pages):
                await self._pager.load_range(Gpa(slab.start), Gpa(slab.stop))
                done += len(slab)
                if self._progress is not None:
                    self._progress(done, total)


class Around(PagingPolicy):
    """Fault-around: with a page, loads those around it that the same read fills, up to `pages` of them.

    They are the ones within `pages` pages from a multiple of that on, as Linux chooses them for files in memory.
    """

    def __init__(self, pages: int) -> None:
        """PolicyError unless `pages` is 1 to 512."""
        if not 1 <= pages <= MAX_AROUND:
            raise PolicyError(f"around={pages}: a violation loads 1 to {MAX_AROUND} pages")
        self.name = f"around={pages}"
        self.pages: Final = pages

    def attach(self, pager: KernelVmPager) -> None:
        size = self.pages * PAGE_SIZE

        def window(page: int) -> Iterable[range]:
            start = page - page % size
            pages = pager.absent_run(page, start, start + size)
            return (pages,) if pages else ()

        pager.read_ahead_by(window)


def _slabs(pages: range) -> Iterable[range]:
    """Cuts a range of pages where their frames stop being one behind the other."""
    size = SLAB_PAGES * PAGE_SIZE
    start = pages.start
    while start < pages.stop:
        stop = min(start - start % size + size, pages.stop)
        yield range(start, stop, PAGE_SIZE)
        start = stop
