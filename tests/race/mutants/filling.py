"""Pagers that fill, publish and map in the wrong order, or once too often."""

from kev.addressing import PAGE_SIZE, Gpa, page_floor
from kev.page_tables.mapping import Permissions
from kev.pager.kernel import KernelVmPager, Load
from kev.pager.pages import PageEvent, PageState
from kev.pager.protocols import Point


class PublishBeforeFill(KernelVmPager):
    """A page is mapped when it is claimed, and filled while others can see it."""

    async def _carry_out(self, load: Load) -> None:
        for page in load.pages:
            self.table.map_page(page, self.frames.assign(page), Permissions.RWX)
        await super()._carry_out(load)

    def _publish(self, page: int, hpa: int, count: int) -> None:
        self.pages.advance_run(page, count, PageEvent.PUBLISH)
        if self._observer is not None:
            self._observer.ended(range(page, page + count * PAGE_SIZE, PAGE_SIZE), PageEvent.PUBLISH)


class DoubleLoadOnRetry(KernelVmPager):
    """Who waited for a load that failed starts the loader again at once, without looking who else does."""

    async def _wait(self, load: Load) -> None:
        try:
            await super()._wait(load)
        except Exception:
            page = load.page
            await load_again(self, page)
            if self.pages[page] is PageState.ABSENT:
                self._claim(page)
                self._publish(page, self.frames.assign(page), 1)


class FillOverStore(KernelVmPager):
    """A prefetch decides beforehand which pages it fills: also those that somebody has loaded and stored to meanwhile."""

    async def load_range(self, start: Gpa, end: Gpa) -> None:
        await self._reach(Point.LOCK, start)
        for page in [page for page in range(start, end, PAGE_SIZE) if self.pages[page] is PageState.ABSENT]:
            if self.pages[page] is PageState.ABSENT:
                await self._carry_out(self._begin(page))
            else:
                await load_again(self, page)


class EvictionAgainstStore(KernelVmPager):
    """Eviction saves a page, lets others run, and unmaps it then: what they stored meanwhile is lost."""

    async def evict(self, gpa: Gpa) -> bool:
        page = page_floor(gpa)
        await self._reach(Point.LOCK, page)
        if self.pages[page] is not PageState.PRESENT:
            return False
        self._save_changes(page)
        await self._reach(Point.LOCK, page)
        if self.pages[page] is PageState.PRESENT:
            self._unmap(page)
            self._empty_frames(page, 1)
            self.pages.advance(page, PageEvent.EVICT)
        return True


class EvictionAgainstFault(KernelVmPager):
    """Eviction takes a page that is still being loaded."""

    async def evict(self, gpa: Gpa) -> bool:
        page = page_floor(gpa)
        await self._reach(Point.LOCK, page)
        if self.pages[page] is PageState.LOADING:
            self._retract(page, PageEvent.ABANDON)
            return True
        return await super().evict(gpa)


class NoFlush(KernelVmPager):
    """An evicted page's frame is used again, but nobody tells the CPU, which goes on using what it has cached."""

    def _unmap(self, page: int) -> None:
        self.table.unmap(Gpa(page))


class BytesLeftBehind(KernelVmPager):
    """A load that was given up leaves in the frame what had arrived."""

    def _retract(self, page: int, event: PageEvent, count: int = 1) -> None:
        self.pages.advance_run(page, count, event)
        if self._observer is not None:
            self._observer.ended(range(page, page + count * PAGE_SIZE, PAGE_SIZE), event)


async def load_again(pager: KernelVmPager, page: int) -> None:
    """Runs a page's loader, whatever state it is in."""
    await pager._reach(Point.FILL, page)
    filled = pager._start(page, pager.frames.assign(page), 1, pager._backing(page))
    if filled is not True:
        await filled
