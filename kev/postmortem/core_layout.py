"""Which guest memory goes into a core file, and at which addresses its readers find it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kev.addressing import PAGE_SIZE, page_ceil, page_floor
from kev.page_tables.guest import PagingRegisters
from kev.pager.backing import Backing, ComposedPage, FilePages, OwnPage
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState
from kev.pager.source import AsynchronousSource
from kev.postmortem.address_space import Mapping, mappings
from kev.postmortem.loaded_memory import LoadedMemory

PHYSICAL_WINDOW: Final = 1 << 63
"""Where a 64-bit core file shows all of guest-physical memory, by p_vaddr: no guest can use these addresses."""


def physical_runs(pager: KernelVmPager) -> list[range]:
    """The pages that a core file holds, in runs: those that are Present, and of the image those that are read without waiting."""
    runs = [*pager.pages.runs(PageState.PRESENT), *_absent_image_runs(pager)]
    joined: list[range] = []
    for run in sorted(runs, key=lambda run: run.start):
        if joined and joined[-1].stop == run.start:
            joined[-1] = range(joined[-1].start, run.stop, PAGE_SIZE)
        else:
            joined.append(run)
    return joined


def placed(pager: KernelVmPager, spaces: Iterable[PagingRegisters], runs: Sequence[range], wide: bool) -> list[Mapping]:
    """Where `runs` are to be found, by linear address.

    As the page tables of vCPUs map them, where these differ as the first of `spaces` does; of the image also where it was linked,
    unless something else is there. All of it once more in `PHYSICAL_WINDOW`, if the file is `wide` (64-bit), else at its physical
    addresses, as far as these are free.
    """
    memory = LoadedMemory(pager)
    found: list[Mapping] = []
    for registers in spaces:
        found = _added(found, _cut(mappings(memory, registers), runs))
    linked = [
        Mapping(page_floor(segment.vaddr), page_floor(segment.paddr), page_ceil(segment.end) - page_floor(segment.paddr))
        for segment in pager.image.segments
        if not (segment.vaddr - segment.paddr) % PAGE_SIZE
    ]
    found = _added(found, _cut(_without_overlaps(linked), runs))
    base = PHYSICAL_WINDOW if wide else 0
    return _added(found, [Mapping(base + run.start, run.start, run.stop - run.start) for run in runs])


def _absent_image_runs(pager: KernelVmPager) -> Iterator[range]:
    for run in pager.loaders.occupied():
        backing = pager.loaders.find(run.start)
        if backing is None or not _is_readable(backing):
            continue
        page = run.start
        while page < run.stop:
            absent = pager.pages.absent_run(page, page, run.stop)
            if absent:
                yield absent
            page = max(absent.stop, page + PAGE_SIZE)


def _is_readable(backing: Backing) -> bool:
    """Whether its pages can be filled elsewhere, at once and without an effect on the guest."""
    if isinstance(backing, OwnPage):
        return False
    if isinstance(backing, FilePages):
        return not isinstance(backing.source, AsynchronousSource)
    if isinstance(backing, ComposedPage):
        return not any(isinstance(piece.source, AsynchronousSource) for piece in backing.pieces)
    return True


def _cut(items: Iterable[Mapping], runs: Sequence[range]) -> Iterator[Mapping]:
    """The parts of mappings whose guest-physical memory is in `runs`."""
    starts = [run.start for run in runs]
    for linear, gpa, length in items:
        index = max(bisect_right(starts, gpa) - 1, 0)
        while index < len(runs) and runs[index].start < gpa + length:
            begin, end = max(gpa, runs[index].start), min(gpa + length, runs[index].stop)
            if begin < end:
                yield Mapping(linear + begin - gpa, begin, end - begin)
            index += 1


def _without_overlaps(items: Sequence[Mapping]) -> list[Mapping]:
    found: list[Mapping] = []
    for item in items:
        found = _added(found, [item])
    return found


def _added(found: list[Mapping], items: Iterable[Mapping]) -> list[Mapping]:
    """`found`, which is in the order of linear addresses, and of `items`, as well in order, what does not overlap it."""
    more = list(_free_parts(found, items))
    return sorted([*found, *more]) if more else found


def _free_parts(found: Sequence[Mapping], items: Iterable[Mapping]) -> Iterator[Mapping]:
    index = 0
    for item in items:
        linear, gpa, length = item
        position, end = linear, linear + length
        while index and found[index - 1].end > position:
            index -= 1
        while index < len(found) and found[index].end <= position:
            index += 1
        while position < end:
            if index < len(found) and found[index].linear < end:
                stop, following = found[index].linear, found[index].end
                index += 1
            else:
                stop, following = end, end
            if position < stop:
                yield Mapping(position, gpa + position - linear, stop - position)
            position = max(position, following)
