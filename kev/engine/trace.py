"""An engine without a CPU: accesses that somebody scripted, and what an engine caches of a machine's memory.

For race tests and benchmarks of the pager. The pager it runs against is the real one; memory and tables are such that a machine
costs microseconds to set up.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from kev.addressing import MIB, PAGE_SHIFT, PAGE_SIZE, Gpa, Hpa, page_floor
from kev.host_memory import HostMemory
from kev.page_tables.errors import AlreadyMapped, NotPresent

_SIZE: Final = 8 * MIB
_ZEROS: Final = memoryview(bytes(_SIZE))
"""Of which the host has what was read, and no more."""


class TraceMemory(HostMemory):
    """Host-physical memory for one short run after the other. Pages stay with the process: a first touch costs no page fault."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_SIZE)

    def discard(self, start: Hpa, pages: int = 1) -> None:
        end = start + (pages << PAGE_SHIFT)
        self.view[start:end] = _ZEROS[: end - start]

    def contents(self, hpa: Hpa) -> bytes:
        """All of the page at `hpa`."""
        return self._map[hpa : hpa + PAGE_SIZE]

    def rewind(self) -> None:
        """Everything that was handed out is free again. Its pages must have been discarded."""
        self._next = PAGE_SIZE
        self._end = self.size
        self._free.clear()


class TableObserver(Protocol):
    """Is told of every change of a table: of `count` pages from the guest-physical address `gpa` on."""

    def mapped(self, gpa: int, count: int) -> None: ...

    def unmapped(self, gpa: int, count: int) -> None: ...


class TraceTable:
    """A nested page table of 4 KiB pages that is a dictionary. It refuses what `kev.page_tables.table.PageTable` does."""

    __slots__ = ("_frames", "_observer", "frame")

    def __init__(self, observer: TableObserver) -> None:
        self._frames: Final[dict[int, Hpa]] = {}
        self.frame: Final[Callable[[int], Hpa | None]] = self._frames.get
        """Where the page at a guest-physical address lies, or None if it is not mapped."""
        self._observer: Final = observer

    def map_page(self, gpa: int, hpa: int, permissions: int) -> None:
        if gpa in self._frames:
            raise AlreadyMapped(gpa, f"{self._frames[gpa]:#x}")
        self._frames[gpa] = hpa  # type: ignore[assignment]  # a call of Hpa takes as long as all this
        self._observer.mapped(gpa, 1)

    def map_pages(self, gpa: int, hpa: int, count: int, permissions: int) -> None:
        pages = range(gpa, gpa + (count << PAGE_SHIFT), PAGE_SIZE)
        for page in pages:
            if page in self._frames:
                raise AlreadyMapped(page, f"{self._frames[page]:#x}")
        for page in pages:
            self._frames[page] = Hpa(hpa + page - gpa)
        self._observer.mapped(gpa, count)

    def clear(self) -> None:
        """Nothing is mapped any more, of which nobody is told."""
        self._frames.clear()

    def unmap(self, gpa: Gpa) -> None:
        if self._frames.pop(gpa, None) is None:
            raise NotPresent(gpa, "it is not mapped")
        self._observer.unmapped(gpa, 1)

    def mapped(self, pages: Iterable[int]) -> bytes:
        """Of each of these pages, by its guest-physical address, a byte that says whether it is mapped."""
        return bytes(map(self._frames.__contains__, pages))

    def __contains__(self, page: object) -> bool:
        return page in self._frames


class TraceEngine:
    """What stands between a vCPU's access and memory: cached translations and translated code.

    As with a CPU, whoever unmaps a page has to have both forgotten (`invalidate`): else accesses go where the page was, and
    what was its code is executed once more.
    """

    __slots__ = ("_code", "_memory", "_tlb", "cache", "cached", "read", "walk")

    def __init__(self, memory: TraceMemory, table: TraceTable) -> None:
        self._memory: Final = memory
        self.read: Final[Callable[[Hpa], bytes]] = memory.contents
        """What a vCPU reads in the frame at `hpa`, all of it."""
        self.walk: Final = table.frame
        """The frame that the table has for the page at a guest-physical address; None if an access to it is a violation."""
        self._tlb: Final[dict[int, Hpa]] = {}
        self.cache: Final[Callable[[int, Hpa], None]] = self._tlb.__setitem__
        """Keeps what `walk` has found for a page."""
        self.cached: Final[Callable[[int], Hpa | None]] = self._tlb.get
        """What is kept for a page; None if there is nothing."""
        self._code: Final[dict[int, bytes]] = {}

    def clear(self) -> None:
        """Nothing is cached any more."""
        self._tlb.clear()
        self._code.clear()

    def execute(self, page: int, hpa: Hpa) -> bytes:
        """The code that a vCPU executes in a page: translated when it was executed first."""
        code = self._code.get(page)
        if code is None:
            code = self._code[page] = self.read(hpa)
        return code

    def write(self, page: int, address: Hpa, value: int) -> None:
        """A store of 8 bytes to a page; `address` is host-physical. An engine notices if it changes code."""
        self._memory.view[address : address + 8] = value.to_bytes(8, "little")
        self._code.pop(page, None)

    def invalidate(self, gpa: Gpa) -> None:
        """The page's mapping was removed, or its frame refilled: nothing is cached of it any more."""
        page = page_floor(gpa)
        self._tlb.pop(page, None)
        self._code.pop(page, None)
