"""Guest pages whose contents the hypervisor makes up, when they are touched."""

from collections.abc import Awaitable, Callable
from functools import cache

import attrs

from kev.addressing import PAGE_SIZE, Gpa, page_floor
from pager.backing import PageLoader
from pager.kernel import KernelVmPager


def place_generated(pager: KernelVmPager, gpa: Gpa, size: int, generate: Callable[[], bytes]) -> None:
    """Gives the guest-physical addresses [gpa, gpa + size) the bytes that `generate` makes, and zeros behind them.

    `generate` is called once, for the first page. What else is in these pages stays. PagerError if one is not Absent.
    """

    @cache
    def contents() -> bytes:
        data = generate()
        assert len(data) <= size
        return data.ljust(size, b"\0")

    for page in map(Gpa, range(page_floor(gpa), gpa + size, PAGE_SIZE)):
        pager.map_page(page, _PatchedPage(pager.loaders.get(page), page - gpa, contents))


@attrs.frozen(slots=True)
class _PatchedPage:
    """The loader of a page, and bytes that are written over what it loaded."""

    below: PageLoader | None
    offset: int
    """Where the page begins in the contents; negative if they begin within the page."""
    contents: Callable[[], bytes]

    def __call__(self, frame: memoryview) -> bool | Awaitable[bool]:
        filled = self.below(frame) if self.below is not None else True
        return self._patch(frame, filled) if isinstance(filled, bool) else self._await_and_patch(frame, filled)

    async def _await_and_patch(self, frame: memoryview, pending: Awaitable[bool]) -> bool:
        return self._patch(frame, await pending)

    def _patch(self, frame: memoryview, filled: bool) -> bool:
        part = self.contents()[max(self.offset, 0) : self.offset + PAGE_SIZE]
        begin = max(-self.offset, 0)
        frame[begin : begin + len(part)] = part
        return filled
