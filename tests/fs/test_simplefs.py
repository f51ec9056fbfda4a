import io
import os
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kev.fs.disk import Disk
from kev.fs.errors import DiskError, SimpleFsError
from kev.fs.simplefs import SimpleFs
from tests.fs.errors import refused
from tests.fs.images import contents, free_space, image, mounted

FILES = {"gKeOS": bytes(range(256)) * 5, "empty": b"", "hello": b"Hello guest os!", "sector": b"s" * 512, "ホスト": b"\0" * 513}


@pytest.mark.parametrize("free", [b"", free_space(1), free_space(7), bytes(512), bytes(9 * 512), bytes((2 << 20) + 512)])
def test_every_file_is_read_whatever_free_space_follows(free: bytes) -> None:
    fs = mounted(image(FILES, free))
    assert contents(fs) == FILES
    assert [(entry.name, entry.size) for entry in fs.files.values()] == [(name, len(data)) for name, data in FILES.items()]


@pytest.mark.parametrize("free", [b"", free_space(1), free_space(7)])
def test_a_disk_without_files_is_empty(free: bytes) -> None:
    assert dict(mounted(image({}, free)).files) == {}


def test_a_name_may_fill_its_header() -> None:
    name = "n" * 496
    assert contents(mounted(image({name: b"x"}))) == {name: b"x"}


def test_a_missing_file_is_refused_by_name() -> None:
    with refused(SimpleFsError, "disk: no file is named 'gkeos': the disk has 5 others"):
        mounted(image(FILES)).open("gkeos")


@pytest.mark.parametrize(("offset", "length"), [(0, 1280), (3, 700), (1279, 10), (1280, 1), (1 << 64, 4096), (0, 0)])
def test_a_read_at_an_offset_gives_what_the_file_has_there(offset: int, length: int) -> None:
    file = mounted(image(FILES)).open("gKeOS")
    expected = FILES["gKeOS"][offset : offset + length]
    memory = bytearray(b"." * length)
    assert file.read_into(offset, memoryview(memory)) == len(expected)
    assert memory == expected + b"." * (length - len(expected))
    assert file.read_at(offset, length) == expected


def test_a_read_before_the_start_is_refused_by_name() -> None:
    file = mounted(image(FILES)).open("gKeOS")
    with refused(SimpleFsError, "'gKeOS': byte -1 is before the start of the file"):
        file.read_into(-1, memoryview(bytearray(1)))
    with refused(SimpleFsError, "'gKeOS': byte -1280 is before the start of the file"):
        file.seek(-2560, os.SEEK_END)


def test_a_write_changes_its_bytes_and_no_others() -> None:
    data = image(FILES, free_space(3))
    memory = io.BytesIO(data)
    SimpleFs(Disk(memory, "disk")).open("hello").write_at(6, b"world")
    start = data.index(b"Hello guest os!")
    data[start + 6 : start + 11] = b"world"
    assert memory.getvalue() == data


@pytest.mark.parametrize(("offset", "length"), [(0, 16), (15, 1), (14, 2), (-1, 1), (1 << 64, 1)])
def test_a_write_past_the_end_is_refused_by_name_and_changes_nothing(offset: int, length: int) -> None:
    data = image(FILES)
    memory = io.BytesIO(data)
    file = SimpleFs(Disk(memory, "disk")).open("hello")
    message = f"'hello': {length} bytes at byte {offset} do not fit: the file has 15 bytes and never grows"
    with refused(SimpleFsError, message):
        file.write_at(offset, b"x" * length)
    assert memory.getvalue() == data


def test_a_file_is_overwritten_from_a_stream_and_keeps_what_is_behind() -> None:
    file = mounted(image(FILES)).open("hello")
    assert file.overwrite(io.BytesIO(b"HELLO")) == 5
    assert file.read() == b"HELLO guest os!"


def test_a_stream_that_is_too_long_is_refused_before_anything_is_written() -> None:
    file = mounted(image(FILES)).open("hello")
    with refused(SimpleFsError, "'hello': 16 bytes do not fit: the file has 15 bytes and never grows"):
        file.overwrite(io.BytesIO(b"x" * 16))
    assert file.read() == FILES["hello"]


def test_a_file_on_a_read_only_disk_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(image(FILES))
    with path.open("rb") as opened, refused(DiskError, "disk: the disk is read-only"):
        SimpleFs(Disk(opened, "disk")).open("hello").write_at(0, b"x")


def test_a_file_is_a_stream_that_pyelftools_reads() -> None:
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0xFFFFFF0000101000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 0xFFFFFF0000100000, 0x100000, 4, 8, 4096)
    elf = ELFFile(mounted(image({"other": b"x", "kernel": header + segment + b"code"})).open("kernel"))
    assert elf.header.e_entry == 0xFFFFFF0000101000
    assert [(part.header.p_paddr, part.data()) for part in elf.iter_segments()] == [(0x100000, b"code")]
