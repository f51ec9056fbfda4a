"""Guest pages whose contents the hypervisor makes up, when they are touched."""

from collections.abc import Awaitable, Callable
from functools import cache

from kev.addressing import PAGE_SIZE, Gpa, page_floor
from kev.pager.backing import PageLoader
from kev.pager.image import Segment
from kev.pager.kernel import KernelVmPager


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
        pager.map_page(page, _patched(pager.loaders.get(page), page - gpa, contents))


def reaches_into(segment: Segment, addresses: range) -> bool:
    """Whether a segment has bytes at any of these guest-physical addresses."""
    return segment.paddr < addresses.stop and addresses.start < segment.end


def _patched(below: PageLoader | None, offset: int, contents: Callable[[], bytes]) -> PageLoader:
    """A loader that writes over what `below` loads.

    The page begins at `offset` in the contents; they begin within the page if that is negative.
    """

    def load(frame: memoryview) -> bool | Awaitable[bool]:
        filled = below(frame) if below is not None else True
        return patch(frame, filled) if isinstance(filled, bool) else await_and_patch(frame, filled)

    async def await_and_patch(frame: memoryview, pending: Awaitable[bool]) -> bool:
        return patch(frame, await pending)

    def patch(frame: memoryview, filled: bool) -> bool:
        part = contents()[max(offset, 0) : offset + PAGE_SIZE]
        begin = max(-offset, 0)
        frame[begin : begin + len(part)] = part
        return filled

    return load
