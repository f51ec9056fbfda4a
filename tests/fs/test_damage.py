"""One field of a good image is changed: the error names its sector."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.fs.errors import SimpleFsError
from tests.fs.errors import refused
from tests.fs.images import SECTOR, contents, free_space, image, mounted

FILES = {"first": b"text" * 300, "zeros": bytes(1000), "last": b"end"}
"""On the disk: superblock 0; headers in 1, 5 and 8; free space from 10 to 14."""
FREE = 4
SIZE = 14 * SECTOR


def good() -> bytearray:
    return image(FILES, free_space(FREE))


def u64(sector: int, offset: int, value: int) -> tuple[int, bytes]:
    return sector * SECTOR + offset, struct.pack("<Q", value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, b"SIMPLEFs"), "sector 0: not a SIMPLEFS disk: it begins with b'SIMPLEFs' instead of b'SIMPLEFS'"),
        (u64(0, 8, SIZE + 512), f"sector 0: the superblock is for a disk of {SIZE + 512} bytes, this one has {SIZE}"),
        (u64(0, 8, SIZE - 512), f"sector 0: the superblock is for a disk of {SIZE - 512} bytes, this one has {SIZE}"),
        (u64(0, 8, 0), f"sector 0: the superblock is for a disk of 0 bytes, this one has {SIZE}"),
        (u64(5, 0, 497), "sector 5: a name of 497 bytes: at most 496 fit"),
        (u64(5, 0, (1 << 64) - 1), "sector 5: a name of 18446744073709551615 bytes: at most 496 fit"),
        (u64(5, 0, 0), "sector 5: a name of 0 bytes, yet more follows it"),
        (u64(5, 0, 4), "sector 5: a name of 4 bytes, yet more follows it"),
        (u64(5, 0, 6), "sector 5: the name 'zeros\\x00' holds a NUL"),
        ((5 * SECTOR + 18, b"\xff"), "sector 5: the name is not UTF-8: byte 0xff at position 2"),
        ((5 * SECTOR + 16, b"first"), "sector 5: the name 'first' is already that of the file in sector 1"),
        (u64(5, 8, 8 * 512 + 1), "sector 5: the file 'zeros' of 4097 bytes runs past the end of the disk: 4096 bytes are left"),
        (
            u64(5, 8, (1 << 64) - 1),
            "sector 5: the file 'zeros' of 18446744073709551615 bytes runs past the end of the disk: 4096 bytes are left",
        ),
        # A size that is too small makes a header of what the file holds there: text, or zeros that look like free space.
        (u64(1, 8, 512), "sector 3: a name of 8392569456449578356 bytes: at most 496 fit"),
        (u64(5, 8, 512), "sector 7: free space of 0 bytes, yet what follows is not empty"),
        # One that is too large swallows the headers behind it.
        (u64(5, 8, 1100), "sector 9: a name of 6581861 bytes: at most 496 fit"),
        (u64(10, 8, 512), "sector 10: free space of 512 bytes, but 1536 bytes are left"),
        (u64(10, 8, 2048), "sector 10: free space of 2048 bytes, but 1536 bytes are left"),
        (u64(10, 0, 4), "sector 10: the name '\\x00\\x00\\x00\\x00' holds a NUL"),
    ],
)
def test_a_damaged_field_is_reported_with_its_sector(change: tuple[int, bytes], message: str) -> None:
    data = good()
    offset, value = change
    data[offset : offset + len(value)] = value
    with refused(SimpleFsError, f"disk: {message}"):
        mounted(data)


@pytest.mark.parametrize("sectors", [1, 5, 8, 10, 13])
def test_a_disk_that_was_cut_off_is_reported(sectors: int) -> None:
    with pytest.raises(
        SimpleFsError, match=f"^disk: sector 0: the superblock is for a disk of {SIZE} bytes, this one has {sectors * 512}$"
    ):
        mounted(good()[: sectors * SECTOR])


def test_an_empty_disk_is_reported() -> None:
    with refused(SimpleFsError, "disk: sector 0: the disk is empty, it has no superblock"):
        mounted(b"")


@given(st.integers(0, SIZE // 8 - 1), st.one_of(st.integers(0, 2 * SIZE), st.integers(0, (1 << 64) - 1)))
def test_any_damaged_word_is_reported_or_leaves_only_files_on_the_disk(word: int, value: int) -> None:
    data = good()
    struct.pack_into("<Q", data, word * 8, value)
    try:
        fs = mounted(data)
    except SimpleFsError:
        return
    assert all(len(held) == fs.files[name].size for name, held in contents(fs).items())
    starts = [entry.sector for entry in fs.files.values()]
    assert all(entry.end_sector <= start for entry, start in zip(fs.files.values(), [*starts[1:], SIZE // SECTOR], strict=True))
