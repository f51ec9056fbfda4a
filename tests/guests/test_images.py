"""What the kernels promise about their images: that is what makes them worth loading lazily."""

import struct
from itertools import pairwise

from kev.addressing import PAGE_SIZE, page_ceil, page_floor
from tests.guests.images import elf_file, load_segments, read_file

VIRTUAL_BASE = 0xFFFFFF0000000000
MULTIBOOT2_MAGIC = 0xE85250D6
MULTIBOOT1_MAGIC = 0x1BADB002


def header_fields(image: bytes, magic: int, within: int, alignment: int, count: int) -> tuple[int, ...]:
    """The first fields of a Multiboot header, which the boot loader looks for `within` so many bytes."""
    offsets = (offset for offset in range(0, within, alignment) if image[offset : offset + 4] == struct.pack("<I", magic))
    return struct.unpack_from(f"<{count}I", image, next(offsets))


def test_gkeos_is_entered_in_the_high_half_one_mebibyte_above_its_base() -> None:
    elf = elf_file("gKeOS")
    assert elf.elfclass == 64
    assert elf["e_entry"] >> 20 == (VIRTUAL_BASE >> 20) + 1


def test_gkeos_has_its_physical_addresses_below_its_virtual_ones() -> None:
    assert {segment["p_vaddr"] - segment["p_paddr"] for segment in load_segments(elf_file("gKeOS"))} == {VIRTUAL_BASE}


def test_gkeos_has_eight_segments_and_most_begin_within_a_page_of_their_neighbour() -> None:
    segments = load_segments(elf_file("gKeOS"))
    shared = [
        (before, after)
        for before, after in pairwise(segments)
        if page_ceil(before["p_paddr"] + before["p_memsz"]) > page_floor(after["p_paddr"])
    ]
    assert len(segments) == 8
    assert len(shared) >= 4


def test_gkeos_has_megabytes_that_a_boot_does_not_need_and_a_bss_without_bytes_in_the_file() -> None:
    *_, bss = segments = load_segments(elf_file("gKeOS"))
    start, end = segments[0]["p_paddr"], bss["p_paddr"] + bss["p_memsz"]
    assert 1400 <= (end - start) // PAGE_SIZE <= 1600
    assert bss["p_filesz"] == 0
    assert bss["p_memsz"] > 200 * PAGE_SIZE


def test_gkeos_has_no_page_of_zeros_among_its_text_and_data() -> None:
    elf = elf_file("gKeOS")
    for segment in load_segments(elf):
        contents = segment.data()
        if segment["p_filesz"] > 0x10000:
            assert all(any(contents[page : page + 4096]) for page in range(0, len(contents), 4096))


def test_gkeos_has_a_valid_multiboot2_header() -> None:
    magic, architecture, length, checksum = header_fields(read_file("gKeOS"), MULTIBOOT2_MAGIC, 32768, 8, 4)
    assert architecture == 0
    assert (magic + architecture + length + checksum) % (1 << 32) == 0


def test_gkeos_keeps_its_symbols() -> None:
    assert elf_file("gKeOS").get_section_by_name(".symtab").get_symbol_by_name("start_subsystems")


def test_mb1_has_a_valid_multiboot1_header() -> None:
    magic, flags, checksum = header_fields(read_file("mb1"), MULTIBOOT1_MAGIC, 8192, 4, 3)
    assert (magic + flags + checksum) % (1 << 32) == 0


def test_mb1_is_as_large_as_gkeos_so_that_their_boots_compare() -> None:
    assert abs(len(read_file("mb1")) - len(read_file("gKeOS"))) < 0x10000
    assert elf_file("mb1").elfclass == 32
