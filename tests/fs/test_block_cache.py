"""Blocks in memory: what is read from a disk, and what is written to it, when."""

import io

import pytest

from kev.fs.block_cache import BLOCK_SIZE, BlockCache
from kev.fs.disk import SECTOR_SIZE, Disk
from kev.fs.errors import DiskError
from tests.fs.errors import refused

BLOCKS = 4


def cached(size: int = BLOCKS * BLOCK_SIZE) -> tuple[BlockCache, io.BytesIO]:
    file = io.BytesIO(bytes(index % 251 for index in range(size)))
    return BlockCache(Disk(file, "disk"), "disk"), file


def test_the_first_touch_of_a_block_reads_its_eight_sectors() -> None:
    cache, file = cached()
    assert (cache.blocks, cache.sectors_read) == (BLOCKS, 0)
    assert cache.block(2) == file.getvalue()[2 * BLOCK_SIZE : 3 * BLOCK_SIZE]
    assert cache.block(2)[1] == cache.read(2 * BLOCK_SIZE + 1, 1)[0]
    assert (cache.sectors_read, cache.is_present(2), cache.is_present(1)) == (8, True, False)


def test_a_read_over_blocks_touches_each() -> None:
    cache, file = cached()
    assert cache.read(BLOCK_SIZE - 1, BLOCK_SIZE + 2) == file.getvalue()[BLOCK_SIZE - 1 : 2 * BLOCK_SIZE + 1]
    assert cache.sectors_read == 24


def test_a_flush_writes_only_what_is_present_and_dirty() -> None:
    cache, file = cached()
    before = file.getvalue()
    assert not cache.flush_block(0), "not present"
    cache.block(0)
    assert not cache.flush_block(0), "not dirty"
    cache.write(10, b"new")
    assert (cache.is_dirty(0), file.getvalue()) == (True, before)
    assert cache.flush_block(0)
    assert not cache.flush_block(0)
    assert (file.getvalue(), cache.sectors_written) == (before[:10] + b"new" + before[13:], 8)
    assert not cache.is_dirty(0)


def test_all_dirty_blocks_are_flushed_together() -> None:
    cache, file = cached()
    cache.write(BLOCK_SIZE - 1, b"ab")
    cache.change(3)[:] = b"x" * BLOCK_SIZE
    assert cache.flush() == 3
    assert (cache.flush(), cache.sectors_written) == (0, 24)
    assert file.getvalue()[3 * BLOCK_SIZE :] == b"x" * BLOCK_SIZE


def test_what_is_dropped_is_read_again() -> None:
    cache, file = cached()
    cache.write(0, b"lost")
    cache.drop()
    assert cache.flush() == 0
    assert cache.read(0, 4) == file.getvalue()[:4]
    assert cache.sectors_read == 16


def test_whole_sectors_are_read_and_written_at_once() -> None:
    cache, file = cached()
    assert cache.host_read(7, 2) == file.getvalue()[7 * SECTOR_SIZE : 9 * SECTOR_SIZE]
    cache.host_write(7, b"s" * 2 * SECTOR_SIZE)
    assert file.getvalue()[7 * SECTOR_SIZE : 9 * SECTOR_SIZE] == b"s" * 2 * SECTOR_SIZE
    assert cache.sectors_written == 16
    with refused(DiskError, "disk: 3 bytes for sectors from 7 on: a sector has 512"):
        cache.host_write(7, b"abc")


def test_a_block_that_is_read_cannot_be_changed() -> None:
    cache, _ = cached()
    with pytest.raises(TypeError):
        cache.block(0)[0] = 1


def test_the_last_block_may_be_shorter() -> None:
    cache, file = cached(BLOCK_SIZE + SECTOR_SIZE)
    assert (cache.blocks, len(cache.block(1)), cache.sectors_read) == (2, SECTOR_SIZE, 1)
    cache.write(BLOCK_SIZE, b"end")
    cache.flush()
    assert (len(file.getvalue()), file.getvalue()[BLOCK_SIZE:][:3]) == (BLOCK_SIZE + SECTOR_SIZE, b"end")


@pytest.mark.parametrize("block", [-1, BLOCKS])
def test_a_block_that_is_not_there_is_named(block: int) -> None:
    cache, _ = cached()
    with refused(DiskError, f"disk: block {block} is not on the disk: it has 4 of 4096 bytes"):
        cache.block(block)
