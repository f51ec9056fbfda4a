"""What stands behind a guest-physical address: the state of its page, and what fills it."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from kev.addressing import Gpa, page_floor
from kev.pager.backing import Backing, ComposedPage, FilePages, OwnPage
from kev.pager.kernel import KernelVmPager

DeviceAt: TypeAlias = Callable[[Gpa], str | None]
"""The name of the device whose registers are at a guest-physical address, if there is one."""

_NOTHING: Final = "nothing"
_DEVICE: Final = "device"


@attrs.frozen(slots=True, kw_only=True)
class PageDescription:
    """One page of guest-physical memory."""

    gpa: int
    """Of its first byte."""
    state: str
    """absent, loading or present; device or nothing where there is no page."""
    backing: str
    """What it is filled from, in words; empty where there is no page."""

    def __str__(self) -> str:
        if self.state == _NOTHING:
            return f"page {self.gpa:#x}: there is no memory and no device"
        if self.state == _DEVICE:
            return f"page {self.gpa:#x}: {self.backing}"
        return f"page {self.gpa:#x}: {self.state}, {self.backing}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"gpa": self.gpa, "state": self.state, "backing": self.backing}


def describe_page(pager: KernelVmPager, gpa: int, device_at: DeviceAt | None = None) -> PageDescription:
    """What the nested tables know of the page that holds `gpa`."""
    page = Gpa(page_floor(gpa))
    device = None if device_at is None else device_at(page)
    backing = pager.loaders.find(page)
    if device is not None and backing is None:
        return PageDescription(gpa=page, state=_DEVICE, backing=f"registers of {device}")
    if backing is None and pager.gpa2hpa(page) is None:
        return PageDescription(gpa=page, state=_NOTHING, backing="")
    return PageDescription(gpa=page, state=pager.pages[page].name.lower(), backing=_describe(backing, page))


def _describe(backing: Backing | None, page: int) -> str:
    if backing is None:
        return "memory of a device"
    if isinstance(backing, OwnPage):
        return "with contents of its own"
    if isinstance(backing, FilePages):
        segment = "".join(f", segment at {segment.paddr:#x}" for segment in backing.segments[:1])
        return f"from {backing.source.name} at offset {page + backing.displacement:#x}{segment}"
    if isinstance(backing, ComposedPage):
        pieces = ", ".join(f"{piece.source.name} at offset {piece.offset:#x}" for piece in backing.pieces)
        return f"partly from {pieces}, else zeros"
    if backing.segments:
        return f"zeros of the segment at {backing.segments[0].paddr:#x}"
    return "RAM"
