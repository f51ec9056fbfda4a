"""Which pages of a machine are there, as data for a heat map."""

from typing import Any

from kev.addressing import PAGE_SIZE
from kev.machine.vm import Vm
from kev.observe.timeline_json import memory_regions
from kev.pager.pages import PageState


def describe_pages(vm: Vm) -> dict[str, Any]:
    """`page_size` in bytes; `regions`: what guest memory is made of, as a timeline has it; `present` and `loading`: ranges of
    guest-physical addresses, as pairs of the first one and the one behind it."""
    pager = vm.pager
    return {
        "page_size": PAGE_SIZE,
        "regions": memory_regions(pager),
        "present": [[run.start, run.stop] for run in pager.pages.runs(PageState.PRESENT)],
        "loading": [[run.start, run.stop] for run in pager.pages.runs(PageState.LOADING)],
    }
