"""The rules of lazy loading, checked while a whole guest runs on the pager."""

from typing import Final, Protocol

from kev.addressing import PAGE_SIZE, Gpa
from kev.host_memory import HostMemory
from kev.pager.backing import OwnPage
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageEvent
from kev.pager.saved import SavedRange
from kev.race.guest.source import MemorySource


class Judge(Protocol):
    """Whoever is told what was done wrong."""

    def fail(self, oracle: str, message: str) -> None: ...


class LoadRules:
    """A `kev.pager.protocols.LoadObserver`: one load at a time of each page, and what becomes Present is what the image has."""

    def __init__(self, pager: KernelVmPager, image: MemorySource, judge: Judge) -> None:
        self._pager: Final = pager
        self._memory: Final[HostMemory] = pager.memory
        self._image: Final = image.data
        self._judge: Final = judge
        self._loading: Final[set[int]] = set()

    def began(self, pages: range) -> None:
        for page in pages:
            if page in self._loading:
                self._judge.fail("broken history", f"the page at {page:#x} is loaded by two vCPUs at once")
            self._loading.add(page)

    def waited(self, gpa: Gpa) -> None:
        if gpa not in self._loading:
            self._judge.fail("broken history", f"a vCPU waits for the page at {gpa:#x}, which nobody loads")

    def ended(self, pages: range, event: PageEvent) -> None:
        for page in pages:
            if page not in self._loading:
                self._judge.fail("broken history", f"the load of the page at {page:#x} ends, but none has begun")
            self._loading.discard(page)
            if event is PageEvent.PUBLISH:
                self._check_contents(page)

    def finish(self) -> None:
        """The run is over, and nobody is in the pager any more."""
        for page in sorted(self._loading):
            self._judge.fail("broken history", f"the page at {page:#x} is Loading at the end, although nobody loads it any more")

    def _check_contents(self, page: int) -> None:
        backing = self._pager.loaders.find(page)
        if backing is None or isinstance(backing, OwnPage | SavedRange) or not backing.segments:
            return
        expected = bytearray(PAGE_SIZE)
        for segment in backing.segments:
            first, last = max(page, segment.paddr), min(page + PAGE_SIZE, segment.file_end)
            if first < last:
                start = segment.offset + first - segment.paddr
                expected[first - page : last - page] = self._image[start : start + last - first]
        hpa = self._pager.gpa2hpa(Gpa(page))
        if hpa is None:
            self._judge.fail("broken history", f"the page at {page:#x} becomes Present, but it is not mapped")
        elif bytes(self._memory.page(hpa)) != expected:
            self._judge.fail("wrong contents", f"the page at {page:#x} becomes Present, but differs from the image")
