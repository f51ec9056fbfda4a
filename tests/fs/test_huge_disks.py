"""Disks that are far larger than what is on them."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kev.fs.disk import Disk
from kev.fs.errors import SimpleFsError
from kev.fs.simplefs import MOST_FILES, SimpleFs

TIB = 1 << 40


@contextmanager
def sparse(path: Path, size: int, sectors: dict[int, bytes]) -> Iterator[Disk]:
    with path.open("wb") as file:
        for sector, data in {0: b"SIMPLEFS" + struct.pack("<Q", size), **sectors}.items():
            file.seek(sector * 512)
            file.write(data)
        file.truncate(size)
    with path.open("rb") as file:
        yield Disk(file, "disk")


def file_header(name: bytes, size: int = 0) -> bytes:
    return (struct.pack("<QQ", len(name), size) + name).ljust(512, b"\0")


def test_free_space_of_a_tebibyte_is_not_read_through(tmp_path: Path) -> None:
    with sparse(tmp_path / "disk", TIB, {1: file_header(b"a", 5), 2: b"hello"}) as disk:
        assert list(SimpleFs(disk).files) == ["a"]


def test_damage_right_behind_a_header_of_free_space_is_still_found(tmp_path: Path) -> None:
    message = r"^disk: sector 2: free space of 0 bytes, yet what follows is not empty$"
    with sparse(tmp_path / "disk", TIB, {1: file_header(b"a"), 1000: b"x"}) as disk, pytest.raises(SimpleFsError, match=message):
        SimpleFs(disk)


def test_more_files_than_a_disk_may_have_are_refused_with_the_limit(tmp_path: Path) -> None:
    headers = b"".join(file_header(b"%d" % number) for number in range(MOST_FILES + 1))
    message = rf"^disk: sector {MOST_FILES + 1}: another file begins, and {MOST_FILES} are there"
    with sparse(tmp_path / "disk", (MOST_FILES + 2) * 512, {1: headers}) as disk, pytest.raises(SimpleFsError, match=message):
        SimpleFs(disk)
