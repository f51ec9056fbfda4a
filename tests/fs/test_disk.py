import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from kev.fs.disk import Disk
from kev.fs.errors import DiskError
from tests.fs.errors import refused

DATA = bytes(range(256)) * 6
"""Three sectors."""


@pytest.fixture(params=["unbuffered file", "buffered file", "memory"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BinaryIO]:
    if request.param == "memory":
        yield io.BytesIO(DATA)
        return
    path = tmp_path / "disk"
    path.write_bytes(DATA)
    with open(path, "r+b", buffering=0 if request.param == "unbuffered file" else -1) as opened:
        yield opened


@pytest.fixture
def disk(file: BinaryIO) -> Disk:
    return Disk(file, "disk")


def test_a_disk_knows_its_size_in_bytes_and_sectors(disk: Disk) -> None:
    assert (disk.size, disk.sectors, disk.writable) == (1536, 3, True)


@pytest.mark.parametrize(("offset", "length"), [(0, 1536), (1, 700), (511, 2), (1535, 1), (1536, 0)])
def test_a_read_fills_the_callers_memory_and_nothing_beside_it(disk: Disk, offset: int, length: int) -> None:
    memory = bytearray(b"." * (length + 20))
    disk.read_into(offset, memoryview(memory)[10 : 10 + length])
    assert memory == b"." * 10 + DATA[offset : offset + length] + b"." * 10


@pytest.mark.parametrize(("offset", "length"), [(1536, 1), (1535, 2), (0, 1537), (-1, 1), (1 << 63, 1)])
def test_an_access_past_the_end_is_refused_by_name(disk: Disk, offset: int, length: int) -> None:
    message = f"disk: {length} bytes at byte {offset} (sector {offset // 512}) are not on the disk: it has 3 sectors of 512 bytes"
    memory = bytearray(b"." * length)
    with refused(DiskError, message):
        disk.read_into(offset, memoryview(memory))
    with refused(DiskError, message):
        disk.write(offset, bytes(length))
    assert memory == b"." * length
    assert b"".join(disk.read_sector(sector) for sector in range(3)) == DATA


def test_what_is_written_is_read_back_and_the_rest_stays(disk: Disk) -> None:
    disk.write(500, b"x" * 30)
    disk.write_sector(2, b"y" * 512)
    assert disk.read_sector(0) == DATA[:500] + b"x" * 12
    assert disk.read_sector(1) == b"x" * 18 + DATA[530:1024]
    assert disk.read_sector(2) == b"y" * 512


def test_what_is_flushed_is_in_the_file(disk: Disk, file: BinaryIO) -> None:
    disk.write(0, b"x" * 512)
    disk.flush()
    file.seek(0)
    assert file.read() == b"x" * 512 + DATA[512:]


def test_a_file_that_cannot_be_flushed_is_reported() -> None:
    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with refused(DiskError, "disk: cannot flush: No space left on device"):
        Disk(Full(DATA), "disk").flush()


def test_a_sector_is_written_whole_or_not_at_all(disk: Disk) -> None:
    with refused(DiskError, "disk: 511 bytes for sector 1: a sector has 512"):
        disk.write_sector(1, bytes(511))
    assert disk.read_sector(1) == DATA[512:1024]


def test_a_file_opened_for_reading_makes_a_read_only_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        disk = Disk(file, "disk")
        with refused(DiskError, "disk: the disk is read-only"):
            disk.write(0, b"x")
        assert not disk.writable
        assert disk.read_sector(0) == DATA[:512]


def test_a_disk_that_may_have_any_size_ends_with_its_file() -> None:
    disk = Disk(io.BytesIO(bytes(512) + b"rest"), "disk", any_size=True)
    assert (disk.size, disk.sectors) == (516, 1)
    buffer = bytearray(4)
    disk.read_into(512, memoryview(buffer))
    assert buffer == b"rest"
    with refused(DiskError, "disk: 5 bytes at byte 512 (sector 1) are not on the disk: it has 1 sectors of 512 bytes"):
        disk.write(512, b"12345")


def test_a_file_that_is_no_whole_number_of_sectors_is_refused() -> None:
    with refused(DiskError, "disk: a size of 513 bytes is not a multiple of 512"):
        Disk(io.BytesIO(bytes(513)), "disk")


def test_a_pipe_is_no_disk() -> None:
    read_end, write_end = os.pipe()
    with (
        open(read_end, "rb", buffering=0) as pipe,
        open(write_end, "wb"),
        pytest.raises(DiskError, match=r"^disk: cannot be a disk: "),
    ):
        Disk(pipe, "disk")


def test_a_file_that_is_truncated_while_it_is_used_is_reported(file: BinaryIO) -> None:
    disk = Disk(file, "disk")
    file.truncate(600)
    with refused(DiskError, "disk: the file was truncated: it ends before byte 600 of 1536"):
        disk.read_sector(1)


def test_reads_from_a_file_leave_its_position_alone(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(DATA)
    with path.open("rb", buffering=0) as file:
        disk = Disk(file, "disk")
        file.seek(7)
        disk.read_sector(2)
        assert file.tell() == 7


def test_an_error_of_the_operating_system_is_reported_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(DATA)
    with (
        open(os.open(path, os.O_WRONLY), "wb", buffering=0) as file,
        refused(DiskError, "disk: cannot read at byte 1024: Bad file descriptor"),
    ):
        Disk(file, "disk").read_sector(2)
    with (
        open(os.open(path, os.O_RDONLY), "r+b", buffering=0) as file,
        refused(DiskError, "disk: cannot write at byte 512: Bad file descriptor"),
    ):
        Disk(file, "disk").write_sector(1, bytes(512))
