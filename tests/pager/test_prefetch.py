"""Prefetching a recorded working set: few large reads, no page twice, and what was not foreseen still comes."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from kev.addressing import MIB, PAGE_SIZE, Gpa, Gva
from kev.host_memory import HostMemory
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from kev.pager.errors import PagerError
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState
from kev.pager.prefetch import Prefetch, plan
from kev.pager.slow_source import SlowSource, SourceDelay
from kev.pager.source import PageSource, SourceError
from kev.pager.working_set import ImageIdentity, WorkingSet, WorkingSetError
from tests.pager.machine import guest_page, touch
from tests.pager.sources import BytesSource

FILE = bytes(index * 13 + index // 256 & 0xFF for index in range(200 * PAGE_SIZE))
SEGMENT = Segment(Gpa(MIB), Gva(MIB), 0, len(FILE), len(FILE) + 10 * PAGE_SIZE)
IMAGE_PAGES = [MIB + number * PAGE_SIZE for number in range(210)]


def machine(source: BytesSource, pages: PageSource | None = None) -> KernelVmPager:
    memory = HostMemory(64 * MIB)
    image = KernelImage.from_segments(source, [SEGMENT], MIB)
    return KernelVmPager(image, 4 * MIB >> 10, memory, PageTable(memory, NptFormat()), source=pages)


def prefetch(pager: KernelVmPager, pages: Sequence[int]) -> Prefetch:
    policy = Prefetch(WorkingSet(ImageIdentity.of(pager.image), tuple(pages)))
    policy.attach(pager)
    return policy


def image_page(number: int) -> int:
    return IMAGE_PAGES[number]


def test_the_set_of_another_image_is_refused() -> None:
    pager = machine(BytesSource(FILE))
    with pytest.raises(WorkingSetError, match=r"^set: stale: "):
        Prefetch(WorkingSet(ImageIdentity("kernel", 1, "0"), (), "set")).attach(pager)
    pager.read_ahead_by(lambda _: ())
    with pytest.raises(PagerError, match="which pages are read ahead is decided already"):
        pager.read_ahead_by(lambda _: ())


def test_runs_are_in_the_order_of_first_touch_and_as_long_as_can_be() -> None:
    pager = machine(BytesSource(FILE))
    pages = [image_page(number) for number in (50, 3, 2, 52, 4, 90)] + [0x5000, 1 << 40]
    working_set = WorkingSet(ImageIdentity.of(pager.image), tuple(pages))
    step = PAGE_SIZE
    near = [range(image_page(50), image_page(53), step), range(image_page(2), image_page(5), step)]
    far = [range(image_page(90), image_page(91), step), range(0x5000, 0x6000, step)]
    assert plan(pager, working_set, gap=1) == near + far
    exact = [range(image_page(50), image_page(51), step), near[1], range(image_page(52), image_page(53), step)]
    assert plan(pager, working_set, gap=0) == exact + far


def test_a_violation_loads_the_recorded_pages_beside_its_own_by_one_read() -> None:
    source = BytesSource(FILE)
    pager = machine(source)
    policy = prefetch(pager, [image_page(number) for number in (3, 20, 2, 4, 5, 7)])
    source.reads.clear()
    assert touch(pager, image_page(3))
    assert source.reads == [(2 * PAGE_SIZE, 4 * PAGE_SIZE)]
    assert policy.figures() == {"recorded": 6, "missed": 0, "failed": 0}


def test_violations_load_more_and_more_of_what_was_touched_next() -> None:
    pager = machine(BytesSource(FILE))
    recorded = [image_page(number) for number in range(0, 200, 2)]
    prefetch(pager, recorded)
    loaded = []
    for page in recorded:
        if pager.pages[page] is PageState.ABSENT:
            assert touch(pager, page)
            loaded.append(pager.statistics.loads)
    assert loaded == [1, 3, 7, 15, 31, 63, 95, 100]


def test_recorded_pages_that_this_machine_does_not_have_are_left_out() -> None:
    pager = machine(BytesSource(FILE))
    prefetch(pager, [image_page(1), 1 << 40, 0x3FFF000, image_page(9), image_page(17)])
    assert touch(pager, image_page(1))
    assert touch(pager, image_page(9))
    assert pager.statistics.loads == 3


def test_a_page_that_was_not_recorded_is_loaded_alone_and_counted() -> None:
    pager = machine(BytesSource(FILE))
    policy = prefetch(pager, [image_page(5)])
    assert touch(pager, image_page(9))
    assert guest_page(pager, image_page(9)) == FILE[9 * PAGE_SIZE : 10 * PAGE_SIZE]
    assert pager.statistics.loads == 1
    assert policy.figures()["missed"] == 1


@given(st.lists(st.sampled_from([0, 0x1000, *IMAGE_PAGES]), unique=True), st.lists(st.sampled_from(IMAGE_PAGES), max_size=30))
def test_any_set_and_any_touches_load_each_page_once_and_right(recorded: list[int], touched: list[int]) -> None:
    source = BytesSource(FILE)
    pager = machine(source)
    policy = prefetch(pager, recorded)
    source.reads.clear()
    for page in touched:
        assert touch(pager, page)
        assert guest_page(pager, page) == FILE[page - MIB : page - MIB + PAGE_SIZE].ljust(PAGE_SIZE, b"\0")
    read = [page for offset, length in source.reads for page in range(offset, offset + length, PAGE_SIZE)]
    assert len(read) == len(set(read))
    assert policy.figures()["missed"] == len(set(touched) - set(recorded))


async def test_a_source_that_waits_is_read_beside_the_guest_in_few_parallel_reads(autojump_clock: MockClock) -> None:
    source = BytesSource(FILE)
    pager = machine(source, SlowSource(source, SourceDelay(0.01)))
    recorded = [image_page(number) for number in (*range(40), *range(100, 140, 2))]
    policy = prefetch(pager, recorded)
    source.reads.clear()
    await policy.beside_run()
    assert trio.current_time() == pytest.approx(0.01)
    assert sorted(source.reads) == [(0, 40 * PAGE_SIZE), (100 * PAGE_SIZE, 39 * PAGE_SIZE)]
    assert all(pager.pages[page] is PageState.PRESENT for page in recorded)
    assert guest_page(pager, image_page(17)) == FILE[17 * PAGE_SIZE : 18 * PAGE_SIZE]


async def test_a_guest_that_is_ahead_of_the_prefetch_waits_for_the_run_its_page_is_in(autojump_clock: MockClock) -> None:
    source = BytesSource(FILE)
    pager = machine(source, SlowSource(source, SourceDelay(0.01)))
    recorded = [image_page(number) for number in (3, 4, 5, *range(60, 200, 20))]
    policy = prefetch(pager, recorded)
    source.reads.clear()
    assert not touch(pager, image_page(4))
    await pager.load_page(Gpa(image_page(4)))
    assert source.reads == [(3 * PAGE_SIZE, 3 * PAGE_SIZE)]
    await policy.beside_run()
    assert len(source.reads) == 8
    assert pager.statistics.loads == len(recorded)


async def test_guest_and_prefetch_that_want_the_same_page_share_one_read(autojump_clock: MockClock) -> None:
    source = BytesSource(FILE)
    pager = machine(source, SlowSource(source, SourceDelay(0.01)))
    policy = prefetch(pager, [image_page(number) for number in range(20)])
    source.reads.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(policy.beside_run)
        for number in (7, 8, 7):
            nursery.start_soon(pager.load_page, Gpa(image_page(number)))
    read = [page for offset, length in source.reads for page in range(offset, offset + length, PAGE_SIZE)]
    assert sorted(read) == [number * PAGE_SIZE for number in range(20)]


async def test_a_prefetch_that_fails_leaves_the_error_to_who_needs_the_page(autojump_clock: MockClock) -> None:
    source = BytesSource(FILE)
    pager = machine(source, SlowSource(source, SourceDelay(0.01)))
    policy = prefetch(pager, [image_page(number) for number in range(20)])
    source.data = FILE[: 10 * PAGE_SIZE]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(policy.beside_run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(pager.load_page, Gpa(image_page(3)))
    assert policy.figures()["failed"] == 1
    assert pager.statistics.loads == 1
    assert guest_page(pager, image_page(3)) == FILE[3 * PAGE_SIZE : 4 * PAGE_SIZE]
    with pytest.raises(SourceError, match=r"^kernel: ends 4096 bytes too early"):
        await pager.load_page(Gpa(image_page(15)))
