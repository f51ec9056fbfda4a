"""A disk over another one, with a file that keeps what is written."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kev.dev.storage.overlay_disk import OverlayError
from kev.dev.storage.overlay_file import LARGEST_BASE, BaseFile, OverlayFile, begin_overlay, file_size, read_base
from kev.fs.disk import Disk

SIZE = 3 * 4096 + 100
"""In bytes: the last page is not whole."""
BASE = BaseFile(SIZE, 1_700_000_000_000_000_000, None)
PLACES = st.integers(0, SIZE).flatmap(lambda offset: st.tuples(st.just(offset), st.binary(max_size=min(SIZE - offset, 6000))))


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    file.touch()
    with file.open("r+b", buffering=0) as descriptor:
        yield descriptor


def beneath(contents: bytes) -> Disk:
    return Disk(io.BytesIO(contents), "disk", any_size=True)


@given(st.lists(PLACES, max_size=6), PLACES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_reads_what_was_written_last_also_when_it_is_opened_again(
    tmp_path: Path, writes: list[tuple[int, bytes]], read: tuple[int, bytes]
) -> None:
    contents = random.Random(7).randbytes(SIZE)
    file, expected = tmp_path / "overlay", bytearray(contents)
    file.unlink(missing_ok=True)
    with opened(file) as kept:
        begin_overlay(kept, "overlay", BASE)
        disk = OverlayFile(kept, "overlay", beneath(contents))
        for offset, data in writes:
            disk.write(offset, data)
            expected[offset : offset + len(data)] = data
        disk.flush()
        offset, buffer = read[0], bytearray(len(read[1]))
        disk.read_into(offset, memoryview(buffer))
        assert buffer == expected[offset : offset + len(buffer)]
    with opened(file) as kept:
        assert read_base(kept, "overlay") == BASE
        again = bytearray(SIZE)
        OverlayFile(kept, "overlay", beneath(contents)).read_into(0, memoryview(again))
    assert again == expected


def test_only_what_is_written_takes_room(tmp_path: Path) -> None:
    class Zeros:
        size = 1 << 34

        def read_into(self, offset: int, buffer: memoryview) -> None:
            buffer[:] = bytes(len(buffer))

    with opened(tmp_path / "overlay") as kept:
        begin_overlay(kept, "overlay", BaseFile(Zeros.size, 1, None))
        OverlayFile(kept, "overlay", Zeros()).write(1 << 33, b"x")
    status = (tmp_path / "overlay").stat()
    assert status.st_size == file_size(Zeros.size)
    assert status.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(("offset", "length"), [(SIZE, 1), (SIZE - 1, 2), (-1, 1)])
def test_what_leaves_the_disk_is_refused(tmp_path: Path, offset: int, length: int) -> None:
    with opened(tmp_path / "overlay") as kept:
        begin_overlay(kept, "overlay", BASE)
        disk = OverlayFile(kept, "overlay", beneath(bytes(SIZE)))
        with pytest.raises(OverlayError, match=f"overlay: {length} bytes at byte {offset} are not on the disk: it has {SIZE}"):
            disk.read_into(offset, memoryview(bytearray(length)))
        with pytest.raises(OverlayError, match="are not on the disk"):
            disk.write(offset, bytes(length))


def test_a_file_that_is_cut_short_meanwhile_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path / "overlay") as kept:
        begin_overlay(kept, "overlay", BASE)
        disk = OverlayFile(kept, "overlay", beneath(bytes(SIZE)))
        disk.write(0, b"x")
        kept.truncate(4096)
        with pytest.raises(OverlayError, match="overlay: was cut short"):
            disk.read_into(0, memoryview(bytearray(1)))


@given(st.binary(min_size=1, max_size=80) | st.binary(max_size=80).map(b"kev-overlay 1\n\0\0".__add__))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_file_is_refused_and_left_as_it_is(tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(contents)
    with opened(file) as other, pytest.raises(OverlayError, match=r"is no overlay of kev's|is damaged"):
        read_base(other, "file")
    assert file.read_bytes() == contents


def test_an_empty_file_lies_over_nothing_yet(tmp_path: Path) -> None:
    with opened(tmp_path / "overlay") as kept:
        assert read_base(kept, "overlay") is None
        with pytest.raises(OverlayError, match="there may be 1,099,511,627,776"):
            begin_overlay(kept, "overlay", BaseFile(LARGEST_BASE + 1, 1, None))
        assert read_base(kept, "overlay") is None
