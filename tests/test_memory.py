"""Host-physical memory."""

import ctypes

import pytest

from kev.addressing import GIB, MIB, PAGE_SIZE, TIB, Hpa
from kev.host_memory import HostMemory, HostMemoryError
from tests.resident import needs_populating, resident_pages

SLAB_PAGES = 512


@pytest.fixture
def memory() -> HostMemory:
    return HostMemory(16 * MIB)


@pytest.mark.parametrize("size", [0, PAGE_SIZE, 3 * PAGE_SIZE + 1, -PAGE_SIZE])
def test_a_size_that_is_not_whole_pages_is_refused_by_name(size: int) -> None:
    with pytest.raises(HostMemoryError, match=rf"host memory of {size} bytes: it must be a multiple of 4096"):
        HostMemory(size)


def test_more_than_the_address_space_is_refused_by_name() -> None:
    with pytest.raises(HostMemoryError, match="cannot reserve"):
        HostMemory(1 << 62)


def test_the_default_reservation_is_64_gib() -> None:
    assert HostMemory().size == 64 * GIB


def test_a_reservation_far_larger_than_the_machine_costs_nothing_until_it_is_touched() -> None:
    memory = HostMemory(TIB)
    memory.view[TIB - 1] = 7
    assert memory.view[TIB - 1] == 7
    assert memory.allocated == 0


def test_bytes_words_and_the_address_show_the_same_memory(memory: HostMemory) -> None:
    page = memory.allocate()
    memory.words[page >> 3] = 0x1122334455667788
    assert bytes(memory.page(page)[:8]) == bytes.fromhex("8877665544332211")
    assert ctypes.string_at(memory.address + page, 2) == b"\x88\x77"


def test_aligned_blocks_between_single_pages_waste_nothing(memory: HostMemory) -> None:
    blocks = []
    for _ in range(7):
        blocks.append(memory.allocate(SLAB_PAGES, SLAB_PAGES))
        memory.allocate()
    assert all(block % (2 * MIB) == 0 for block in blocks)
    assert len(set(blocks)) == 7


def test_blocks_and_pages_never_overlap_and_a_full_memory_is_refused_by_name() -> None:
    memory = HostMemory(4 * MIB)
    taken = set(range(memory.allocate(SLAB_PAGES, SLAB_PAGES), 4 * MIB, PAGE_SIZE))
    with pytest.raises(HostMemoryError, match="host memory is full: 512 pages more than its 4 MiB"):
        memory.allocate(SLAB_PAGES, SLAB_PAGES)
    for _ in range(SLAB_PAGES - 1):
        page = memory.allocate()
        assert page not in taken
        taken.add(page)
    assert 0 not in taken
    with pytest.raises(HostMemoryError, match="host memory is full: 1 pages more than its 4 MiB"):
        memory.allocate()


def test_a_block_of_pages_is_contiguous_and_its_own(memory: HostMemory) -> None:
    first, block, last = memory.allocate(), memory.allocate(10), memory.allocate()
    pages = {first, last, *range(block, block + 10 * PAGE_SIZE, PAGE_SIZE)}
    assert len(pages) == 12


def test_a_refused_allocation_changes_nothing(memory: HostMemory) -> None:
    memory.allocate(4000)
    before = memory.allocated
    with pytest.raises(HostMemoryError, match="host memory is full: 96 pages more than its 16 MiB"):
        memory.allocate(96)
    assert memory.allocated == before
    memory.allocate(95)
    assert memory.allocated == 4095 * PAGE_SIZE


def test_a_freed_page_comes_back_zeroed(memory: HostMemory) -> None:
    page = memory.allocate()
    memory.page(page)[:] = b"x" * PAGE_SIZE
    memory.free(page)
    assert memory.allocate() == page
    assert bytes(memory.page(page)) == bytes(PAGE_SIZE)


def test_allocated_counts_what_was_handed_out_and_not_freed(memory: HostMemory) -> None:
    memory.allocate(SLAB_PAGES, SLAB_PAGES)
    page = memory.allocate()
    assert memory.allocated == 2 * MIB + PAGE_SIZE
    memory.free(page)
    assert memory.allocated == 2 * MIB
    memory.allocate()
    assert memory.allocated == 2 * MIB + PAGE_SIZE


def test_discarding_zeros_exactly_the_pages_named(memory: HostMemory) -> None:
    start = memory.allocate(4)
    memory.view[start : start + 4 * PAGE_SIZE] = b"\xaa" * (4 * PAGE_SIZE)
    memory.discard(Hpa(start + PAGE_SIZE), 2)
    assert bytes(memory.page(start)) == b"\xaa" * PAGE_SIZE
    assert bytes(memory.view[start + PAGE_SIZE : start + 3 * PAGE_SIZE]) == bytes(2 * PAGE_SIZE)
    assert bytes(memory.page(Hpa(start + 3 * PAGE_SIZE))) == b"\xaa" * PAGE_SIZE


def test_cleared_memory_is_zeros_and_all_of_it_is_handed_out_again() -> None:
    memory = HostMemory(MIB)
    pages = [memory.allocate(), memory.allocate(4, align=4), memory.allocate()]
    for page in pages:
        memory.page(page)[:] = b"\xff" * PAGE_SIZE
    memory.free(pages[2])
    memory.clear()
    assert memory.allocated == 0
    again = [memory.allocate() for _ in range(MIB // PAGE_SIZE - 1)]
    assert len(set(again)) == len(again)
    assert not any(any(memory.page(page)) for page in again)


@needs_populating
def test_populated_pages_are_there_and_hold_what_they_did(memory: HostMemory) -> None:
    start = memory.allocate(SLAB_PAGES, SLAB_PAGES)
    memory.page(Hpa(start + PAGE_SIZE))[:4] = b"mine"
    memory.populate(start, 16)
    assert resident_pages(memory, start, SLAB_PAGES) == 16
    assert bytes(memory.view[start : start + 2 * PAGE_SIZE]) == bytes(PAGE_SIZE) + b"mine" + bytes(PAGE_SIZE - 4)
    memory.discard(start, 16)
    assert resident_pages(memory, start, SLAB_PAGES) == 0


@needs_populating
def test_a_first_touch_in_memory_that_was_populated_and_cleared_costs_one_page() -> None:
    memory = HostMemory(16 * MIB)
    for _ in range(2):
        start = memory.allocate(SLAB_PAGES, SLAB_PAGES)
        memory.view[start] = 1
        assert resident_pages(memory, start, SLAB_PAGES) == 1
        memory.populate(memory.allocate(SLAB_PAGES, SLAB_PAGES), SLAB_PAGES)
        memory.clear()


def test_memory_that_is_aligned_here_is_as_aligned_in_the_process() -> None:
    memory = HostMemory(16 * MIB)
    assert (memory.address + memory.allocate(SLAB_PAGES, SLAB_PAGES)) % (2 * MIB) == 0
