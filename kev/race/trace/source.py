"""Where the pages of a trace program come from: a source that takes its time, and fails when the program says so."""

from collections.abc import Awaitable, Generator, Sequence
from functools import cache, lru_cache
from typing import Any, Final, Generic, TypeVar

from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Gpa
from kev.host_memory import HostMemory
from kev.pager.backing import PageLoader
from kev.pager.source import SourceError
from kev.race.points import POINT, TracePoint
from kev.race.trace.program import MAX_PAGES, Page
from kev.race.trace.run import TraceRun

_ARRIVE: Final = TracePoint.ARRIVE

T = TypeVar("T")


class InjectedFailure(SourceError):
    """The source fails because the program says so."""

    def __init__(self, page: int, failure: int) -> None:
        super().__init__(f"page {page}: its source fails (failure {failure}, as the program says)")
        self.page = page


@cache
def original(page: int) -> bytes:
    """What the image has in a page: no two pages have a byte in common, and none is zero."""
    return bytes([page + 1]) * PAGE_SIZE


class TraceSource:
    """The bytes of the image's pages, as the program wants them to come."""

    name: Final = "trace"

    def __init__(self, pages: Sequence[Page], run: TraceRun, memory: HostMemory) -> None:
        """Fills pages in `memory`."""
        self.size: Final = len(pages) << PAGE_SHIFT
        self._pages: Final = pages
        self._instant: Final = all(page.instant for page in pages)
        self._some_instant: Final = any(page.instant for page in pages)
        self._fails: Final = any(page.failures for page in pages)
        self._failures: Final = [page.failures for page in pages]
        self._run: Final = run
        self._memory: Final = memory.view.obj
        """What buffers for guests are parts of."""

    def rewind(self) -> None:
        """Sources that fail at first do so again."""
        if self._fails:
            self._failures[:] = [page.failures for page in self._pages]

    def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
        pages, run = _pages(offset, len(buffer)), self._run
        if buffer.obj is not self._memory:
            return self._compare(pages, buffer)
        for notify in run.told["fill_began"]:
            notify(run.vcpu, pages)
        if self._instant or (self._some_instant and all(self._pages[page].instant for page in pages)):
            self._fill_now(pages, buffer)
            return len(buffer)
        return _Arrival(self, run, pages, buffer, len(buffer))

    def loader_after(self, page: int, needed: int) -> PageLoader:
        """A loader of `page` that touches the page `needed` first."""
        pages = range(page, page + 1)

        def load(frame: memoryview) -> Awaitable[bool]:
            self._run.tell("fill_began", pages)
            return _Arrival(self, self._run, pages, frame, True, needed)

        return load

    def _fill_now(self, pages: range, buffer: memoryview) -> None:
        try:
            self.deliver(pages, buffer, 0)
        except InjectedFailure:
            self._run.tell("fill_failed", pages)
            raise
        self._run.tell("filled", pages)

    def _compare(self, pages: range, buffer: memoryview) -> int:
        """The bytes are not for a guest: somebody wants to know what a page was like."""
        buffer[:] = _originals(pages.start, pages.stop, 0)
        return len(buffer)

    def deliver(self, pages: range, buffer: memoryview, start: int) -> None:
        """Brings the bytes of pages from an offset on. InjectedFailure."""
        if self._fails:
            for page in pages:
                if self._failures[page]:
                    self._failures[page] -= 1
                    raise InjectedFailure(page, self._pages[page].failures - self._failures[page])
        buffer[start:] = _originals(pages.start, pages.stop, start)


class _Arrival(Generic[T]):
    """Bytes that are there after an await. Unlike a coroutine it may be forgotten: broken pagers do."""

    __slots__ = ("_buffer", "_needed", "_pages", "_result", "_run", "_source")

    def __init__(
        self, source: TraceSource, run: TraceRun, pages: range, buffer: memoryview, result: T, needed: int | None = None
    ) -> None:
        """`source` brings the bytes of the pages; the page `needed` is touched first. It gives `result`."""
        self._run: Final = run
        self._pages: Final = pages
        self._buffer: Final = buffer
        self._source: Final = source
        self._result: Final = result
        self._needed: Final = needed

    def __await__(self) -> Generator[Any, None, T]:
        """Half of the bytes come at once, the others when the schedule says so."""
        run, pages, buffer = self._run, self._pages, self._buffer
        half = len(buffer) // 2
        try:
            if self._needed is not None:
                yield from run.pager.load_page(Gpa(self._needed << PAGE_SHIFT)).__await__()
            buffer[:half] = _originals(pages.start, pages.stop, 0, half)
            if run.reach(_ARRIVE, pages.start << PAGE_SHIFT) is not None:
                yield POINT
            self._source.deliver(pages, buffer, half)
        except BaseException as error:
            run.tell("fill_failed" if isinstance(error, InjectedFailure) else "fill_cancelled", pages)
            raise
        for notify in run.told["filled"]:
            notify(run.vcpu, pages)
        return self._result


@cache
def _pages(offset: int, size: int) -> range:
    """The numbers of the pages at these offsets."""
    return range(offset >> PAGE_SHIFT, offset + size >> PAGE_SHIFT)


@lru_cache(4 * MAX_PAGES)
def _originals(start: int, stop: int, begin: int, end: int | None = None) -> memoryview:
    """What the image has in the pages from `start` up to `stop`: its bytes from `begin` up to `end`."""
    return memoryview(b"".join(map(original, range(start, stop))))[begin:end]
