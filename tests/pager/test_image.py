"""Kernel images: what is accepted, what is refused and how, and where they start."""

import contextlib
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, Gpa, Gva
from kev.errors import KevError
from kev.pager.errors import ImageError
from kev.pager.image import KernelImage, Segment
from tests.pager.elf import Elf, build_elf
from tests.pager.sources import BytesSource

HIGH_HALF = 0xFFFFFF0000000000
TEXT = Segment(Gpa(0x100000), Gva(HIGH_HALF + 0x100000), 0x1000, 0x1800, 0x1800, 5)
DATA = Segment(Gpa(0x101800), Gva(HIGH_HALF + 0x101800), 0x2800, 0x200, 0x3000, 6)
ENTRY = HIGH_HALF + 0x100040
FILE_SIZE = 0x2A00
THE_SIZE = "the file's size 0x2a00: truncated"


def good_elf(bits: int = 64) -> Elf:
    """Two segments that share a page; the file ends with the second one's bytes."""
    segments: tuple[Segment, ...] = (TEXT, DATA)
    entry = ENTRY
    if bits == 32:
        segments = tuple(segment._replace(vaddr=Gva(segment.vaddr & 0xFFFFFFFF)) for segment in segments)
        entry &= 0xFFFFFFFF
    elf = build_elf(segments, entry, bits=bits)
    elf.data += bytes(FILE_SIZE - len(elf.data))
    return elf


def parse(elf: Elf) -> KernelImage:
    return KernelImage.from_elf(BytesSource(bytes(elf.data)))


def refused(message: str, elf: Elf) -> None:
    with pytest.raises(ImageError, match="^" + re.escape("kernel: " + message) + "$"):
        parse(elf)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_good_file_gives_its_segments_and_its_physical_entry(bits: int) -> None:
    image = parse(good_elf(bits))
    assert [(s.paddr, s.offset, s.filesz, s.memsz, s.flags) for s in image.segments] == [
        (0x100000, 0x1000, 0x1800, 0x1800, 5),
        (0x101800, 0x2800, 0x200, 0x3000, 6),
    ]
    assert (image.start, image.end, image.bits) == (0x100000, 0x104800, bits)
    assert image.entry == 0x100040
    assert image.virtual_entry == ENTRY & (1 << bits) - 1


def test_parsing_reads_the_headers_and_nothing_else() -> None:
    source = BytesSource(bytes(good_elf().data))
    KernelImage.from_elf(source)
    assert max(offset + length for offset, length in source.reads) == 64 + 2 * 56


def test_segments_come_in_the_order_of_their_addresses() -> None:
    elf = build_elf((DATA, TEXT), ENTRY)
    elf.data += bytes(FILE_SIZE - len(elf.data))
    assert parse(elf).segments == (TEXT, DATA)


@pytest.mark.parametrize(
    ("bits", "field", "value", "message"),
    [
        (64, "EI_CLASS", 3, "EI_CLASS is 3, neither ELFCLASS32 (1) nor ELFCLASS64 (2)"),
        (64, "EI_DATA", 2, "EI_DATA is 2, not ELFDATA2LSB (1): x86 is little-endian"),
        (64, "EI_VERSION", 0, "EI_VERSION is 0, not EV_CURRENT (1)"),
        (64, "e_type", 1, "e_type is 1, neither ET_EXEC (2) nor ET_DYN (3): not an executable"),
        (64, "e_machine", 183, "e_machine of this 64-bit file is EM_AARCH64 (183), not EM_X86_64 (62)"),
        (64, "e_machine", 3, "e_machine of this 64-bit file is EM_386 (3), not EM_X86_64 (62)"),
        (32, "e_machine", 40, "e_machine of this 32-bit file is EM_ARM (40), not EM_386 (3) or EM_X86_64 (62)"),
        (64, "e_machine", 999, "e_machine of this 64-bit file is 999, not EM_X86_64 (62)"),
        (64, "e_version", 2, "e_version is 2, not EV_CURRENT (1)"),
        (64, "e_phentsize", 32, "e_phentsize of this 64-bit file is 32, not 56"),
        (32, "e_phentsize", 56, "e_phentsize of this 32-bit file is 56, not 32"),
        (64, "e_phnum", 0xFFFF, "e_phnum is 65535 (PN_XNUM): more program headers than 65534 are not supported"),
        (64, "e_phnum", 0, "no program header of type PT_LOAD with a p_memsz above 0: nothing to load"),
        (64, "e_phnum", 300, "the program header table ends at offset 0x41e0, the file at 0x2a00: truncated"),
        (64, "e_phoff", 1 << 63, "the program header table ends at offset 0x8000000000000070, the file at 0x2a00: truncated"),
        (64, "e_entry", 0x99000, "the entry 0x99000 lies in no segment, neither by p_vaddr nor by p_paddr"),
        (64, "p_filesz", 0x1801, "program header 0: p_filesz 0x1801 exceeds p_memsz 0x1800"),
        (64, "p_offset", 0x1201, "program header 0: p_offset 0x1201 + p_filesz 0x1800 exceeds " + THE_SIZE),
        (64, "p_offset", 1 << 63, "program header 0: p_offset 0x8000000000000000 + p_filesz 0x1800 exceeds " + THE_SIZE),
        (64, "p_paddr", (1 << 48) - 1, "program header 0: p_paddr 0xffffffffffff + p_memsz 0x1800 exceeds 0x1000000000000"),
        (64, "p_paddr", (1 << 64) - 1, "program header 0: p_paddr 0xffffffffffffffff + p_memsz 0x1800 exceeds 0x1000000000000"),
        (32, "p_paddr", 0xFFFFF000, "program header 0: p_paddr 0xfffff000 + p_memsz 0x1800 exceeds 0x100000000"),
        (64, "p_vaddr", (1 << 64) - 1, "program header 0: p_vaddr 0xffffffffffffffff + p_memsz 0x1800 exceeds 0x10000000000000000"),
        (32, "p_vaddr", 0xFFFFF000, "program header 0: p_vaddr 0xfffff000 + p_memsz 0x1800 exceeds 0x100000000"),
        (64, "p_paddr", 0x101000, "the segments at 0x101000-0x102800 and 0x101800-0x104800 both fill 0x101800-0x102800, "
                                  "with different contents"),
    ],
)  # fmt: skip
def test_one_wrong_field_is_refused_by_name(bits: int, field: str, value: int, message: str) -> None:
    refused(message, good_elf(bits).set(field, value))


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (0, "e_ident ends at offset 0x10, the file at 0x0: truncated"),
        (15, "e_ident ends at offset 0x10, the file at 0xf: truncated"),
        (63, "the ELF header ends at offset 0x40, the file at 0x3f: truncated"),
        (64 + 111, "the program header table ends at offset 0xb0, the file at 0xaf: truncated"),
        (FILE_SIZE - 1, "program header 1: p_offset 0x2800 + p_filesz 0x200 exceeds the file's size 0x29ff: truncated"),
    ],
)
def test_a_truncated_file_is_refused_by_name(length: int, message: str) -> None:
    elf = good_elf()
    del elf.data[length:]
    refused(message, elf)


def test_a_file_that_is_not_elf_is_refused_by_name() -> None:
    refused("the ELF magic is 23 21 2f 62, not 7f 45 4c 46: not an ELF file", Elf(64, bytearray(b"#!/bin/sh\n" + bytes(100))))


def test_headers_that_are_not_loaded_do_not_count() -> None:
    elf = good_elf().set("p_type", 4, 1).set("p_filesz", 1 << 40, 1)
    assert parse(elf).segments == (TEXT,)
    empty = good_elf().set("p_memsz", 0, 1).set("p_offset", 1 << 40, 1)
    assert parse(empty).segments == (TEXT,)


def test_a_bss_may_have_any_offset() -> None:
    image = parse(good_elf().set("p_filesz", 0, 1).set("p_offset", 1 << 40, 1))
    assert image.segments[1].filesz == 0


@pytest.mark.parametrize(
    ("entry", "physical"),
    [(HIGH_HALF + 0x1017FF, 0x1017FF), (HIGH_HALF + 0x104000, 0x104000), (0x101234, 0x101234)],
)
def test_the_entry_is_virtual_where_a_segment_holds_it_and_else_physical(entry: int, physical: int) -> None:
    assert parse(good_elf().set("e_entry", entry)).entry == physical


def test_a_virtual_entry_goes_before_a_physical_one() -> None:
    low = Segment(Gpa(0x200000), Gva(0x100000), 0, 0, 0x1000)
    high = Segment(Gpa(0x100000), Gva(HIGH_HALF), 0, 0, 0x1000)
    assert parse(build_elf((low, high), 0x100010)).entry == 0x200010


def image_of(*segments: Segment) -> KernelImage:
    return KernelImage.from_segments(BytesSource(bytes(0x10000)), segments, segments[0].paddr)


def segment_at(paddr: int, offset: int, filesz: int, memsz: int) -> Segment:
    return Segment(Gpa(paddr), Gva(paddr), offset, filesz, memsz)


def test_segments_may_overlap_where_they_agree() -> None:
    whole = segment_at(0x100000, 0x1000, 0x3000, 0x4000)
    image_of(whole, segment_at(0x101000, 0x2000, 0x1000, 0x1000))
    image_of(whole, segment_at(0x102000, 0x3000, 0x1000, 0x3000))
    image_of(whole, segment_at(0x103000, 0, 0, 0x5000))


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        (segment_at(0x101000, 0x2001, 0x1000, 0x1000), "0x101000-0x102000"),
        (segment_at(0x102000, 0x3000, 0x0FFF, 0x1000), "0x102000-0x103000"),
        (segment_at(0x103000, 0x4000, 0x0001, 0x2000), "0x103000-0x104000"),
        (segment_at(0x103FFF, 0x1000, 0x1000, 0x1000), "0x103fff-0x104000"),
        (segment_at(0x0FF000, 0, 0, 0x1001), "0x100000-0x100001"),
    ],
)
def test_segments_that_contradict_each_other_are_refused(other: Segment, overlap: str) -> None:
    with pytest.raises(ImageError, match=f"both fill {overlap}, with different contents$"):
        image_of(segment_at(0x100000, 0x1000, 0x3000, 0x4000), other)


@given(st.data())
def test_segments_are_refused_exactly_if_two_of_them_differ_in_a_byte(data: st.DataObject) -> None:
    numbers = st.integers(0, 12)
    segments = []
    for _ in range(data.draw(st.integers(1, 4))):
        memsz = data.draw(st.integers(1, 8))
        segments.append(segment_at(data.draw(numbers), data.draw(numbers), data.draw(st.integers(0, memsz)), memsz))
    contents: dict[int, set[int | None]] = {}
    for segment in segments:
        for index in range(segment.memsz):
            contents.setdefault(segment.paddr + index, set()).add(segment.offset + index if index < segment.filesz else None)
    if all(len(sources) == 1 for sources in contents.values()):
        image_of(*segments)
    else:
        with pytest.raises(ImageError, match="different contents"):
            image_of(*segments)


def test_explicit_segments_are_checked_like_those_of_an_elf_file() -> None:
    with pytest.raises(ImageError, match=r"^kernel: segment 0: p_filesz 0x2 exceeds p_memsz 0x1$"):
        image_of(segment_at(0x1000, 0, 2, 1))
    with pytest.raises(ImageError, match="truncated"):
        image_of(segment_at(0x1000, 0xFFFF, 2, 2))
    with pytest.raises(ImageError, match=r"p_paddr 0xffffffff \+ p_memsz 0x2 exceeds 0x100000000$"):
        image_of(segment_at(4 * GIB - 1, 0, 0, 2))


@given(st.data())
def test_a_damaged_header_is_refused_as_a_kev_error_or_understood(data: st.DataObject) -> None:
    elf = good_elf(data.draw(st.sampled_from([32, 64])))
    for _ in range(data.draw(st.integers(1, 4))):
        elf.data[data.draw(st.integers(0, 64 + 2 * 56 - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KevError):
        image = parse(elf)
        assert image.segments
        assert all(segment.filesz <= segment.memsz for segment in image.segments)
        assert any(segment.paddr <= image.entry < segment.end for segment in image.segments)


def test_a_source_that_is_shorter_than_it_says_is_refused_by_name() -> None:
    class Lying(BytesSource):
        @property
        def size(self) -> int:
            return 1 << 30

    with pytest.raises(KevError, match=r"^kernel: ends 4 bytes too early: 64 bytes were expected at offset 0x0$"):
        KernelImage.from_elf(Lying(struct.pack("<4sBBB", b"\x7fELF", 2, 1, 1) + bytes(53)))
