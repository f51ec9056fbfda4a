"""A disk over another one, which stays as it is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.dev.storage.overlay_disk import OverlayDisk, OverlayError
from kev.fs.disk import Disk

SIZE = 2000
"""In bytes: the last sector is not whole, as behind svirtb."""
PLACES = st.integers(0, SIZE).flatmap(lambda offset: st.tuples(st.just(offset), st.binary(max_size=min(SIZE - offset, 1500))))


@given(st.binary(min_size=SIZE, max_size=SIZE), st.lists(PLACES, max_size=6), PLACES)
def test_it_reads_what_was_written_last_and_leaves_the_base_as_it_is(
    contents: bytes, writes: list[tuple[int, bytes]], read: tuple[int, bytes]
) -> None:
    base, expected = bytearray(contents), bytearray(contents)
    disk = OverlayDisk(memoryview(base), "disk")
    for offset, data in writes:
        disk.write(offset, data)
        expected[offset : offset + len(data)] = data
    offset, buffer = read[0], bytearray(len(read[1]))
    disk.read_into(offset, memoryview(buffer))
    assert buffer == expected[offset : offset + len(buffer)]
    assert base == contents


@pytest.mark.parametrize(("offset", "length"), [(SIZE, 1), (SIZE - 1, 2), (-1, 1)])
def test_what_leaves_the_disk_is_refused(offset: int, length: int) -> None:
    disk = OverlayDisk(memoryview(bytes(SIZE)), "disk")
    with pytest.raises(OverlayError, match=f"disk: {length} bytes at byte {offset} are not on the disk: it has 2000"):
        disk.read_into(offset, memoryview(bytearray(length)))
    with pytest.raises(OverlayError, match="are not on the disk"):
        disk.write(offset, bytes(length))


def test_what_is_written_over_a_file_is_saved_and_loaded_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_bytes(bytes(SIZE))
    with open(file, "rb") as opened:
        first, second = (OverlayDisk(Disk(opened, "disk", any_size=True), "disk") for _ in range(2))
        first.write(500, b"kept" * 5)
        first.write(SIZE - 1, b"!")
        second.write(1024, b"gone")
        second.load("disk", first.save())
        buffer = bytearray(SIZE)
        second.read_into(0, memoryview(buffer))
    assert buffer == bytes(500) + b"kept" * 5 + bytes(SIZE - 521) + b"!"
    assert file.read_bytes() == bytes(SIZE)


def test_a_disk_that_is_read_only_is_not_written() -> None:
    disk = OverlayDisk(memoryview(bytes(SIZE)), "disk", writable=False)
    with pytest.raises(OverlayError, match=r"^disk: the disk is read-only$"):
        disk.write(0, b"x")
