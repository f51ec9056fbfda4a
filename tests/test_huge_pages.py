"""Huge pages behind memory: whatever becomes one, it holds what it did."""

import ctypes
import mmap
import sys

import pytest

from kev.addressing import MIB, PAGE_SIZE
from kev.huge_pages import HUGE, HugePages
from tests.resident import resident

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="madvise(2) as it is on Linux")
PIECES = range(0, 8 * MIB, HUGE)


@pytest.fixture
def mapping() -> mmap.mmap:
    return mmap.mmap(-1, len(PIECES) * HUGE + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def address_of(mapping: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


@pytest.mark.parametrize("less", [0.0, 1e9], ids=["later", "at once"])
def test_memory_is_there_and_keeps_what_was_written(mapping: mmap.mmap, less: float) -> None:
    skipped = -address_of(mapping) % HUGE
    pages = HugePages(mapping, skipped, less=less, patience=0.0, pause=0.0)
    for start in PIECES:
        pages.populate(start, HUGE)
        assert resident(address_of(mapping) + skipped + start, HUGE) == HUGE // PAGE_SIZE
    written = [bytes((1 + start // HUGE,)) * HUGE for start in PIECES]
    for start, contents in zip(PIECES, written, strict=True):
        mapping[skipped + start : skipped + start + HUGE] = contents
    for _ in PIECES:
        pages.promote()
    assert [mapping[skipped + start : skipped + start + HUGE] for start in PIECES] == written


def test_nothing_is_huge_that_is_touched_when_all_is_forgotten(mapping: mmap.mmap) -> None:
    skipped = -address_of(mapping) % HUGE
    pages = HugePages(mapping, skipped)
    pages.populate(0, HUGE)
    mapping.madvise(mmap.MADV_DONTNEED)
    pages.forget(len(PIECES) * HUGE)
    mapping[skipped] = 1
    assert resident(address_of(mapping) + skipped, HUGE) == 1
