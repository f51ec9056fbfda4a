"""Which guest-physical page lies in a frame of a machine's memory."""

from typing import Final

from kev.addressing import PAGE_SHIFT, Gpa, page_offset
from kev.machine.vm import Vm
from kev.pager.pages import PageState


class GuestPhysical:
    """Finds out what accesses are to that are told by their host-physical address."""

    def __init__(self, vm: Vm) -> None:
        self._vm: Final = vm
        self._pages: Final[dict[int, int]] = {}

    def gpa(self, hpa: int) -> int | None:
        """None if no page that is Present lies there."""
        page = self._pages.get(hpa >> PAGE_SHIFT)
        if page is None:
            pager = self._vm.pager
            for run in pager.pages.runs(PageState.PRESENT):
                for present in run:
                    frame = pager.gpa2hpa(Gpa(present))
                    if frame is not None:
                        self._pages[frame >> PAGE_SHIFT] = present
            page = self._pages.get(hpa >> PAGE_SHIFT)
        return None if page is None else page | page_offset(hpa)
