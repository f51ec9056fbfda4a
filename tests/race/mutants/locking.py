"""Pagers that go wrong between looking at a page and claiming it."""

from kev.addressing import PAGE_SIZE, Gpa, page_floor
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageEvent, PageState
from kev.pager.protocols import Point, Rendezvous
from tests.race.mutants.filling import load_again


class NoLock(KernelVmPager):
    """Whoever finds a page Absent loads it; only who is done first publishes it."""

    async def load_page(self, gpa: Gpa) -> None:
        page = page_floor(gpa)
        await self._reach(Point.LOCK, page)
        if self.pages[page] is not PageState.PRESENT:
            await load_unclaimed(self, page)


class CheckThenAct(KernelVmPager):
    """Others can run between finding a page Absent and claiming it."""

    async def load_page(self, gpa: Gpa) -> None:
        page = page_floor(gpa)
        if self.pages[page] is PageState.ABSENT:
            await self._reach(Point.LOCK, page)
            await self._carry_out(self._begin(page))
        else:
            await super().load_page(gpa)


class PrefetchAgainstFault(KernelVmPager):
    """A prefetch claims nothing: a vCPU that touches the page meanwhile loads it too."""

    async def load_range(self, start: Gpa, end: Gpa) -> None:
        for page in range(start, end, PAGE_SIZE):
            await self._reach(Point.LOCK, page)
            if self.pages[page] is PageState.ABSENT:
                await load_unclaimed(self, page)


class LockAcrossLoad(KernelVmPager):
    """One lock for all loads, held while a loader runs: one that needs a page that is not there yet waits for itself."""

    _locked = False
    _unlocked: Rendezvous | None = None

    async def load_page(self, gpa: Gpa) -> None:
        if self.pages[page_floor(gpa)] is PageState.PRESENT:
            return
        await self._lock(gpa)
        try:
            await super().load_page(gpa)
        finally:
            self._unlock()

    async def _lock(self, gpa: Gpa) -> None:
        await self._reach(Point.LOCK, gpa)
        while self._locked:
            if self._unlocked is None:
                self._unlocked = self._rendezvous()
            await self._unlocked.wait()
        self._locked = True

    def _unlock(self) -> None:
        self._locked = False
        unlocked, self._unlocked = self._unlocked, None
        if unlocked is not None:
            unlocked.set()


async def load_unclaimed(pager: KernelVmPager, page: int) -> None:
    """Loads a page that nobody has claimed."""
    await load_again(pager, page)
    await pager._reach(Point.PUBLISH, page)
    if pager.pages[page] is PageState.ABSENT:
        pager.pages.advance(page, PageEvent.CLAIM)
        pager._publish(page, pager.frames.assign(page), 1)
