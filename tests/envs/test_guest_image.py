"""How a guest is filled before it starts."""

import struct

import attrs
import pytest

from kev.addressing import PAGE_SIZE
from kev.envs.ept import Edition, ept_entry
from kev.envs.errors import JosError
from kev.envs.guest_image import UTEMP, copy_boot_sector, copy_guest_kern_gpa, map_in_guest
from tests.envs.lab import Lab, failure, lab

GPA = 0x10_0000


@attrs.frozen
class File:
    data: bytes
    name: str = "kernel"

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def mapped(made: Lab) -> dict[int, bytes]:
    """What the guest has, by address."""
    return {gpa: made.calls.host.memory.read(page.page) for gpa, page in made.space}


def page(*parts: tuple[int, bytes]) -> bytes:
    contents = bytearray(PAGE_SIZE)
    for offset, data in parts:
        contents[offset : offset + len(data)] = data
    return bytes(contents)


@pytest.mark.parametrize("edition", Edition)
def test_the_file_comes_first_and_zeros_follow(edition: Edition) -> None:
    made = lab(edition=edition)
    data = bytes(range(1, 256)) * 20
    map_in_guest(made.calls, made.guest, GPA, 3 * PAGE_SIZE, File(b"??" + data), len(data), 2)
    rest = data[PAGE_SIZE:]
    assert mapped(made) == {GPA: data[:PAGE_SIZE], GPA + PAGE_SIZE: page((0, rest)), GPA + 2 * PAGE_SIZE: page()}
    assert all(ept_entry(made.space.table, gpa) & 0xFFF == 0x77 for gpa in mapped(made))


def test_one_edition_maps_the_file_only() -> None:
    made = lab()
    map_in_guest(made.calls, made.guest, GPA, 3 * PAGE_SIZE, File(b"x" * 5000), 5000, 0, zeros=False)
    assert list(mapped(made)) == [GPA, GPA + PAGE_SIZE]


def test_an_address_within_a_page_is_rounded_down_and_so_is_the_file() -> None:
    made = lab()
    data = bytes(range(256)) * 40
    map_in_guest(made.calls, made.guest, GPA + 0x123, 5000, File(data), 5000, 0x1123)
    assert mapped(made) == {GPA: data[0x1000:0x2000], GPA + PAGE_SIZE: page((0, data[0x2000 : 0x1123 + 5000]))}


def test_what_would_be_before_the_file_is_zeros() -> None:
    made = lab()
    map_in_guest(made.calls, made.guest, GPA + 0x100, 16, File(b"0123456789abcdef"), 16, 0)
    assert mapped(made) == {GPA: page((0x100, b"0123456789abcdef"))}


def test_the_temporary_page_is_gone_and_each_page_is_the_guests_alone() -> None:
    made = lab()
    map_in_guest(made.calls, made.guest, GPA, 4 * PAGE_SIZE, File(b"x" * 5000), 5000, 0)
    memory = made.calls.host.memory
    assert made.calls.current.space.find(UTEMP) is None
    assert [memory.references(mapped.page) for _, mapped in made.space] == [1] * 4
    assert len(memory) == 4


def test_a_failure_leaves_no_temporary_page() -> None:
    made = lab()
    map_in_guest(made.calls, made.guest, GPA, PAGE_SIZE, File(b"x"), 1, 0)
    assert failure(lambda: map_in_guest(made.calls, made.guest, GPA, PAGE_SIZE, File(b"x"), 1, 0))[0] is JosError.INVAL
    assert made.calls.current.space.find(UTEMP) is None
    assert len(made.calls.host.memory) == 1


def test_memory_that_is_used_up_ends_it() -> None:
    made = lab(memory=16 * PAGE_SIZE)
    assert failure(lambda: map_in_guest(made.calls, made.guest, GPA, 32 * PAGE_SIZE, File(b""), 0, 0))[0] is JosError.NO_MEM


def elf(*segments: tuple[int, int, bytes, int]) -> bytes:
    """Program headers of (type, physical address, contents, size in memory)."""
    start = 64 + 56 * len(segments)
    headers = contents = b""
    for kind, address, data, memsz in segments:
        offset = max(start + len(contents), 512)
        contents = contents.ljust(offset - start, b"\0") + data
        headers += struct.pack("<IIQQQQQQ", kind, 7, offset, 0x80_0400_0000 + address, address, len(data), memsz, PAGE_SIZE)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 0x3E, 1, 0x100000, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )
    return (header + headers + contents).ljust(512, b"\0")


def test_every_load_segment_goes_to_its_physical_address() -> None:
    made = lab()
    kernel = elf((1, 0x10_0000, b"text", 4), (4, 0x50_0000, b"note", 4), (1, 0x20_0010, b"data", PAGE_SIZE))
    copy_guest_kern_gpa(made.calls, made.guest, File(kernel))
    assert list(mapped(made)) == [0x10_0000, 0x20_0000, 0x20_1000]
    assert mapped(made)[0x10_0000][:4] == b"text"
    assert mapped(made)[0x20_0000][0x10:0x14] == b"data"
    assert mapped(made)[0x20_1000] == page()


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"\x7fELG".ljust(512), elf()[:200], b"MZ".ljust(600)])
def test_what_is_no_elf_file_is_refused(data: bytes) -> None:
    made = lab()
    assert failure(lambda: copy_guest_kern_gpa(made.calls, made.guest, File(data)))[0] is JosError.NOT_EXEC
    assert mapped(made) == {}


def test_program_headers_that_are_not_in_the_file_are_refused() -> None:
    made = lab()
    kernel = bytearray(elf())
    struct.pack_into("<H", kernel, 56, 20)
    assert failure(lambda: copy_guest_kern_gpa(made.calls, made.guest, File(bytes(kernel))))[0] is JosError.NOT_EXEC


def test_the_boot_sector_goes_where_the_guest_begins() -> None:
    made = lab()
    copy_boot_sector(made.calls, made.guest, File(b"\xfa" * 512, "boot"))
    assert mapped(made) == {0x7000: page((0, b"\xfa" * 512))}
