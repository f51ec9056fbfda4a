"""The Multiboot2 information, read back by a parser of its own."""

import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE
from kev.pager.mbi import MbiError, MbiWriter
from kev.pager.memory_region import MemoryRegion, RegionType


def tags(information: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of every tag but the last, which has to be the end tag; padding has to be zeros."""
    total, reserved = struct.unpack_from("<II", information)
    assert (total, reserved) == (len(information), 0)
    position = 8
    while True:
        assert position % 8 == 0
        tag, size = struct.unpack_from("<II", information, position)
        if tag == 0:
            assert (size, position + size) == (8, total)
            return
        yield tag, information[position + 8 : position + size]
        end, position = position + size, position + size + 7 & ~7
        assert information[end:position].strip(b"\0") == b""


def memory_map(payload: bytes) -> list[tuple[int, int, int]]:
    entry_size, version = struct.unpack_from("<II", payload)
    assert (entry_size, version) == (24, 0)
    entries = list(struct.iter_unpack("<QQII", payload[8:]))
    assert all(reserved == 0 for *_, reserved in entries)
    return [(base, length, type_) for base, length, type_, _ in entries]


@st.composite
def regions(draw: st.DrawFn) -> list[MemoryRegion]:
    result, end = [], 0
    for _ in range(draw(st.integers(0, 70))):
        base = end + draw(st.integers(0, 1 << 30))
        length = draw(st.integers(1, 1 << 30))
        result.append(MemoryRegion(base, length, draw(st.sampled_from(RegionType))))
        end = base + length
    return result


@given(regions())
def test_a_memory_map_reads_back_as_it_was(wanted: list[MemoryRegion]) -> None:
    [(tag, payload)] = tags(MbiWriter().memory_map(wanted).finish())
    assert tag == 6
    assert memory_map(payload) == [(region.base, region.length, region.type) for region in wanted]


def test_a_region_of_one_page_is_kept() -> None:
    [(_, payload)] = tags(MbiWriter().memory_map([MemoryRegion(0x5000, PAGE_SIZE)]).finish())
    assert memory_map(payload) == [(0x5000, PAGE_SIZE, 1)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([MemoryRegion(0x2000, 0x1000), MemoryRegion(0x1000, 0x1000)], "0x1000 bytes at 0x1000 is empty or begins below 0x3000"),
        ([MemoryRegion(0x1000, 0x1001), MemoryRegion(0x2000, 0x1000)], "0x1000 bytes at 0x2000 is empty or begins below 0x2001"),
        ([MemoryRegion(0x1000, 0)], "0x0 bytes at 0x1000 is empty or begins below 0x0"),
    ],
)
def test_regions_out_of_order_or_overlapping_or_empty_are_refused(wrong: list[MemoryRegion], message: str) -> None:
    with pytest.raises(MbiError, match=message):
        MbiWriter().memory_map(wrong)


def test_every_tag_reads_back_as_the_specification_lays_it_out() -> None:
    information = (
        MbiWriter()
        .command_line("console=ttyS0")
        .boot_loader_name("kév")
        .module(0x200000, 0x200123, "initrd")
        .basic_memory(640, 65536)
        .elf_sections(3, 64, 2, bytes(range(192)))
        .rsdp(b"RSD PTR " + bytes(12))
        .rsdp(b"RSD PTR " + bytes(28))
        .load_base(0x100000)
        .finish()
    )
    assert list(tags(information)) == [
        (1, b"console=ttyS0\0"),
        (2, "kév\0".encode()),
        (3, struct.pack("<II", 0x200000, 0x200123) + b"initrd\0"),
        (4, struct.pack("<II", 640, 65536)),
        (9, struct.pack("<III", 3, 64, 2) + bytes(range(192))),
        (14, b"RSD PTR " + bytes(12)),
        (15, b"RSD PTR " + bytes(28)),
        (21, struct.pack("<I", 0x100000)),
    ]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
def test_strings_of_any_length_leave_the_next_tag_aligned(texts: list[str]) -> None:
    writer = MbiWriter()
    for text in texts:
        writer.command_line(text)
    assert list(tags(writer.finish())) == [(1, text.encode() + b"\0") for text in texts]


def test_bytes_of_a_command_line_that_are_not_utf_8_stay_as_they_are() -> None:
    information = MbiWriter().command_line(os.fsdecode(b"name=\xff")).finish()
    assert list(tags(information)) == [(1, b"name=\xff\0")]


def test_a_string_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(MbiError, match=r"'a\\x00b' contains a zero byte"):
        MbiWriter().command_line("a\0b")
