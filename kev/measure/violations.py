"""What a violation costs: the exit, its service, the way back, and the guest's instructions up to the next one."""

import time
from itertools import pairwise
from statistics import median

from kev.abi.base import Controller
from kev.addressing import MIB, PAGE_SIZE
from kev.engine.base import VcpuState
from kev.exits import EptViolation, Reply
from kev.guests.images import open_image
from kev.host_memory import HostMemory
from kev.machine.launcher import prepare, run
from kev.measure.case import Metrics
from kev.pager.image import Segment

_HOST_PAGES = 8192


def measure_violations() -> Metrics:
    """The guest `touch` goes through pages of zeros, of data and of code; medians of the time from one violation to the next."""
    stamps: list[tuple[int, int]] = []

    def watch(handle: Controller) -> Controller:
        def watched(vcpu: VcpuState, exit: EptViolation) -> Reply | None:
            stamps.append((time.perf_counter_ns(), exit.gpa))
            return handle(vcpu, exit)

        return watched

    with open_image("touch") as (source, _):
        machine = prepare(source, memory=256 * MIB, output=lambda _: None)
        machine.vm.handle(EptViolation, watch(machine.vm.controller(EptViolation)))
        run(machine)
    segment = machine.vm.pager.image.segments[-1]
    return {
        "zero_page_us": _median_gap(stamps, segment, file=False),
        "file_page_us": _median_gap(stamps, segment, file=True),
        "host_zero_fill_us": _host_zero_fill(),
    }


def _median_gap(stamps: list[tuple[int, int]], segment: Segment, *, file: bool) -> float:
    low, high = (segment.paddr, segment.file_end) if file else (segment.file_end, segment.end)
    gaps = [end - begin for (begin, gpa), (end, following) in pairwise(stamps) if low <= gpa < high and low <= following < high]
    return median(gaps) / 1e3


def _host_zero_fill() -> float:
    """What the operating system takes to hand out one page of zeros."""
    memory = HostMemory((_HOST_PAGES + 1) * PAGE_SIZE)
    first = memory.allocate(_HOST_PAGES)
    stamps = []
    for page in range(first, first + _HOST_PAGES * PAGE_SIZE, PAGE_SIZE):
        memory.view[page] = 1
        stamps.append(time.perf_counter_ns())
    return median(end - begin for begin, end in pairwise(stamps)) / 1e3
