"""Loads a recorded working set in few large reads.

From a source that does not wait, a violation loads its page and those that were touched next when the set was recorded, more of
them with each, and with them the recorded pages that lie beside them: the guest starts at once, and what is read is about to be
used. From a source that waits, the reads begin before the guest does and go on beside it, several at a time, in the order of first
touch; a guest that gets ahead of them has the read that it needs moved to the front.
"""

from collections.abc import Iterator
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa
from kev.errors import KevError
from kev.pager.backing import Zeros
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState
from kev.pager.policy import PagingPolicy
from kev.pager.working_set import WorkingSet

_MOST_AHEAD: Final = 32
"""How many pages, in the order of first touch, a violation loads at most. The first loads one, and each the double of the last."""
_BLOCK: Final = 32 * PAGE_SIZE
"""Within so many bytes, from a multiple of it on, recorded pages beside them are loaded too."""
_GAP: Final = 8
"""Pages that are worth reading in vain to save a request to a source that waits: 32 KiB, a third of a millisecond at 100 MB/s."""
_PARALLEL_READS: Final = 16


class Prefetch(PagingPolicy):
    """Loads the pages of a working set. Pages that it lacks are loaded when touched, and counted."""

    name = "prefetch"

    def __init__(self, working_set: WorkingSet) -> None:
        self._set: Final = working_set
        self._order: Final = {page: index for index, page in enumerate(working_set.pages)}
        self._waiting: Iterator[range] = iter(())
        self._ahead = 1
        self._missed = 0
        self._failed = 0

    def attach(self, pager: KernelVmPager) -> None:
        """WorkingSetError if the working set is one of another image."""
        self._set.check_image(pager.image)
        self._pager = pager
        self._runs: list[range] = []
        if pager.waits:
            self._runs = plan(pager, self._set, _GAP)
            self._run_of = {page: run for run in self._runs for page in run}
            self._waiting = iter(self._runs)
            pager.read_ahead_by(self._run_with)
        else:
            pager.read_ahead_by(self._runs_from)

    async def beside_run(self) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            for _ in range(_PARALLEL_READS):
                nursery.start_soon(self._load_rest)

    def figures(self) -> dict[str, int]:
        return {"recorded": len(self._set.pages), "missed": self._missed, "failed": self._failed}

    async def _load_rest(self) -> None:
        for run in self._waiting:
            try:
                await self._pager.load_range(Gpa(run.start), Gpa(run.stop))
            except KevError:
                # Nobody has asked for these pages yet; who does gets to see the error, if it is still one.
                self._failed += 1

    def _run_with(self, page: int) -> Iterator[range]:
        """The run that `page` belongs to, as far as it is not loaded."""
        run = self._run_of.get(page)
        if run is None:
            self._missed += 1
            return
        pages = self._pager.absent_run(page, run.start, run.stop)
        if pages:
            yield pages

    def _runs_from(self, page: int) -> Iterator[range]:
        """The recorded pages around `page`, and around those that were touched after it."""
        index = self._order.get(page)
        if index is None:
            self._missed += 1
            return
        ahead, self._ahead = self._ahead, min(2 * self._ahead, _MOST_AHEAD)
        states = self._pager.pages
        for following in self._set.pages[index : index + ahead]:
            if states[following] is PageState.ABSENT:
                pages = self._absent_around(following)
                if pages:
                    yield pages

    def _absent_around(self, page: int) -> range:
        """The Absent recorded pages around an Absent one, without a gap and within its block."""
        order = self._order
        start, end = page, page + PAGE_SIZE
        while start % _BLOCK and start - PAGE_SIZE in order:
            start -= PAGE_SIZE
        while end % _BLOCK and end in order:
            end += PAGE_SIZE
        alone = end - start == PAGE_SIZE
        return range(start, end, PAGE_SIZE) if alone else self._pager.absent_run(page, start, end)


def plan(pager: KernelVmPager, working_set: WorkingSet, gap: int) -> list[range]:
    """The runs of pages that one read each can fill, in the order of the first touch of any of their pages.

    Pages are in one run if no more than `gap` pages lie between them, and if none does where there is nothing to read. Pages that
    this machine does not have are left out.
    """
    order = {page: index for index, page in enumerate(working_set.pages)}
    runs: list[tuple[int, range]] = []
    for page in sorted(order):
        extent = pager.loaders.extent(page)
        if not extent:
            continue
        distance = 0 if isinstance(pager.loaders.find(page), Zeros) else gap * PAGE_SIZE
        if runs and extent.start < runs[-1][1].stop and page <= runs[-1][1].stop + distance:
            first, run = runs[-1]
            runs[-1] = min(first, order[page]), range(run.start, page + PAGE_SIZE, PAGE_SIZE)
        else:
            runs.append((order[page], range(page, page + PAGE_SIZE, PAGE_SIZE)))
    return [run for _, run in sorted(runs, key=lambda item: item[0])]
