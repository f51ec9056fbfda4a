"""Pagers that wake too early, too late, the wrong ones or nobody."""

from kev.addressing import Gpa
from kev.pager.kernel import KernelVmPager, Load
from kev.pager.pages import PageEvent
from kev.pager.protocols import Point


class WakeBeforePublish(KernelVmPager):
    """Those who wait go on when the page is filled, before it is mapped."""

    async def _carry_out(self, load: Load) -> None:
        await fill(self, load)
        self._wake(load)
        await self._reach(Point.PUBLISH, load.page)
        self._publish(load.page, self.frames.assign(load.page), load.count)


class LostWakeUp(KernelVmPager):
    """The load may end after it was seen to be under way, and before the one who saw it waits."""

    async def _wait(self, load: Load) -> None:
        if self._observer is not None:
            self._observer.waited(Gpa(load.page))
        if not load.finished:
            await self._reach(Point.WAIT, load.page)
            load.rendezvous = load.rendezvous or self._rendezvous()
            await load.rendezvous.wait()
        if load.error is not None:
            raise load.error


class FailureForgetsWaiters(KernelVmPager):
    """After a load that failed nobody is woken."""

    async def _carry_out(self, load: Load) -> None:
        try:
            await fill(self, load)
            await self._reach(Point.PUBLISH, load.page)
            self._publish(load.page, self.frames.assign(load.page), load.count)
        except Exception:
            forget(self, load, PageEvent.FAIL)
            raise
        except BaseException:
            self._retract(load.page, PageEvent.ABANDON, load.count)
            self._wake(load)
            raise
        self._wake(load)


class CancellationStrandsWaiters(KernelVmPager):
    """After a load that was cancelled nobody is woken."""

    async def _carry_out(self, load: Load) -> None:
        try:
            await fill(self, load)
            await self._reach(Point.PUBLISH, load.page)
            self._publish(load.page, self.frames.assign(load.page), load.count)
        except Exception as error:
            load.error = error
            self._retract(load.page, PageEvent.FAIL, load.count)
            self._wake(load)
            raise
        except BaseException:
            forget(self, load, PageEvent.ABANDON)
            raise
        self._wake(load)


class WrongPageWoken(KernelVmPager):
    """Those who wait for the load that began last are woken, whichever has ended."""

    def _register(self, load: Load) -> None:
        super()._register(load)
        self._latest = load

    def _wake(self, load: Load) -> None:
        rendezvous, self._latest.rendezvous = self._latest.rendezvous, None
        load.rendezvous = None
        super()._wake(load)
        if rendezvous is not None:
            rendezvous.set()


class OldErrorForNewcomers(KernelVmPager):
    """A page's error is forgotten only after those who waited for the next load, which went well, were woken."""

    _error: Exception | None = None

    async def _carry_out(self, load: Load) -> None:
        try:
            await super()._carry_out(load)
        except Exception as error:
            self._error = error
            raise
        await self._reach(Point.WAKE, load.page)
        self._error = None

    async def _wait(self, load: Load) -> None:
        await super()._wait(load)
        if self._error is not None:
            raise self._error


class PendingAwaitedTwice(KernelVmPager):
    """A load that the synchronous short cut began is awaited by everybody who comes to need the page."""

    async def _wait(self, load: Load) -> None:
        if load.pending is not None:
            await self._reach(Point.FILL, load.page)
            await load.pending
        await super()._wait(load)


async def fill(pager: KernelVmPager, load: Load) -> None:
    """Fills the pages of a load, as it should be."""
    load.taken = True
    if load.pending is None:
        await pager._reach(Point.FILL, load.page)
    filled = load.pending or pager._start(load.page, pager.frames.assign(load.page), load.count, load.backing)
    if filled is not True and not await filled:
        raise pager._failed(load.page)


def forget(pager: KernelVmPager, load: Load, event: PageEvent) -> None:
    """Ends a load as if nobody could be waiting for it."""
    pager._retract(load.page, event, load.count)
    for page in load.pages:
        pager._loads.pop(page, None)
