"""What each paging policy loads, when, and by which reads."""

from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import MIB, PAGE_SIZE, Gpa, Gva
from kev.pager.image import Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageState
from kev.pager.policy import Around, Eager, PagingPolicy, PolicyError
from tests.pager.machine import DATA, FILE, TEXT, build_pager, guest_page, touch
from tests.pager.sources import BytesSource

PATTERN = bytes(range(251))
LARGE_FILE = (PATTERN * (5 * MIB // len(PATTERN) + 1))[: 5 * MIB]
LARGE = Segment(Gpa(MIB), Gva(MIB), 0, 5 * MIB, 5 * MIB + 0x3000)


def run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs what has nothing to wait for."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def large_pager(source: BytesSource) -> KernelVmPager:
    return build_pager([LARGE], 16 * MIB >> 10, source=source)


def present(pager: KernelVmPager) -> list[int]:
    return [page for page in pager.loaders if pager.pages[page] is PageState.PRESENT]


def test_lazy_paging_loads_nothing_before_a_touch() -> None:
    pager = build_pager()
    policy = PagingPolicy()
    policy.attach(pager)
    run_now(policy.before_run())
    assert present(pager) == []
    touch(pager, 0x101234)
    assert present(pager) == [0x101000]


def test_eager_paging_loads_all_of_the_image_and_pages_of_their_own_but_no_other_ram() -> None:
    pager = build_pager()
    info = pager.finalize_mem()
    policy = Eager()
    policy.attach(pager)
    run_now(policy.before_run())
    assert present(pager) == [info, *range(TEXT.paddr, 0x108000, PAGE_SIZE)]
    assert guest_page(pager, 0x102000) == FILE[0x2000:0x2800] + FILE[0x4000:0x4800]


def test_eager_paging_reads_two_mib_at_a_time_and_says_how_far_it_is() -> None:
    source = BytesSource(LARGE_FILE)
    pager = large_pager(source)
    progress: list[tuple[int, int]] = []
    policy = Eager(lambda done, total: progress.append((done, total)))
    policy.attach(pager)
    run_now(policy.before_run())
    assert source.reads == [(0, MIB), (MIB, 2 * MIB), (3 * MIB, 2 * MIB)]
    assert progress == [(256, 1283), (768, 1283), (1280, 1283), (1283, 1283)]
    for page in range(MIB, 6 * MIB, PAGE_SIZE):
        assert guest_page(pager, page) == LARGE_FILE[page - MIB : page - MIB + PAGE_SIZE]


def test_fault_around_loads_the_aligned_window_of_the_touched_page_by_one_read() -> None:
    source = BytesSource(LARGE_FILE)
    pager = large_pager(source)
    Around(16).attach(pager)
    assert touch(pager, MIB + 0x15678)
    assert present(pager) == list(range(MIB + 0x10000, MIB + 0x20000, PAGE_SIZE))
    assert source.reads == [(0x10000, 0x10000)]
    assert pager.statistics.loads == 16


def test_fault_around_stops_at_the_end_of_a_segment_and_at_pages_of_their_own() -> None:
    pager = build_pager()
    pager.map_page(Gpa(0x1000), lambda _: True)
    Around(16).attach(pager)
    touch(pager, 0x101000)
    assert present(pager) == [0x100000, 0x101000]
    touch(pager, 0x104000)
    assert present(pager) == [0x100000, 0x101000, 0x104000, 0x105000, 0x106000, 0x107000]
    touch(pager, 0)
    assert present(pager)[0] == 0
    assert 0x1000 not in present(pager)


def test_fault_around_never_reads_what_is_loaded_already() -> None:
    source = BytesSource(LARGE_FILE)
    pager = large_pager(source)
    touch(pager, MIB + 0x3000)
    pager.memory.view[pager.frames.assign(MIB + 0x3000)] = 0xEE
    Around(8).attach(pager)
    touch(pager, MIB + 0x5000)
    touch(pager, MIB + 0x1000)
    assert source.reads == [(0x3000, 0x1000), (0x4000, 0x4000), (0, 0x3000)]
    assert guest_page(pager, MIB + 0x3000)[0] == 0xEE


def test_fault_around_falls_back_to_the_touched_page_where_the_window_cannot_be_read() -> None:
    pager = large_pager(BytesSource(LARGE_FILE[:0x2800] + bytes(5 * MIB - 0x2800)))
    assert isinstance(pager.source, BytesSource)
    pager.source.data = pager.source.data[:0x2800]
    Around(4).attach(pager)
    assert touch(pager, MIB + 0x1000)
    assert present(pager) == [MIB + 0x1000]
    assert guest_page(pager, MIB + 0x1000) == LARGE_FILE[0x1000:0x2000]


@pytest.mark.parametrize("pages", [0, -1, 513])
def test_a_window_is_1_to_512_pages(pages: int) -> None:
    with pytest.raises(PolicyError, match=rf"^around={pages}: a violation loads 1 to 512 pages$"):
        Around(pages)


@given(st.integers(1, 512), st.lists(st.integers(0, 1300), min_size=1, max_size=20))
def test_any_window_loads_every_touched_page_once_and_right(window: int, touched: list[int]) -> None:
    source = BytesSource(LARGE_FILE)
    pager = large_pager(source)
    Around(window).attach(pager)
    for number in touched:
        assert touch(pager, number * PAGE_SIZE)
        expected = LARGE_FILE[number * PAGE_SIZE - MIB : number * PAGE_SIZE - MIB + PAGE_SIZE] if number >= 256 else b""
        assert guest_page(pager, number * PAGE_SIZE) == expected.ljust(PAGE_SIZE, b"\0")
    read = [page for offset, length in source.reads for page in range(offset, offset + length, PAGE_SIZE)]
    assert len(read) == len(set(read))
    assert pager.statistics.loads == len(present(pager))
    assert pager.statistics.failures == 0


async def test_a_range_is_loaded_by_as_few_reads_as_there_can_be() -> None:
    source = BytesSource(LARGE_FILE)
    pager = large_pager(source)
    touch(pager, MIB + 0x4000)
    source.reads.clear()
    await pager.load_range(Gpa(MIB - 0x2000), Gpa(MIB + 0x8000))
    assert source.reads == [(0, 0x4000), (0x5000, 0x3000)]
    assert present(pager) == list(range(MIB - 0x2000, MIB + 0x8000, PAGE_SIZE))


def test_data_and_bss_of_one_segment_are_two_runs() -> None:
    pager = build_pager([TEXT, DATA])
    assert pager.absent_run(0x105000, 0x100000, 0x200000) == range(0x104000, 0x108000, PAGE_SIZE)
    assert pager.absent_run(0x102000, 0x100000, 0x200000) == range(0x102000, 0x103000, PAGE_SIZE)
