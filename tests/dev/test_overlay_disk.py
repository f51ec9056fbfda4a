"""A disk over another one, which stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.dev.storage.overlay_disk import OverlayDisk, OverlayError

SIZE = 2048
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
    with pytest.raises(OverlayError, match=f"disk: {length} bytes at byte {offset} are not on the disk: it has 2048"):
        disk.read_into(offset, memoryview(bytearray(length)))
    with pytest.raises(OverlayError, match="are not on the disk"):
        disk.write(offset, bytes(length))


def test_a_size_that_is_no_whole_sectors_is_refused() -> None:
    with pytest.raises(OverlayError, match="disk: a size of 100 bytes is not a multiple of 512"):
        OverlayDisk(memoryview(bytes(100)), "disk")
