"""Host-physical memory."""

import pytest

from kev.addressing import MIB, PAGE_SIZE
from kev.memory import HostMemory, HostMemoryError

SLAB_PAGES = 512


def test_aligned_blocks_between_single_pages_waste_nothing() -> None:
    memory = HostMemory(16 * MIB)
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


def test_a_freed_page_comes_back_zeroed() -> None:
    memory = HostMemory(MIB)
    page = memory.allocate()
    memory.page(page)[:] = b"x" * PAGE_SIZE
    memory.free(page)
    assert memory.allocate() == page
    assert bytes(memory.page(page)) == bytes(PAGE_SIZE)


def test_allocated_counts_what_was_handed_out() -> None:
    memory = HostMemory(8 * MIB)
    memory.allocate(SLAB_PAGES, SLAB_PAGES)
    page = memory.allocate()
    assert memory.allocated == 2 * MIB + PAGE_SIZE
    memory.free(page)
    assert memory.allocated == 2 * MIB
