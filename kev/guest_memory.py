"""Guest-physical memory as devices and boot protocols see it: absent pages are loaded on the way."""

from collections.abc import Iterator
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa, page_offset
from kev.dev.base import DeviceError, PageAbsent
from kev.exits import Access, EptViolation
from pager.kernel import KernelVmPager


class PagedMemory:
    """See `kev.dev.base.GuestMemory`."""

    __slots__ = ("_pager", "_table", "_view")

    def __init__(self, pager: KernelVmPager) -> None:
        self._pager: Final = pager
        self._table: Final = pager.table
        self._view: Final = pager.memory.view

    def read(self, gpa: Gpa, length: int) -> bytes:
        return b"".join(self._view[start:end] for start, end in self._spans(gpa, length, Access.READ))

    def write(self, gpa: Gpa, data: bytes) -> None:
        done = 0
        for start, end in list(self._spans(gpa, len(data), Access.WRITE)):
            self._view[start:end] = data[done : done + end - start]
            done += end - start

    def _spans(self, gpa: int, length: int, access: Access) -> Iterator[tuple[int, int]]:
        """The host-physical ranges that [gpa, gpa + length) consists of, page by page."""
        end = gpa + length
        while gpa < end:
            size = min(PAGE_SIZE - page_offset(gpa), end - gpa)
            start = self._locate(gpa, access)
            yield start, start + size
            gpa += size

    def _locate(self, gpa: int, access: Access) -> int:
        hpa = self._table.translate(gpa)
        if hpa is None:
            if not self._pager.try_lazy_paging(EptViolation(Gpa(gpa), access)):
                raise PageAbsent(Gpa(gpa))
            hpa = self._table.translate(gpa)
        if hpa is None or hpa >= len(self._view):
            raise DeviceError(f"a device is told to use gpa {gpa:#x}, which is not memory")
        return hpa
