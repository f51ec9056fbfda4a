"""Positional reads from files, SIMPLEFS files and sources that have to be awaited."""

import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from kev.pager.source import AsynchronousSource, FileSource, PageSource, SourceError, read_bytes, read_exactly
from tests.pager.sources import BytesSource, WaitingSource

DATA = bytes(range(256)) * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(DATA)
    return path


def test_a_file_is_read_at_any_offset_into_the_callers_buffer(path: Path) -> None:
    with FileSource(path) as source:
        assert (source.name, source.size) == (str(path), len(DATA))
        buffer = bytearray(16)
        assert source.read_into(250, memoryview(buffer)) == 16
        assert bytes(buffer) == DATA[250:266]


def test_a_read_across_the_end_gives_what_there_is(path: Path) -> None:
    with FileSource(path) as source:
        buffer = bytearray(16)
        assert source.read_into(len(DATA) - 4, memoryview(buffer)) == 4
        assert source.read_into(len(DATA), memoryview(buffer)) == 0


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/nowhere: cannot be opened: No such file or directory$"):
        FileSource(tmp_path / "nowhere")


def test_a_directory_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r": is a folder$"):
        FileSource(tmp_path)


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SourceError, match=r"fifo: is neither a regular file nor a block device$"):
        FileSource(tmp_path / "fifo")


def test_a_file_that_tells_no_size_is_refused() -> None:
    with pytest.raises(SourceError, match=r"^/proc/self/mem: has no size: Invalid argument$"):
        FileSource("/proc/self/mem")


def test_a_refused_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = os.listdir("/dev/fd")
    with pytest.raises(SourceError):
        FileSource(tmp_path)
    assert os.listdir("/dev/fd") == before


def test_reading_a_closed_file_is_a_source_error(path: Path) -> None:
    source = FileSource(path)
    source.close()
    source.close()
    with pytest.raises(SourceError, match=r"image: 8 bytes at offset 0x10 cannot be read: Bad file descriptor$"):
        source.read_into(16, memoryview(bytearray(8)))


def test_short_reads_are_continued() -> None:
    source = BytesSource(DATA, short=100)
    buffer = bytearray(1000)
    assert read_exactly(source, 24, memoryview(buffer)) is True
    assert bytes(buffer) == DATA[24:1024]
    assert len(source.reads) == 10


@pytest.mark.parametrize("short", [None, 7])
def test_a_source_that_ends_too_early_is_an_error(short: int | None) -> None:
    with pytest.raises(SourceError, match=r"^kernel: ends 8 bytes too early: 24 bytes were expected at offset 0x3ff0$"):
        read_exactly(BytesSource(DATA, short=short), len(DATA) - 16, memoryview(bytearray(24)))


@pytest.mark.parametrize("short", [None, 100])
async def test_an_asynchronous_source_is_awaited(short: int | None) -> None:
    buffer = bytearray(1000)
    pending = read_exactly(WaitingSource(BytesSource(DATA, short=short), trio.lowlevel.checkpoint), 24, memoryview(buffer))
    assert not isinstance(pending, bool)
    assert bytes(buffer) == bytes(1000)
    assert await pending is True
    assert bytes(buffer) == DATA[24:1024]


async def test_an_asynchronous_source_that_ends_too_early_is_an_error() -> None:
    pending = read_exactly(WaitingSource(BytesSource(DATA), trio.lowlevel.checkpoint), len(DATA) - 16, memoryview(bytearray(24)))
    assert not isinstance(pending, bool)
    with pytest.raises(SourceError, match="ends 8 bytes too early"):
        await pending


async def test_a_source_may_be_asynchronous_only_after_its_first_bytes() -> None:
    whole = BytesSource(DATA)

    class Cached:
        name = "cached"
        size = len(DATA)

        def read_into(self, offset: int, buffer: memoryview, /) -> object:
            if offset >= 64:
                return WaitingSource(whole, trio.lowlevel.checkpoint).read_into(offset, buffer)
            return whole.read_into(offset, buffer[: 64 - offset])

    source: PageSource = Cached()  # type: ignore[assignment]
    buffer = bytearray(128)
    pending = read_exactly(source, 0, memoryview(buffer))
    assert not isinstance(pending, bool)
    assert await pending is True
    assert bytes(buffer) == DATA[:128]


class Returning:
    """A source whose reads return what they should not."""

    name = "returning"
    size = 4096

    def __init__(self, count: object) -> None:
        self.count = count

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        return self.count  # type: ignore[return-value]


async def eight() -> int:
    return 8


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "x", "returning: asked for 8 bytes at offset 0x0, it says that it has read 'x'"),
        (lambda: None, "returning: asked for 8 bytes at offset 0x0, it says that it has read None"),
        (eight, "returning: its read_into has to be awaited: derive it from AsynchronousSource"),
    ],
)
def test_what_is_no_number_of_bytes_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_bytes(Returning(make()), 0, 8)
    assert str(caught.value) == message


class Asked(BytesSource):
    """Notes the threads that read it."""

    def __init__(self) -> None:
        super().__init__(DATA)
        self.by: set[int] = set()

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        self.by.add(threading.get_ident())
        return super().read_into(offset, buffer)


class Awaited(AsynchronousSource):
    """Is not awaited here."""

    def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
        return self.blocking.read_into(offset, buffer)


@pytest.mark.parametrize("at_hand", [False, True])
def test_only_who_may_have_to_wait_reads_in_a_thread_of_its_own(at_hand: bool) -> None:
    asked = Asked()
    assert read_bytes(Awaited(asked, at_hand=at_hand).blocking, 3, 100) == DATA[3:103]
    assert (asked.by == {threading.get_ident()}) is at_hand
