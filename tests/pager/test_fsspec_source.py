"""Images behind URLs, in memory and in archives."""

import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from kev.addressing import KIB, MIB
from kev.pager.fsspec_source import BlockingFsspecSource, FsspecSource
from kev.pager.source import SourceError, read_exactly

fsspec = pytest.importorskip("fsspec")

DATA = bytes(index * 7 + index // 256 & 0xFF for index in range(1 * MIB + 777))


@pytest.fixture
def memory_url() -> Iterator[str]:
    file_system = fsspec.filesystem("memory")
    file_system.pipe_file("/kernel", DATA)
    yield "memory://kernel"
    file_system.rm("/kernel")


class CountingSource(BlockingFsspecSource):
    """Notes every request."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.requests: list[tuple[int, int]] = []

    def read(self, start: int, end: int) -> bytes:
        self.requests.append((start, end))
        return super().read(start, end)


async def read(source: FsspecSource, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    filled = read_exactly(source, offset, memoryview(buffer))
    assert filled is True or not isinstance(filled, bool) and await filled
    return bytes(buffer)


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (5, 4096), (60 * KIB, 8 * KIB), (64 * KIB, 64 * KIB), (700, MIB)])
async def test_any_range_is_read_as_it_is(memory_url: str, offset: int, length: int) -> None:
    assert await read(FsspecSource.open(memory_url), offset, length) == DATA[offset : offset + length]


async def test_what_was_read_is_at_hand_without_waiting(memory_url: str) -> None:
    remote = CountingSource(memory_url)
    source = FsspecSource(remote)
    await read(source, 0, 4096)
    buffer = bytearray(4096)
    assert source.read_into(60 * KIB, memoryview(buffer)) == 4096
    assert buffer == DATA[60 * KIB : 64 * KIB]
    assert remote.requests == [(0, 64 * KIB)]


async def test_a_large_read_is_one_request_for_what_is_not_there_yet(memory_url: str) -> None:
    remote = CountingSource(memory_url)
    source = FsspecSource(remote)
    await read(source, 128 * KIB, 1)
    assert await read(source, 0, 512 * KIB) == DATA[: 512 * KIB]
    assert remote.requests == [(128 * KIB, 192 * KIB), (0, 128 * KIB), (192 * KIB, 512 * KIB)]


async def test_readers_of_the_same_bytes_share_one_request(memory_url: str) -> None:
    remote = CountingSource(memory_url)
    source = FsspecSource(remote)
    async with trio.open_nursery() as nursery:
        for offset in (0, 4096, 60 * KIB, 0):
            nursery.start_soon(read, source, offset, 4096)
    assert remote.requests == [(0, 64 * KIB)]


async def test_only_what_was_read_last_is_kept(memory_url: str) -> None:
    fsspec.filesystem("memory").pipe_file("/large", bytes(20 * MIB))
    remote = CountingSource("memory://large")
    source = FsspecSource(remote)
    for offset in range(0, 20 * MIB, 64 * KIB):
        await read(source, offset, 1)
    remote.requests.clear()
    await read(source, 20 * MIB - 1, 1)
    await read(source, 0, 1)
    assert remote.requests == [(0, 64 * KIB)]


async def test_the_end_of_the_file_is_the_end(memory_url: str) -> None:
    source = FsspecSource.open(memory_url)
    buffer = bytearray(4096)
    pending = source.read_into(len(DATA) - 100, memoryview(buffer))
    assert not isinstance(pending, int)
    assert await pending == 100
    assert buffer[:100] == DATA[-100:]
    with pytest.raises(SourceError, match=r"^memory://kernel: ends 3996 bytes too early"):
        await read(source, len(DATA) - 100, 4096)


async def test_a_reader_that_gives_up_leaves_the_others_to_ask_anew(memory_url: str) -> None:
    source = FsspecSource.open(memory_url)
    with trio.CancelScope() as scope:
        scope.cancel()
        await read(source, 0, 4096)
    assert await read(source, 0, 4096) == DATA[:4096]


def test_headers_are_read_without_an_event_loop(memory_url: str) -> None:
    source = FsspecSource.open(memory_url).blocking
    buffer = bytearray(100)
    assert source.read_into(7, memoryview(buffer)) == 100
    assert buffer == DATA[7:107]
    assert (source.name, source.size) == (memory_url, len(DATA))


async def test_a_file_in_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("boot/kernel", DATA)
    source = FsspecSource.open(f"zip://boot/kernel::{archive}")
    async with trio.open_nursery() as nursery:
        for offset in range(0, MIB, 128 * KIB):
            nursery.start_soon(read, source, offset, 4096)
    assert await read(source, 1000, 200 * KIB) == DATA[1000 : 1000 + 200 * KIB]


@pytest.mark.parametrize("url", ["memory://nowhere", "nothing://at/all", "zip://kernel::/nowhere.zip"])
def test_a_url_with_nothing_behind_it_is_refused_by_name(url: str) -> None:
    with pytest.raises(SourceError, match=f"^{url}: cannot be read: "):
        FsspecSource.open(url)


@pytest.mark.parametrize("chain", ["zip://kernel::", "filecache::file://", "tar://kernel::local://"])
def test_what_has_no_end_or_has_to_be_waited_for_is_not_read(chain: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("/dev/zero", str(tmp_path / "fifo")):
        with pytest.raises(SourceError, match=f"^{chain}{name}: cannot be read: {name} is neither a regular file nor a block dev"):
            FsspecSource.open(chain + name)


def test_what_does_not_open_is_given_up() -> None:
    class Silent(fsspec.AbstractFileSystem):  # type: ignore[misc, name-defined]
        protocol = "silent"

        def info(self, _path: str, **_: object) -> dict[str, object]:
            opened.wait()
            return {"size": 1}

    opened = threading.Event()
    fsspec.register_implementation("silent", Silent, clobber=True)
    try:
        with pytest.raises(SourceError, match=r"^silent://kernel: cannot be opened: no answer within 0\.01 s$"):
            BlockingFsspecSource("silent://kernel", patience=0.01)
    finally:
        opened.set()


async def test_a_file_that_vanishes_fails_the_read_by_name() -> None:
    file_system = fsspec.filesystem("memory")
    file_system.pipe_file("/gone", DATA)
    source = FsspecSource.open("memory://gone")
    file_system.rm("/gone")
    with pytest.raises(SourceError, match=r"^memory://gone: 65536 bytes at offset 0x0: cannot be read: "):
        await read(source, 0, 4096)
