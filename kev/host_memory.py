"""Host-physical memory: what the nested page tables point into."""

import ctypes
import mmap
import sys
from typing import Final

from kev.addressing import GIB, PAGE_SHIFT, PAGE_SIZE, Hpa, is_page_aligned
from kev.errors import KevError
from kev.huge_pages import HUGE, HugePages

_MAP_NORESERVE: Final = 0x4000 if sys.platform == "linux" else 0x40  # a name in `mmap` only since Python 3.12
_MADV_NOHUGEPAGE: Final = 15


class HostMemoryError(KevError):
    """Host-physical memory cannot be reserved, or is used up."""


class HostMemory:
    """A sparse range of host-physical memory, [0, size), of which only touched pages cost anything.

    One reservation serves a whole VM: tables, frames and the engine's own structures. Page 0 is never handed out, so that 0
    can stand for "no page". Every page reads as zeros when it is allocated.
    """

    __slots__ = ("_end", "_free", "_huge", "_map", "_next", "_skipped", "address", "size", "view", "words")

    def __init__(self, size: int = 64 * GIB) -> None:
        """Reserves `size` bytes, a multiple of 4 KiB. HostMemoryError if the operating system refuses."""
        if size < 2 * PAGE_SIZE or not is_page_aligned(size):
            raise HostMemoryError(f"host memory of {size} bytes: it must be a multiple of {PAGE_SIZE}, and 2 pages or more")
        try:
            self._map = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
        except (OSError, OverflowError, ValueError) as error:
            raise HostMemoryError(f"host memory: cannot reserve {size >> 20:,} MiB of address space: {error}") from error
        if sys.platform == "linux":
            # A first touch must cost one page, not the zeroing of 2 MiB.
            self._map.madvise(_MADV_NOHUGEPAGE)
        self.size: Final = size
        self._skipped: Final = -ctypes.addressof(ctypes.c_char.from_buffer(self._map)) % HUGE
        """Bytes of the mapping in front of byte 0: what is aligned here is as aligned for the operating system."""
        self.view: Final = memoryview(self._map)[self._skipped : self._skipped + size]
        """Every byte, index = host-physical address."""
        self.words: Final = self.view.cast("Q")
        """The same as 64-bit words, index = host-physical address >> 3: how page tables are read and written."""
        self.address: Final = ctypes.addressof(ctypes.c_char.from_buffer(self.view))
        """Where byte 0 lies in this process."""
        self._next = PAGE_SIZE
        self._end = size
        self._free: list[Hpa] = []
        self._huge: Final = HugePages(self._map, self._skipped)

    @property
    def allocated(self) -> int:
        """Bytes handed out and not freed: an upper bound of what the range can cost."""
        return self._next - PAGE_SIZE + self.size - self._end - len(self._free) * PAGE_SIZE

    def allocate(self, pages: int = 1, align: int = 1) -> Hpa:
        """The address of `pages` zeroed contiguous pages, a multiple of `align` pages. HostMemoryError if there is no room."""
        if align > 1:
            return self._allocate_aligned(pages, align << PAGE_SHIFT)
        if pages == 1 and self._free:
            return self._free.pop()
        start = self._next
        end = start + (pages << PAGE_SHIFT)
        if end > self._end:
            raise self._full(pages)
        self._next = end
        return Hpa(start)

    def _allocate_aligned(self, pages: int, alignment: int) -> Hpa:
        """From the other end: between single pages, each block would waste up to its own alignment."""
        start = (self._end - (pages << PAGE_SHIFT)) // alignment * alignment
        if start < self._next:
            raise self._full(pages)
        self._end = start
        return Hpa(start)

    def _full(self, pages: int) -> HostMemoryError:
        return HostMemoryError(f"host memory is full: {pages} pages more than its {self.size >> 20} MiB")

    def free(self, page: Hpa) -> None:
        """Gives one page back; its next owner gets it zeroed."""
        self.discard(page)
        self._free.append(page)

    def discard(self, start: Hpa, pages: int = 1) -> None:
        """Returns the contents of pages to the operating system: they read as zeros from now on."""
        length = pages << PAGE_SHIFT
        if sys.platform == "linux":
            self._map.madvise(mmap.MADV_DONTNEED, self._skipped + start, length)
        else:
            self.view[start : start + length] = bytes(length)

    def populate(self, start: Hpa, pages: int) -> None:
        """Has the operating system provide what pages that are about to be written would get one by one, for less.

        What they hold stays. Nothing happens where that is not possible, as before Linux 5.14.
        """
        if sys.platform == "linux":
            self._huge.populate(start, pages << PAGE_SHIFT)

    def promote(self) -> None:
        """Makes memory that was populated faster, if it is time: see `HugePages.promote`."""
        self._huge.promote()

    def clear(self) -> None:
        """Takes back whatever was handed out: all of it reads as zeros, and is handed out anew."""
        self.discard(Hpa(0), self._next >> PAGE_SHIFT)
        if self._end < self.size:
            self.discard(Hpa(self._end), (self.size - self._end) >> PAGE_SHIFT)
        self._huge.forget(self.size)
        self._next = PAGE_SIZE
        self._end = self.size
        self._free.clear()

    def page(self, hpa: Hpa) -> memoryview:
        """The 4 KiB page at `hpa`, writable."""
        return self.view[hpa : hpa + PAGE_SIZE]
